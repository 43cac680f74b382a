//! Messages and their parts, for Ollama.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use crate::chat::{Message, Part, Protocol, Role, Source};
use crate::wire::{WireError, arguments};

/// A conversation that is being written.
#[derive(Debug, Default)]
pub(super) struct Conversation<'a> {
    /// The tools of the calls so far, by the calls' ids.
    calls: HashMap<&'a str, &'a str>,
    /// The messages.
    pub(super) messages: Vec<Value>,
    /// What was asked and cannot be said.
    pub(super) dropped: Vec<&'static str>,
}

impl<'a> Conversation<'a> {
    /// Writes the next message; results of several tools become several messages.
    pub(super) fn message(&mut self, message: &'a Message) -> Result<(), WireError> {
        if message.name.is_some() {
            self.dropped.push("name");
        }
        let role = match message.role {
            Role::System | Role::Developer => "system",
            Role::User | Role::Tool => "user",
            Role::Assistant => return self.said(&message.parts),
        };
        let mut rest = Vec::new();
        for part in &message.parts {
            match part {
                Part::ToolResult {
                    call,
                    parts,
                    failed,
                    ..
                } => self.result(call, parts, *failed)?,
                other => rest.push(other),
            }
        }
        if !rest.is_empty() {
            let content = self.content(rest)?;
            self.push(role, content);
        }
        Ok(())
    }

    fn push(&mut self, role: &str, mut content: Map<String, Value>) {
        content.shift_insert(0, "role".into(), role.into());
        self.messages.push(Value::Object(content));
    }

    fn result(&mut self, call: &str, parts: &[Part], failed: bool) -> Result<(), WireError> {
        let mut content = self.content(parts.iter().collect())?;
        // There is no field for it, and a model should know.
        if let (true, Some(Value::String(words))) = (failed, content.get_mut("content")) {
            words.insert_str(0, "Error: ");
        }
        if let Some(name) = self.calls.get(call) {
            content.insert("tool_name".into(), (*name).into());
        }
        content.insert("tool_call_id".into(), call.into());
        self.push("tool", content);
        Ok(())
    }

    /// Words and pictures, which have a field each.
    fn content(&mut self, parts: Vec<&Part>) -> Result<Map<String, Value>, WireError> {
        let (mut words, mut images) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text { text, .. } => words.push(text.as_str()),
                Part::Image { source, detail, .. } => {
                    if detail.as_deref().is_some_and(|detail| detail != "auto") {
                        self.dropped.push("detail");
                    }
                    images.push(picture(source)?);
                }
                Part::File { .. } | Part::Audio { .. } => {
                    return Err(WireError::Unsupported(
                        "this provider takes words and pictures; send the document's text, or \
                         choose another model"
                            .into(),
                    ));
                }
                Part::Other { .. } => {
                    return Err(WireError::Unsupported(
                        "a message has a part that only another provider understands".into(),
                    ));
                }
                Part::Reasoning { .. }
                | Part::ToolCall { .. }
                | Part::ToolResult { .. }
                | Part::Refusal { .. } => {
                    return Err(WireError::invalid(
                        "messages",
                        "have a part that only the model can have said",
                    ));
                }
            }
        }
        let mut content = Map::new();
        content.insert("content".into(), words.join("\n").into());
        if !images.is_empty() {
            content.insert("images".into(), images.into());
        }
        Ok(content)
    }

    /// What the model said.
    fn said(&mut self, parts: &'a [Part]) -> Result<(), WireError> {
        let (mut words, mut thoughts) = (String::new(), String::new());
        let (mut calls, mut images, mut beside) = (Vec::new(), Vec::new(), Map::new());
        for part in parts {
            match part {
                Part::Text { text, .. } | Part::Refusal { text } => words.push_str(text),
                Part::Reasoning { text, .. } => thoughts.push_str(text),
                Part::Image { source, .. } => images.push(picture(source)?),
                Part::ToolCall {
                    id,
                    name,
                    arguments,
                    ..
                } => {
                    self.calls.insert(id, name);
                    let function = json!({
                        "index": calls.len(),
                        "name": name,
                        "arguments": arguments::object(arguments),
                    });
                    calls.push(json!({ "id": id, "type": "function", "function": function }));
                }
                Part::Other {
                    protocol: Protocol::Ollama,
                    value: Value::Object(fields),
                } => beside.extend(fields.clone()),
                // What another provider did by itself is in its words already.
                Part::Other { .. } => {}
                Part::File { .. } | Part::Audio { .. } | Part::ToolResult { .. } => {
                    return Err(WireError::Unsupported(
                        "the model's earlier answer has a file or sound in it, which this \
                         provider does not take"
                            .into(),
                    ));
                }
            }
        }
        let mut message = Map::new();
        message.insert("content".into(), words.into());
        if !thoughts.is_empty() {
            message.insert("thinking".into(), thoughts.into());
        }
        if !images.is_empty() {
            message.insert("images".into(), images.into());
        }
        message.extend(beside);
        if !calls.is_empty() {
            message.insert("tool_calls".into(), calls.into());
        }
        self.push("assistant", message);
        Ok(())
    }
}

/// A picture's bytes alone; what they are the server sees.
fn picture(source: &Source) -> Result<Value, WireError> {
    match source {
        Source::Data { data, .. } => Ok(data.as_str().into()),
        Source::Url(url) => Err(WireError::Unsupported(format!(
            "this provider does not fetch pictures from addresses; send `{url}` as bytes"
        ))),
        Source::Id(id) => Err(WireError::Unsupported(format!(
            "the picture `{id}` lies at another provider"
        ))),
    }
}
