//! Where the provider's cache is to break, where the asker did not say.
//!
//! What is read from the cache costs a tenth, and what is put there a quarter more ("Prompt caching").
//! A conversation that goes on is read again with each turn, so its beginning is marked: the
//! instructions with the tools before them, the last message, and the one before the last answer,
//! where the turn before left its mark. A single question is not marked: nobody may ask it again.

use crate::chat::{ChatRequest, Message, Opaque, Part, Role, Tool};
use crate::estimate;

use super::FAMILY;

/// The field of a mark.
const MARK: &str = "cache_control";

/// What is shorter no model of the provider keeps.
const TOKENS_MIN: u64 = 1_024;

/// The request with marks; nothing where it has its own, or is not worth one.
pub(super) fn placed(request: &ChatRequest) -> Option<ChatRequest> {
    let said = |role: Role| move |message: &Message| message.role == role;
    let goes_on = !request.tools.is_empty() || request.messages.iter().any(said(Role::Assistant));
    if !goes_on || has_marks(request) || estimate::request(request) < TOKENS_MIN {
        return None;
    }
    let mut request = request.clone();
    let instructions = |message: &Message| matches!(message.role, Role::System | Role::Developer);
    let messages = &mut request.messages;
    let marked = match messages.iter_mut().rfind(|message| instructions(message)) {
        Some(message) => mark(message),
        None => false,
    };
    if !marked && let Some(Tool::Function { opaque, .. }) = request.tools.last_mut() {
        set(opaque);
    }
    if let Some(last) = messages.last_mut() {
        mark(last);
    }
    if let Some(answer) = messages.iter().rposition(said(Role::Assistant))
        && let Some(before) = answer.checked_sub(1)
        && let Some(message) = messages.get_mut(before)
    {
        mark(message);
    }
    Some(request)
}

fn has_marks(request: &ChatRequest) -> bool {
    let marked = |opaque: &Opaque| opaque.get(FAMILY, MARK).is_some();
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    let on = |part: &Part| opaque(part).is_some_and(marked);
    request.extra.contains_key(MARK)
        || parts.any(|part| match part {
            Part::ToolResult { parts, .. } => on(part) || parts.iter().any(on),
            part => on(part),
        })
        || request.tools.iter().any(|tool| match tool {
            Tool::Function { opaque, .. } => marked(opaque),
            Tool::Provider { value, .. } => value.get(MARK).is_some(),
        })
}

/// Marks the last part of a message that can be; whether there was one.
fn mark(message: &mut Message) -> bool {
    let part = message.parts.last_mut();
    part.and_then(opaque_mut).map(set).is_some()
}

fn set(opaque: &mut Opaque) {
    opaque.set(FAMILY, MARK, serde_json::json!({ "type": "ephemeral" }));
}

fn opaque(part: &Part) -> Option<&Opaque> {
    match part {
        Part::Text { opaque, .. }
        | Part::Image { opaque, .. }
        | Part::File { opaque, .. }
        | Part::ToolCall { opaque, .. }
        | Part::ToolResult { opaque, .. } => Some(opaque),
        _ => None,
    }
}

/// The same of a part that takes a mark: thoughts and empty texts do not.
fn opaque_mut(part: &mut Part) -> Option<&mut Opaque> {
    match part {
        Part::Text { text, .. } if text.trim().is_empty() => None,
        Part::Text { opaque, .. }
        | Part::Image { opaque, .. }
        | Part::File { opaque, .. }
        | Part::ToolCall { opaque, .. }
        | Part::ToolResult { opaque, .. } => Some(opaque),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conversation(words: usize) -> ChatRequest {
        let long = "word ".repeat(words);
        let messages = [
            (Role::System, long.as_str()),
            (Role::User, "Hello"),
            (Role::Assistant, "Hi"),
            (Role::User, "And?"),
        ];
        ChatRequest {
            messages: messages
                .map(|(role, text)| Message::text(role, text))
                .into(),
            ..ChatRequest::default()
        }
    }

    fn marks(request: &ChatRequest) -> Vec<usize> {
        let messages = request.messages.iter().enumerate();
        let marked = messages.filter(|(_, message)| {
            let mut parts = message.parts.iter().filter_map(opaque);
            parts.any(|opaque| opaque.get(FAMILY, MARK).is_some())
        });
        marked.map(|(at, _)| at).collect()
    }

    #[test]
    fn a_long_conversation_is_marked_where_it_will_be_read_again() {
        let marked = placed(&conversation(2_000)).unwrap();
        assert_eq!(marks(&marked), [0, 1, 3]);
    }

    #[test]
    fn a_tool_is_marked_where_there_are_no_instructions() {
        let mut request = conversation(2_000);
        request.messages.remove(0);
        let tool = Tool::Function {
            name: "t".into(),
            description: Some("word ".repeat(2_000)),
            parameters: None,
            strict: None,
            opaque: Opaque::default(),
        };
        request.tools = vec![tool.clone(), tool];
        let marked = placed(&request).unwrap();
        let on = |tool: &Tool| match tool {
            Tool::Function { opaque, .. } => opaque.get(FAMILY, MARK).is_some(),
            Tool::Provider { .. } => false,
        };
        assert_eq!(
            marked.tools.iter().map(on).collect::<Vec<_>>(),
            [false, true]
        );
        assert_eq!(marks(&marked), [0, 2]);
    }

    #[test]
    fn what_is_short_or_asked_once_or_marked_already_is_left_as_it_is() {
        assert_eq!(placed(&conversation(10)), None);
        let mut once = conversation(2_000);
        once.messages.truncate(2);
        assert_eq!(placed(&once), None);
        let mut own = conversation(2_000);
        mark(&mut own.messages[1]);
        assert_eq!(placed(&own), None);
    }
}
