//! Answers as they are being written, in both directions.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{EXTRA, answer};
use crate::chat::{Finish, Opaque, Part, Protocol};
use crate::delta::{Delta, PARTS_MAX};
use crate::wire::sse::{self, Event};
use crate::wire::{Complaint, Delivery, Fields, StreamReader, StreamWriter, WireError, fields};

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    done: bool,
    choices: BTreeMap<usize, Reading>,
    /// What came before the answer began.
    early: Map<String, Value>,
}

/// One answer of a stream.
#[derive(Debug, Default)]
struct Reading {
    /// How many parts have begun.
    parts: usize,
    text: Option<usize>,
    thoughts: Option<usize>,
    refusal: Option<usize>,
    calls: BTreeMap<u64, usize>,
    finished: bool,
}

impl Reading {
    /// The number of a part that begins.
    fn begin(&mut self) -> usize {
        self.parts += 1;
        self.parts - 1
    }
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            return self.end(out);
        }
        let value = event.json()?;
        let mut chunk = fields(value)?;
        if let Some(mut error) = chunk.object("error")? {
            return Err(answer::told(&mut error));
        }
        let id = chunk.text("id")?.unwrap_or_default();
        let model = chunk.text("model")?.unwrap_or_default();
        let choices = chunk.list("choices")?;
        // Azure says what it thinks of the question before the answer has a name.
        if !self.begun && id.is_empty() && model.is_empty() && choices.is_empty() {
            self.early.extend(answer::extra(chunk));
            return Ok(());
        }
        if !self.begun {
            self.begun = true;
            out.push(Delta::Begin { id, model });
            let early = std::mem::take(&mut self.early);
            if !early.is_empty() {
                out.push(Delta::Extra(Protocol::OpenaiChat, early));
            }
        }
        for choice in choices {
            self.choice(fields(choice)?, out)?;
        }
        if let Some(usage) = chunk.inside("usage", answer::usage)? {
            out.push(Delta::Usage(usage));
        }
        chunk.any("obfuscation");
        let extra = answer::extra(chunk);
        if !extra.is_empty() {
            out.push(Delta::Extra(Protocol::OpenaiChat, extra));
        }
        Ok(())
    }

    /// Some servers close without a last word; it is missed where no answer had ended.
    fn close(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        let whole = !self.choices.is_empty() && self.choices.values().all(|one| one.finished);
        if !whole {
            return Err(WireError::Cut("an answer had not ended"));
        }
        self.done = true;
        out.push(Delta::End);
        Ok(())
    }
}

impl Reader {
    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.choices.values().all(|choice| choice.finished) || self.choices.is_empty() {
            return Err(WireError::Cut("it was said to end, and an answer had not"));
        }
        self.done = true;
        out.push(Delta::End);
        Ok(())
    }

    fn choice(&mut self, mut choice: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let number = choice.whole("index")?.unwrap_or(0);
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        if number >= PARTS_MAX {
            return Err(WireError::invalid("index", "is too large"));
        }
        let reading = self.choices.entry(number).or_default();
        if let Some(delta) = choice.object("delta")? {
            piece(number, reading, delta, out)?;
        }
        if let Some(value) = choice.any("logprobs") {
            out.push(Delta::Logprobs {
                choice: number,
                value,
            });
        }
        if let Some(word) = choice.text("finish_reason")? {
            let finish = answer::finish_from(word);
            let refuses = reading.refusal.is_some() && finish == Finish::Stop;
            reading.finished = true;
            out.push(Delta::Finish {
                choice: number,
                reason: if refuses { Finish::Refusal } else { finish },
            });
        }
        Ok(())
    }
}

