//! Answers, as they are being written and as a whole.

use serde_json::{Value, json};

use super::answer;
use crate::chat::{ChatAnswer, Opaque, Part, Protocol};
use crate::delta::{Assembler, Delta, PARTS_MAX};
use crate::wire::sse::Event;
use crate::wire::{Fields, StreamReader, WireError, fields};

/// The most characters of a time in the ids of calls; some protocols take 40 in all.
const TIME_MAX: usize = 24;

/// Reads an answer that came as a whole.
pub(super) fn decode(body: Value) -> Result<ChatAnswer, WireError> {
    let (mut reader, mut deltas) = (Reader::default(), Vec::new());
    reader.line(body, &mut deltas)?;
    reader.close(&mut deltas)?;
    let mut assembler = Assembler::default();
    for delta in &deltas {
        assembler.push(delta);
    }
    Ok(assembler.finish())
}

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    done: bool,
    /// How many parts have begun.
    parts: usize,
    text: Option<usize>,
    thoughts: Option<usize>,
    /// Calls come whole, one or more to a line. They wait for the end, so that they stand after the
    /// words as they do in a whole answer.
    calls: Vec<Call>,
}

#[derive(Debug)]
struct Call {
    id: Option<String>,
    name: String,
    arguments: String,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        let value = event.json()?;
        self.line(value, out)
    }

    fn close(&mut self, _out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        Err(WireError::Cut("the server had not said that it is done"))
    }
}

impl Reader {
    fn line(&mut self, value: Value, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if value.get("error").is_some_and(|error| !error.is_null()) {
            let complaint = answer::complaint(&value);
            return Err(WireError::Told {
                kind: "error".into(),
                message: complaint.map_or_else(String::new, |complaint| complaint.message),
            });
        }
        let mut line = fields(value)?;
        let model = line.text("model")?;
        if !self.begun {
            self.begun = true;
            out.push(Delta::Begin {
                id: String::new(),
                model: model.unwrap_or_default(),
            });
        }
        line.inside("message", |message| self.message(message, out))?;
        let logprobs = line.list("logprobs")?;
        if !logprobs.is_empty() {
            out.push(Delta::Logprobs {
                choice: 0,
                value: json!({ "content": logprobs }),
            });
        }
        if line.flag("done")?.unwrap_or(false) {
            self.end(line, out)?;
        }
        Ok(())
    }

    fn message(&mut self, mut message: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if let Some(thought) = message.text("thinking")?.filter(|text| !text.is_empty()) {
            let part = match self.thoughts {
                Some(part) => part,
                None => self.begin(
                    Part::Reasoning {
                        text: String::new(),
                        opaque: Opaque::default(),
                    },
                    out,
                ),
            };
            self.thoughts = Some(part);
            say(part, thought, out);
        }
        if let Some(words) = message.text("content")?.filter(|text| !text.is_empty()) {
            let part = match self.text {
                Some(part) => part,
                None => self.begin(Part::text(""), out),
            };
            self.text = Some(part);
            say(part, words, out);
        }
        let images = message.list("images")?;
        if !images.is_empty() {
            self.begin(
                Part::Other {
                    protocol: Protocol::Ollama,
                    value: json!({ "images": images }),
                },
                out,
            );
        }
        let calls = message.each("tool_calls", call)?;
        self.calls.extend(calls);
        if self.parts + self.calls.len() > PARTS_MAX {
            return Err(WireError::invalid("tool_calls", "are too many"));
        }
        Ok(())
    }

    fn begin(&mut self, begun: Part, out: &mut Vec<Delta>) -> usize {
        let part = self.parts;
        self.parts += 1;
        out.push(Delta::Part {
            choice: 0,
            part,
            begun,
        });
        part
    }

    fn end(&mut self, mut line: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let prefix = own_id(line.text("created_at")?.as_deref().unwrap_or_default());
        let calls = std::mem::take(&mut self.calls);
        let reason = answer::finish_from(line.text("done_reason")?, !calls.is_empty());
        for (number, call) in calls.into_iter().enumerate() {
            let begun = Part::ToolCall {
                id: call.id.unwrap_or_else(|| format!("{prefix}{number}")),
                name: call.name,
                arguments: String::new(),
                opaque: Opaque::default(),
            };
            let part = self.begin(begun, out);
            say(part, call.arguments, out);
        }
        out.push(Delta::Finish { choice: 0, reason });
        if let Some(usage) = answer::usage(&mut line)? {
            out.push(Delta::Usage(usage));
        }
        let mut extra = line.rest();
        extra.retain(|_, value| !value.is_null());
        out.push(Delta::Extra(Protocol::Ollama, extra));
        out.push(Delta::End);
        self.done = true;
        Ok(())
    }
}

fn say(part: usize, text: String, out: &mut Vec<Delta>) {
    let choice = 0;
    out.push(Delta::Text { choice, part, text });
}

fn call(value: Value) -> Result<Call, WireError> {
    let mut call = fields(value)?;
    let id = call.text("id")?.filter(|id| !id.is_empty());
    let read = call.inside("function", |mut function| {
        let name = function.need_text("name")?;
        let arguments = match function.any("arguments") {
            None => "{}".to_owned(),
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
        };
        Ok((name, arguments))
    })?;
    let (name, arguments) = read.ok_or_else(|| WireError::invalid("function", "is missing"))?;
    Ok(Call {
        id,
        name,
        arguments,
    })
}

/// How the ids of calls begin where an older server gave none. Its answers have no ids either; the
/// time of one tells it from the others of a conversation.
fn own_id(created: &str) -> String {
    let time: String = created
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .take(TIME_MAX)
        .collect();
    if time.is_empty() {
        "call_".to_owned()
    } else {
        format!("call_{time}_")
    }
}
