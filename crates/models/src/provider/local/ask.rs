//! What a model on this machine is asked, as far as it can do it.

use crate::chat::{ChatRequest, Message, Part, Role, Sampling, ToolChoice};
use crate::estimate;
use crate::provider::{Dropped, ProviderError, Reason};
use crate::registry::Model;

/// A conversation that is to be continued.
#[derive(Debug)]
pub(super) struct Ask {
    /// Whose messages they are, in the words of templates.
    pub(super) roles: Vec<&'static str>,
    /// What they say.
    pub(super) texts: Vec<String>,
    /// How tokens are chosen.
    pub(super) sampling: Sampling,
    /// Where chance begins, unless the asker said it.
    pub(super) chance: u64,
    /// The most tokens of the answer.
    pub(super) most: u64,
    /// The most tokens of all, where the operator says fewer than the model can.
    pub(super) context: Option<u64>,
    /// The answer's id.
    pub(super) id: String,
    /// The model's name.
    pub(super) model: String,
}

fn unsupported<T>(why: &str) -> Result<T, ProviderError> {
    Err(ProviderError::new(Reason::Unsupported, why))
}

impl Ask {
    /// Reads a request; what it would be answered wrongly without is refused, and the rest that
    /// has no meaning here is named.
    pub(super) fn new(
        model: &Model,
        request: &ChatRequest,
        chance: u64,
    ) -> Result<(Self, Dropped), ProviderError> {
        let mut dropped = refuse(request)?;
        let (mut roles, mut texts) = (Vec::new(), Vec::new());
        for message in &request.messages {
            if message.name.is_some() {
                dropped.push("name");
            }
            roles.push(match message.role {
                Role::System | Role::Developer => "system",
                Role::User => "user",
                Role::Assistant => "assistant",
                Role::Tool => return unsupported(NO_TOOLS),
            });
            texts.push(words(message)?);
        }
        if roles.is_empty() {
            let text = "there is no message to answer";
            return Err(ProviderError::new(Reason::Invalid, text));
        }
        let most = request.max_tokens.or(model.max_output);
        let ask = Self {
            roles,
            texts,
            sampling: request.sampling.clone(),
            chance,
            most: most.unwrap_or(estimate::ANSWER),
            context: model.context,
            id: format!("local-{chance:016x}"),
            model: model.spec.model.clone(),
        };
        dropped.sort_unstable();
        dropped.dedup();
        Ok((ask, dropped))
    }
}

const NO_TOOLS: &str = "models on this machine call no tools; choose another model";

fn refuse(request: &ChatRequest) -> Result<Dropped, ProviderError> {
    if request.sampling.count.is_some_and(|count| count > 1) {
        return unsupported(
            "this provider gives one answer at a time; ask with `n` of 1, several times",
        );
    }
    if request.format.is_some() {
        return unsupported("models on this machine keep to no schema; choose another model");
    }
    let mut dropped = Dropped::new();
    match (request.tools.is_empty(), &request.tool_choice) {
        (true, None | Some(ToolChoice::Auto | ToolChoice::None)) => {}
        (false, Some(ToolChoice::None)) => dropped.push("tools"),
        _ => return unsupported(NO_TOOLS),
    }
    if request.parallel_tools.is_some() {
        dropped.push("parallel_tool_calls");
    }
    if request.reasoning.is_some() {
        dropped.push("reasoning");
    }
    if request.user.is_some() {
        dropped.push("user");
    }
    Ok(dropped)
}

/// What a message says. Thoughts are not said again.
fn words(message: &Message) -> Result<String, ProviderError> {
    let mut words = Vec::new();
    for part in &message.parts {
        match part {
            Part::Text { text, .. } | Part::Refusal { text } => words.push(text.as_str()),
            Part::Reasoning { .. } => {}
            Part::Image { .. } | Part::File { .. } | Part::Audio { .. } => {
                return unsupported("models on this machine read words only; choose another model");
            }
            Part::ToolCall { .. } | Part::ToolResult { .. } => return unsupported(NO_TOOLS),
            Part::Other { .. } => {
                return unsupported("a message has a part that only another provider understands");
            }
        }
    }
    Ok(words.join("\n"))
}
