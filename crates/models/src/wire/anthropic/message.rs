//! Messages, in both directions.
//!
//! The provider knows two roles, which must take turns. Instructions lie beside the messages, and
//! what tools gave is said by the user, before anything else that the user says.

use serde_json::{Value, json};

use super::block::{self, To};
use crate::chat::{ChatRequest, Message, Part, Protocol, Role};
use crate::wire::{Fields, WireError, fields};

/// Reads the instructions.
pub(super) fn system(body: &mut Fields) -> Result<Option<Message>, WireError> {
    let parts = block::decode_all(body, "system")?;
    Ok((!parts.is_empty()).then(|| message(Role::System, parts)))
}

/// Reads one message; what tools gave becomes a message of its own.
pub(super) fn decode(value: Value) -> Result<Vec<Message>, WireError> {
    let mut fields = fields(value)?;
    let role = match fields.need_text("role")?.as_str() {
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "system" => Role::System,
        other => {
            let why = format!("is `{other}`, and must be `user` or `assistant`");
            return Err(WireError::invalid("role", why));
        }
    };
    let parts = block::decode_all(&mut fields, "content")?;
    if role != Role::User {
        return Ok(vec![message(role, parts)]);
    }
    let is_result = |part: &Part| matches!(part, Part::ToolResult { .. });
    let (results, rest): (Vec<_>, Vec<_>) = parts.into_iter().partition(is_result);
    let mut messages = Vec::with_capacity(2);
    if !results.is_empty() {
        messages.push(message(Role::Tool, results));
    }
    if !rest.is_empty() || messages.is_empty() {
        messages.push(message(Role::User, rest));
    }
    Ok(messages)
}

fn message(role: Role, parts: Vec<Part>) -> Message {
    let name = None;
    Message { role, parts, name }
}

/// A conversation in the provider's words.
#[derive(Debug)]
pub(super) struct Talk {
    /// The instructions.
    pub(super) system: Option<Value>,
    /// The rest.
    pub(super) messages: Vec<Value>,
}

/// What is said by one role until another speaks.
struct Turn {
    role: &'static str,
    blocks: Vec<Value>,
}

/// Writes a conversation.
pub(super) fn encode(
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<Talk, WireError> {
    let own = request.protocol == Some(Protocol::Anthropic);
    let to = To::Provider {
        own_files: own || request.protocol.is_none(),
    };
    let mut system = Vec::new();
    let mut turns: Vec<Turn> = Vec::new();
    for message in &request.messages {
        if message.name.is_some() {
            dropped.push("name");
        }
        let role = match message.role {
            // Newer models take instructions in the middle; who asks for that in the provider's
            // own words knows them.
            Role::System | Role::Developer if own && !turns.is_empty() => "system",
            Role::System | Role::Developer => {
                instructions(message, to, dropped, &mut system)?;
                continue;
            }
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let blocks = blocks(message, to, dropped)?;
        match turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => turns.push(Turn { role, blocks }),
        }
    }
    if turns.is_empty() {
        return Err(WireError::Unsupported(
            "this provider needs something to answer: add a message of the user's".into(),
        ));
    }
    Ok(Talk {
        system: (!system.is_empty()).then(|| block::shortened(system)),
        messages: turns.into_iter().map(turn_of).collect(),
    })
}

fn turn_of(mut turn: Turn) -> Value {
    if turn.role == "user" {
        // Sorting keeps the order of what is equal.
        let is_result = |block: &Value| block.get("type").is_some_and(|kind| kind == "tool_result");
        turn.blocks.sort_by_key(|block| !is_result(block));
    }
    json!({ "role": turn.role, "content": block::shortened(turn.blocks) })
}

fn instructions(
    message: &Message,
    to: To,
    dropped: &mut Vec<&'static str>,
    out: &mut Vec<Value>,
) -> Result<(), WireError> {
    for part in &message.parts {
        match part {
            Part::Text { text, .. } if text.trim().is_empty() => {}
            Part::Text { .. } => out.extend(block::encode(part, to, dropped)?),
            _ => {
                return Err(WireError::Unsupported(
                    "this provider takes instructions in words only: move what is no text into a \
                     message of the user's"
                        .into(),
                ));
            }
        }
    }
    Ok(())
}

fn blocks(
    message: &Message,
    to: To,
    dropped: &mut Vec<&'static str>,
) -> Result<Vec<Value>, WireError> {
    let model = message.role == Role::Assistant;
    let mut blocks = Vec::with_capacity(message.parts.len());
    for part in &message.parts {
        match part {
            // The provider refuses texts without words.
            Part::Text { text, .. } | Part::Refusal { text } if text.trim().is_empty() => {}
            Part::Reasoning { .. } | Part::ToolCall { .. } if !model => {
                let why = "have a part that only the model can have said";
                return Err(WireError::invalid("messages", why));
            }
            Part::Other { protocol, .. } if !model && *protocol != Protocol::Anthropic => {
                return Err(WireError::Unsupported(
                    "a message has a part that only another provider understands".into(),
                ));
            }
            part => blocks.extend(block::encode(part, to, dropped)?),
        }
    }
    Ok(blocks)
}
