//! How much a model of Google's thinks: in tokens until Gemini 2.5, in levels since Gemini 3. Both at
//! once are refused there, and so is a level by an older model ("Gemini thinking" in the guide).

use serde_json::{Value, json};

use crate::chat::Reasoning;

/// The generations of models that differ in what they take and want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Generation {
    /// Gemini until 2.5.
    Two,
    /// Gemini since 3, and names that tell no number, such as `gemini-flash-latest`.
    Three,
    /// Another model, such as a Gemma or one tuned under a name of its own.
    Other,
}

/// A model's generation, by its name.
pub(super) fn generation(model: &str) -> Generation {
    if model.contains("gemini-1") || model.contains("gemini-2") {
        Generation::Two
    } else if model.contains("gemini") {
        Generation::Three
    } else {
        Generation::Other
    }
}

/// Writes how much is thought.
pub(super) fn config(
    model: &str,
    reasoning: &Reasoning,
    dropped: &mut Vec<&'static str>,
) -> Option<Value> {
    let effort = reasoning.effort.as_deref();
    let (mut config, off) = match (generation(model), effort, reasoning.tokens) {
        // These models always think; the least is all that can be asked for.
        (Generation::Three, Some("none"), _) | (Generation::Three, None, Some(0)) => {
            dropped.push("reasoning");
            (json!({ "thinkingLevel": least(model) }), true)
        }
        (Generation::Three, Some("minimal"), _) => {
            (json!({ "thinkingLevel": least(model) }), false)
        }
        (Generation::Three, Some(effort), _) => (json!({ "thinkingLevel": level(effort) }), false),
        (_, Some("none"), _) | (_, _, Some(0)) => (json!({ "thinkingBudget": 0 }), true),
        (_, _, Some(tokens)) => (json!({ "thinkingBudget": tokens }), false),
        (_, Some(effort), None) => (json!({ "thinkingBudget": budget(effort) }), false),
        (_, None, None) => (json!({}), reasoning.summary.is_none()),
    };
    if !off {
        config["includeThoughts"] = true.into();
    }
    Some(config).filter(|config| config != &json!({}))
}

/// The least that a model of the third generation thinks.
fn least(model: &str) -> &'static str {
    if model.contains("pro") {
        "LOW"
    } else {
        "MINIMAL"
    }
}

fn level(effort: &str) -> String {
    match effort {
        "xhigh" | "max" => "HIGH".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

/// Words in tokens, as Google's own endpoint for clients of `OpenAI`'s protocol takes them.
fn budget(effort: &str) -> u64 {
    match effort {
        "minimal" | "low" => 1_024,
        "medium" => 8_192,
        _ => 24_576,
    }
}
