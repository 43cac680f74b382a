//! How much the model thinks, in both directions.
//!
//! There are two ways to say it: a number of tokens, which models up to 4.5 and servers like the
//! provider take, and a word that leaves the number to the model, which newer ones take.

use serde_json::{Map, Value, json};

use super::model::Model;
use super::proof;
use crate::chat::{ChatRequest, Message, Part, Protocol, Reasoning, Role, ToolChoice};
use crate::wire::WireError;

/// The fewest tokens that the provider lets a model think.
const TOKENS_MIN: u64 = 1024;

/// What a client said. Its words stay in the request's extra fields, because they say more than
/// [`Reasoning`] can.
pub(super) fn decode(extra: &Map<String, Value>) -> Option<Reasoning> {
    let effort = extra
        .get("output_config")
        .and_then(|config| config.get("effort"));
    let effort = effort.and_then(Value::as_str).map(str::to_owned);
    let thinking = extra.get("thinking");
    let text = |name: &str| thinking.and_then(|thinking| thinking.get(name)?.as_str());
    let summary = text("display").filter(|display| *display == "summarized");
    let summary = summary.map(|_| "auto".to_owned());
    let tokens = thinking.and_then(|thinking| thinking.get("budget_tokens")?.as_u64());
    match text("type") {
        Some("disabled") => Some(Reasoning {
            tokens: Some(0),
            ..Reasoning::default()
        }),
        Some("enabled") => Some(Reasoning {
            effort,
            tokens,
            summary,
        }),
        Some("adaptive") => Some(Reasoning {
            effort,
            tokens: None,
            summary,
        }),
        _ => effort.map(|effort| Reasoning {
            effort: Some(effort),
            ..Reasoning::default()
        }),
    }
}

/// What the provider is told.
#[derive(Debug)]
pub(super) struct Thinking {
    /// The field of this name.
    pub(super) field: Option<Value>,
    /// The effort within the output's configuration.
    pub(super) effort: Option<String>,
    /// The most tokens of the answer and the thoughts together.
    pub(super) max_tokens: u64,
}

impl Thinking {
    /// Whether the model thinks, which forbids much else.
    pub(super) fn happens(&self) -> bool {
        let kind = self.field.as_ref().and_then(|field| field.get("type"));
        kind.is_some_and(|kind| kind != "disabled")
    }
}

/// Writes how much the model thinks.
pub(super) fn encode(
    fallback: u64,
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<Thinking, WireError> {
    let mut told = Thinking {
        field: None,
        effort: None,
        max_tokens: request.max_tokens.unwrap_or(fallback),
    };
    // The client's own words, unless somebody on the way wants something else.
    let own = request.protocol == Some(Protocol::Anthropic);
    if own && decode(&request.extra) == request.reasoning {
        own_words(fallback, request, &mut told, dropped);
        return Ok(told);
    }
    let Some(reasoning) = &request.reasoning else {
        return Ok(told);
    };
    if reasoning.tokens == Some(0) || reasoning.effort.as_deref() == Some("none") {
        told.field = Some(json!({ "type": "disabled" }));
        return Ok(told);
    }
    // A model that thinks cannot be made to call a tool, and the call is what was asked for.
    if matches!(
        request.tool_choice,
        Some(ToolChoice::Required | ToolChoice::Named(_))
    ) {
        dropped.push("reasoning");
        return Ok(told);
    }
    if Model::named(&request.model).adapts {
        told.field = Some(json!({ "type": "adaptive" }));
        told.effort = word(reasoning).map(str::to_owned);
    } else if thoughtless(&request.messages) {
        dropped.push("reasoning");
    } else if let Some(tokens) = budget(fallback, request, reasoning, &mut told.max_tokens)? {
        told.field = Some(json!({ "type": "enabled", "budget_tokens": tokens }));
    } else {
        dropped.push("reasoning");
    }
    if let (Some(field), Some(_)) = (&mut told.field, &reasoning.summary) {
        field["display"] = "summarized".into();
    }
    Ok(told)
}

/// The client's own words.
fn own_words(
    fallback: u64,
    request: &ChatRequest,
    told: &mut Thinking,
    dropped: &mut Vec<&'static str>,
) {
    let config = request.extra.get("output_config");
    let effort = config.and_then(|config| config.get("effort")?.as_str());
    told.effort = effort.map(str::to_owned);
    told.field = request.extra.get("thinking").cloned();
    let tokens = request.reasoning.as_ref().and_then(|said| said.tokens);
    let Some(tokens @ 1..) = tokens else {
        return;
    };
    // Its thoughts were lost between us and another provider, not by the client.
    if dropped.contains(&"thoughts") && thoughtless(&request.messages) {
        told.field = None;
        dropped.push("reasoning");
    } else if request.max_tokens.is_none() {
        told.max_tokens = fallback.saturating_add(tokens);
    }
}

/// Whether the model is in the middle of calling tools and its thoughts are not there to go on
/// from, because the client did not keep them or another model had them. One that is given a number
/// of tokens must not begin to think there.
fn thoughtless(messages: &[Message]) -> bool {
    let turn = messages
        .iter()
        .rev()
        .skip_while(|message| message.role == Role::User)
        .take_while(|message| matches!(message.role, Role::Assistant | Role::Tool));
    let mut called = false;
    for part in turn.flat_map(|message| &message.parts) {
        match part {
            Part::Reasoning { opaque, .. } if proof::proves(opaque) => return false,
            Part::ToolCall { .. } => called = true,
            _ => {}
        }
    }
    called
}

/// The effort in words.
fn word(reasoning: &Reasoning) -> Option<&str> {
    match (reasoning.effort.as_deref(), reasoning.tokens) {
        (Some("minimal"), _) | (None, Some(0..=2_047)) => Some("low"),
        (Some(effort), _) => Some(effort),
        (None, Some(2_048..=8_191)) => Some("medium"),
        (None, Some(_)) => Some("high"),
        (None, None) => None,
    }
}

/// The effort in tokens; nothing if there is no room for it. Where the asker set no most, the
/// thoughts come on top of ours.
fn budget(
    fallback: u64,
    request: &ChatRequest,
    reasoning: &Reasoning,
    max_tokens: &mut u64,
) -> Result<Option<u64>, WireError> {
    let wanted = match (reasoning.tokens, reasoning.effort.as_deref()) {
        (Some(tokens), _) => tokens,
        (None, Some("minimal" | "low")) => 1_024,
        (None, Some("medium") | None) => 4_096,
        (None, Some("high")) => 16_384,
        (None, Some("xhigh" | "max")) => 32_768,
        (None, Some(other)) => {
            return Err(WireError::Unsupported(format!(
                "this model does not know the effort `{other}`: say a number of tokens, or `low`, \
                 `medium` or `high`"
            )));
        }
    };
    let wanted = wanted.max(TOKENS_MIN);
    match request.max_tokens {
        None => {
            *max_tokens = fallback.saturating_add(wanted);
            Ok(Some(wanted))
        }
        Some(most) if most <= TOKENS_MIN => Ok(None),
        Some(most) if wanted >= most => Ok(Some((most / 2).max(TOKENS_MIN))),
        Some(_) => Ok(Some(wanted)),
    }
}