fn piece(
    choice: usize,
    reading: &mut Reading,
    mut delta: Fields,
    out: &mut Vec<Delta>,
) -> Result<(), WireError> {
    let text = |part: usize, text: String, out: &mut Vec<Delta>| {
        out.push(Delta::Text { choice, part, text });
    };
    let thought = match delta.text("reasoning_content")? {
        Some(thought) => Some(thought),
        None => delta.text("reasoning").unwrap_or_default(),
    };
    if let Some(thought) = thought.filter(|thought| !thought.is_empty()) {
        let part = begin(choice, reading, Kind::Thoughts, out);
        text(part, thought, out);
    }
    if let Some(words) = delta.text("content")?.filter(|words| !words.is_empty()) {
        let part = begin(choice, reading, Kind::Text, out);
        text(part, words, out);
    }
    if let Some(words) = delta.text("refusal")?.filter(|words| !words.is_empty()) {
        let part = begin(choice, reading, Kind::Refusal, out);
        text(part, words, out);
    }
    for call in delta.list("tool_calls")? {
        call_piece(choice, reading, fields(call)?, out)?;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Kind {
    Thoughts,
    Text,
    Refusal,
}

/// The part of this kind; it begins if it had not.
fn begin(choice: usize, reading: &mut Reading, kind: Kind, out: &mut Vec<Delta>) -> usize {
    let known = match kind {
        Kind::Thoughts => reading.thoughts,
        Kind::Text => reading.text,
        Kind::Refusal => reading.refusal,
    };
    if let Some(part) = known {
        return part;
    }
    let part = reading.begin();
    let text = String::new();
    let opaque = Opaque::default();
    let (slot, begun) = match kind {
        Kind::Thoughts => (&mut reading.thoughts, Part::Reasoning { text, opaque }),
        Kind::Text => (&mut reading.text, Part::Text { text, opaque }),
        Kind::Refusal => (&mut reading.refusal, Part::Refusal { text }),
    };
    *slot = Some(part);
    out.push(Delta::Part {
        choice,
        part,
        begun,
    });
    part
}

fn call_piece(
    choice: usize,
    reading: &mut Reading,
    mut call: Fields,
    out: &mut Vec<Delta>,
) -> Result<(), WireError> {
    let index = call.whole("index")?.unwrap_or(0);
    let id = call.text("id")?.filter(|id| !id.is_empty());
    let opaque = call.any(EXTRA).map(Opaque::from_value).unwrap_or_default();
    let function = call.inside("function", |mut function| {
        Ok((function.text("name")?, function.text("arguments")?))
    })?;
    let (name, arguments) = function.unwrap_or_default();
    let part = if let Some(part) = reading.calls.get(&index) {
        if !opaque.is_empty() {
            let part = *part;
            out.push(Delta::Opaque {
                choice,
                part,
                opaque,
            });
        }
        *part
    } else {
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| {
            WireError::invalid("tool_calls.function.name", "is missing where a call begins")
        })?;
        let part = reading.begin();
        reading.calls.insert(index, part);
        out.push(Delta::Part {
            choice,
            part,
            begun: Part::ToolCall {
                id: id.unwrap_or_default(),
                name,
                arguments: String::new(),
                opaque,
            },
        });
        part
    };
    if let Some(text) = arguments.filter(|arguments| !arguments.is_empty()) {
        out.push(Delta::Text { choice, part, text });
    }
    Ok(())
}

/// Writes a stream to a client.
#[derive(Debug)]
pub(super) struct Writer {
    created: u64,
    delivery: Delivery,
    id: String,
    model: String,
    /// For each part what it is, and for calls their number among the calls.
    parts: BTreeMap<(usize, usize), Writing>,
    calls: BTreeMap<usize, usize>,
    /// What was thought and has no proof yet.
    thoughts: BTreeMap<(usize, usize), String>,
    roles: Vec<usize>,
    usage: Option<Value>,
    extra: Map<String, Value>,
}

#[derive(Debug, Clone, Copy)]
enum Writing {
    Text,
    Thoughts,
    Refusal,
    Call(usize),
    Nothing,
}

impl Writer {
    pub(super) fn new(created: u64, delivery: Delivery) -> Self {
        Self {
            created,
            delivery,
            id: String::new(),
            model: String::new(),
            parts: BTreeMap::new(),
            calls: BTreeMap::new(),
            thoughts: BTreeMap::new(),
            roles: Vec::new(),
            usage: None,
            extra: Map::new(),
        }
    }

    fn chunk(&self, choices: &Value, out: &mut Vec<u8>) {
        let mut chunk = json!({
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        });
        for (name, value) in &self.extra {
            chunk[name.as_str()] = value.clone();
        }
        if self.delivery == Delivery::Stream {
            chunk["usage"] = Value::Null;
        }
        sse::write(out, None, &chunk);
    }

    fn delta(&mut self, choice: usize, mut delta: Value, out: &mut Vec<u8>) {
        if !self.roles.contains(&choice) {
            self.roles.push(choice);
            delta["role"] = "assistant".into();
        }
        let choices = json!([{
            "index": choice, "delta": delta, "logprobs": null, "finish_reason": null,
        }]);
        self.chunk(&choices, out);
    }

    fn begin(&mut self, choice: usize, part: usize, begun: &Part, out: &mut Vec<u8>) {
        let writing = match begun {
            Part::Text { .. } => Writing::Text,
            Part::Refusal { .. } => Writing::Refusal,
            Part::Reasoning { opaque, .. } => {
                if !opaque.is_empty() {
                    self.proof(choice, part, opaque, out);
                }
                Writing::Thoughts
            }
            Part::ToolCall {
                id, name, opaque, ..
            } => {
                let calls = self.calls.entry(choice).or_default();
                let index = *calls;
                *calls += 1;
                let mut call = json!({
                    "index": index,
                    "id": id,
                    "type": "function",
                    "function": { "name": name, "arguments": "" },
                });
                if !opaque.is_empty() {
                    call[EXTRA] = opaque.to_value();
                }
                self.delta(choice, json!({ "tool_calls": [call] }), out);
                Writing::Call(index)
            }
            Part::Other {
                protocol: Protocol::OpenaiChat,
                value,
            } => {
                self.delta(choice, value.clone(), out);
                Writing::Nothing
            }
            _ => Writing::Nothing,
        };
        self.parts.insert((choice, part), writing);
    }

    /// What proves a thought, beside the message and with the thought, because a client that puts it
    /// back with its next request knows all thoughts as one text.
    fn proof(&mut self, choice: usize, part: usize, opaque: &Opaque, out: &mut Vec<u8>) {
        let mut thought = json!({ "index": part, "opaque": opaque.to_value() });
        if let Some(text) = self.thoughts.remove(&(choice, part)) {
            thought["text"] = text.into();
        }
        self.delta(choice, json!({ EXTRA: { "reasoning": [thought] } }), out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        if self.delivery == Delivery::Stream {
            let usage = self.usage.take();
            let mut chunk = json!({
                "id": self.id,
                "object": "chat.completion.chunk",
                "created": self.created,
                "model": self.model,
                "choices": [],
                "usage": usage,
            });
            for (name, value) in &self.extra {
                chunk[name.as_str()] = value.clone();
            }
            sse::write(out, None, &chunk);
        }
        out.extend_from_slice(b"data: [DONE]\n\n");
    }
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
                self.delta(0, json!({ "content": "" }), out);
            }
            Delta::Part {
                choice,
                part,
                begun,
            } => self.begin(*choice, *part, begun, out),
            Delta::Text { choice, part, text } => {
                let place = (*choice, *part);
                let delta = match self.parts.get(&place) {
                    Some(Writing::Text) => json!({ "content": text }),
                    Some(Writing::Thoughts) => {
                        self.thoughts.entry(place).or_default().push_str(text);
                        json!({ "reasoning_content": text })
                    }
                    Some(Writing::Refusal) => json!({ "refusal": text }),
                    Some(Writing::Call(index)) => json!({ "tool_calls": [
                        { "index": index, "function": { "arguments": text } },
                    ] }),
                    Some(Writing::Nothing) | None => return,
                };
                self.delta(*choice, delta, out);
            }
            Delta::Opaque {
                choice,
                part,
                opaque,
            } => match self.parts.get(&(*choice, *part)) {
                Some(Writing::Thoughts) => self.proof(*choice, *part, opaque, out),
                Some(Writing::Call(index)) => {
                    let call = json!({ "index": index, EXTRA: opaque.to_value() });
                    self.delta(*choice, json!({ "tool_calls": [call] }), out);
                }
                _ => {}
            },
            Delta::Logprobs { choice, value } => {
                let choices = json!([{
                    "index": choice, "delta": {}, "logprobs": value, "finish_reason": null,
                }]);
                self.chunk(&choices, out);
            }
            Delta::Finish { choice, reason } => {
                let choices = json!([{
                    "index": choice, "delta": {}, "logprobs": null,
                    "finish_reason": answer::finish_of(reason),
                }]);
                self.chunk(&choices, out);
            }
            Delta::Usage(usage) => self.usage = Some(answer::usage_of(usage)),
            Delta::Extra(Protocol::OpenaiChat, fields) => {
                for (name, value) in fields {
                    self.extra.insert(name.clone(), value.clone());
                }
            }
            Delta::Extra(..) => {}
            Delta::End => self.end(out),
        }
    }

    fn fail(&mut self, complaint: &Complaint, out: &mut Vec<u8>) {
        let error = json!({ "error": {
            "message": complaint.message,
            "type": complaint.kind,
            "param": null,
            "code": complaint.code,
        } });
        sse::write(out, None, &error);
    }
}
