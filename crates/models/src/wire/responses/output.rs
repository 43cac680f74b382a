//! The answer a client gets, as it grows. The whole is what a stream would have ended with.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::item::{self, FAMILY, OURS};
use crate::chat::{ChatAnswer, Finish, Opaque, Part, Protocol, Source};
use crate::delta::{self, Delta, PARTS_MAX};
use crate::usage::Usage;
use crate::wire::openai::EXTRA;

/// The most characters of an answer's id that the ids of its items repeat; `OpenAI` takes none
/// that is longer than 64.
const ID_MAX: usize = 44;

/// Writes an answer for a client.
pub(super) fn whole(answer: &ChatAnswer, created: u64) -> Value {
    let mut draft = Draft::new(created);
    for delta in delta::deltas(answer) {
        draft.take(&delta);
    }
    draft.response(draft.status())
}

/// An answer as far as it came.
#[derive(Debug)]
pub(super) struct Draft {
    created: u64,
    id: String,
    model: String,
    items: Vec<Item>,
    /// Where each part stands.
    places: BTreeMap<usize, Place>,
    finish: Finish,
    logprobs: Vec<Value>,
    usage: Option<Usage>,
    extra: Map<String, Value>,
}

/// Where a part stands: its item, and the content within a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The item's number.
    pub(super) item: usize,
    /// The content's.
    pub(super) content: usize,
}

/// One item.
#[derive(Debug)]
pub(super) struct Item {
    /// Its id.
    pub(super) id: String,
    /// What it is.
    pub(super) kind: Kind,
}

/// What an item is.
#[derive(Debug)]
pub(super) enum Kind {
    /// Words: texts and refusals.
    Message(Vec<Part>),
    /// A call or thoughts.
    One(Part),
    /// Something that came as a whole.
    Whole(Value),
}

impl Draft {
    pub(super) fn new(created: u64) -> Self {
        Self {
            created,
            id: String::new(),
            model: String::new(),
            items: Vec::new(),
            places: BTreeMap::new(),
            finish: Finish::Stop,
            logprobs: Vec::new(),
            usage: None,
            extra: Map::new(),
        }
    }

    /// Takes in what is new; says where, if it belongs to a part. There is one answer in this
    /// protocol, and others that were asked for are not written.
    pub(super) fn take(&mut self, delta: &Delta) -> Option<Place> {
        match delta {
            Delta::Begin { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            Delta::Part {
                choice: 0,
                part,
                begun,
            } => return self.begin(*part, begun),
            Delta::Text {
                choice: 0,
                part,
                text,
            } => {
                let place = *self.places.get(part)?;
                self.text_mut(place)?.push_str(text);
                return Some(place);
            }
            Delta::Opaque {
                choice: 0,
                part,
                opaque,
            } => {
                let place = *self.places.get(part)?;
                self.opaque_mut(place)?.merge(opaque);
                return Some(place);
            }
            Delta::Logprobs { choice: 0, value } => {
                let more = value.get("content").and_then(Value::as_array);
                self.logprobs.extend(more.into_iter().flatten().cloned());
            }
            Delta::Finish { choice: 0, reason } => self.finish = reason.clone(),
            Delta::Usage(usage) => {
                self.usage = Some(self.usage.unwrap_or_default().max(*usage));
            }
            Delta::Extra(Protocol::OpenaiResponses, fields) => {
                self.extra.extend(fields.clone());
            }
            _ => {}
        }
        None
    }

    fn begin(&mut self, part: usize, begun: &Part) -> Option<Place> {
        if self.items.len() >= PARTS_MAX || self.places.contains_key(&part) {
            return None;
        }
        let (word, kind) = match begun {
            Part::Text { .. } | Part::Refusal { .. } => {
                if let Some(place) = self.join(begun) {
                    self.places.insert(part, place);
                    return Some(place);
                }
                ("msg", Kind::Message(vec![begun.clone()]))
            }
            Part::Reasoning { .. } => ("rs", Kind::One(begun.clone())),
            Part::ToolCall { .. } => ("fc", Kind::One(begun.clone())),
            Part::Other {
                protocol: Protocol::OpenaiResponses,
                value,
            } => ("it", Kind::Whole(value.clone())),
            Part::Image {
                source: Source::Data { media_type, data },
                ..
            } => {
                let format = media_type.rsplit('/').next();
                let picture = json!({
                    "type": "image_generation_call",
                    "status": "completed",
                    "result": data,
                    "output_format": format,
                });
                ("ig", Kind::Whole(picture))
            }
            // The protocol has no item for it.
            _ => return None,
        };
        let item = self.items.len();
        let known = id_of(&kind).map(str::to_owned);
        let id = known.unwrap_or_else(|| self.made_id(word, item));
        self.items.push(Item { id, kind });
        let place = Place { item, content: 0 };
        self.places.insert(part, place);
        Some(place)
    }

    /// Words go on in the message before them, unless they are known to be of another.
    fn join(&mut self, begun: &Part) -> Option<Place> {
        let item = self.items.len().checked_sub(1)?;
        let last = self.items.last_mut()?;
        let Kind::Message(contents) = &mut last.kind else {
            return None;
        };
        let id = match begun {
            Part::Text { opaque, .. } => opaque.text(FAMILY, "id"),
            _ => None,
        };
        if id.is_some_and(|id| id != last.id) || contents.len() >= PARTS_MAX {
            return None;
        }
        contents.push(begun.clone());
        let content = contents.len() - 1;
        Some(Place { item, content })
    }

    fn made_id(&self, word: &str, item: usize) -> String {
        let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
        let id: String = self.id.chars().filter(plain).take(ID_MAX).collect();
        format!("{word}_{OURS}{item}_{id}")
    }

    fn part_mut(&mut self, place: Place) -> Option<&mut Part> {
        match &mut self.items.get_mut(place.item)?.kind {
            Kind::Message(contents) => contents.get_mut(place.content),
            Kind::One(part) => Some(part),
            Kind::Whole(_) => None,
        }
    }

    fn text_mut(&mut self, place: Place) -> Option<&mut String> {
        match self.part_mut(place)? {
            Part::Text { text, .. } | Part::Refusal { text } | Part::Reasoning { text, .. } => {
                Some(text)
            }
            Part::ToolCall { arguments, .. } => Some(arguments),
            _ => None,
        }
    }

    fn opaque_mut(&mut self, place: Place) -> Option<&mut Opaque> {
        match self.part_mut(place)? {
            Part::Text { opaque, .. }
            | Part::Reasoning { opaque, .. }
            | Part::ToolCall { opaque, .. } => Some(opaque),
            _ => None,
        }
    }

    /// An item.
    pub(super) fn item(&self, item: usize) -> Option<&Item> {
        self.items.get(item)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// How the answer ended.
    pub(super) fn status(&self) -> &'static str {
        match &self.finish {
            Finish::Stop | Finish::StopText(_) | Finish::Tools | Finish::Refusal => "completed",
            Finish::Other(word) if word == "cancelled" => "cancelled",
            Finish::Length | Finish::Filter | Finish::Other(_) => "incomplete",
        }
    }

    fn incomplete(&self) -> Value {
        let reason = match &self.finish {
            Finish::Length => "max_output_tokens",
            Finish::Filter => "content_filter",
            Finish::Other(word) if word != "cancelled" => word,
            _ => return Value::Null,
        };
        json!({ "reason": reason })
    }

    /// The answer, as far as it came.
    pub(super) fn response(&self, status: &str) -> Value {
        let ended = matches!(status, "completed" | "incomplete" | "cancelled");
        let mut body = json!({
            "id": self.id,
            "object": "response",
            "created_at": self.created,
            "status": status,
            "background": false,
            "error": null,
            "incomplete_details": if ended { self.incomplete() } else { Value::Null },
            "instructions": null,
            "max_output_tokens": null,
            "model": self.model,
            "output": [],
            "parallel_tool_calls": true,
            "previous_response_id": null,
            "reasoning": { "effort": null, "summary": null },
            "store": false,
            "temperature": null,
            "text": { "format": { "type": "text" } },
            "tool_choice": "auto",
            "tools": [],
            "top_p": null,
            "truncation": "disabled",
            "usage": null,
            "user": null,
            "metadata": {},
        });
        for (name, value) in &self.extra {
            body[name.as_str()] = value.clone();
        }
        if status != "in_progress" {
            body["output"] = (0..self.items.len()).map(|item| self.done(item)).collect();
            body["usage"] = self.usage.map_or(Value::Null, |usage| usage_of(&usage));
        }
        if ended && self.usage.is_none() {
            body["usage"] = usage_of(&Usage::default());
        }
        body
    }

    /// An item that is whole.
    pub(super) fn done(&self, item: usize) -> Value {
        // Which text each probability belongs to is not known; they are told with the first.
        let first = self.items.iter().position(|item| {
            matches!(&item.kind, Kind::Message(contents)
                if matches!(contents.first(), Some(Part::Text { .. })))
        });
        let mut written = self.written(item);
        if first == Some(item) && !self.logprobs.is_empty() {
            written["content"][0]["logprobs"] = Value::Array(self.logprobs.clone());
        }
        written
    }

    fn written(&self, item: usize) -> Value {
        let Some(Item { id, kind }) = self.items.get(item) else {
            return Value::Null;
        };
        match kind {
            Kind::Message(contents) => message(id, contents),
            Kind::One(Part::ToolCall {
                id: call,
                name,
                arguments,
                opaque,
            }) => {
                let mut item = json!({
                    "id": id,
                    "type": "function_call",
                    "status": "completed",
                    "arguments": arguments,
                    "call_id": call,
                    "name": name,
                });
                beside(&mut item, opaque);
                item
            }
            Kind::One(Part::Reasoning { text, opaque }) => {
                let mut item = item::thought_of(text, opaque);
                item.insert("id".into(), id.as_str().into());
                if item::foreign(opaque).is_some() {
                    let sealed = item::sealed(text, opaque);
                    item.insert("encrypted_content".into(), sealed.into());
                }
                Value::Object(item)
            }
            Kind::One(_) => Value::Null,
            Kind::Whole(value) => {
                let mut value = value.clone();
                if value.is_object() && value.get("id").is_none() {
                    value["id"] = id.as_str().into();
                }
                value
            }
        }
    }
}

fn id_of(kind: &Kind) -> Option<&str> {
    match kind {
        Kind::Message(contents) => match contents.first()? {
            Part::Text { opaque, .. } => opaque.text(FAMILY, "id"),
            _ => None,
        },
        Kind::One(Part::ToolCall { opaque, .. } | Part::Reasoning { opaque, .. }) => {
            opaque.text(FAMILY, "id")
        }
        Kind::One(_) => None,
        Kind::Whole(value) => value.get("id")?.as_str(),
    }
}

fn message(id: &str, contents: &[Part]) -> Value {
    let mut item = json!({
        "id": id,
        "type": "message",
        "status": "completed",
        "role": "assistant",
        "content": contents.iter().map(content).collect::<Vec<_>>(),
    });
    if let Some(Part::Text { opaque, .. }) = contents.first()
        && let Some(phase) = opaque.get(FAMILY, "phase")
    {
        item["phase"] = phase.clone();
    }
    item
}

/// A content of a message.
pub(super) fn content(part: &Part) -> Value {
    match part {
        Part::Refusal { text } => json!({ "type": "refusal", "refusal": text }),
        Part::Text { text, opaque } => {
            let mut content = json!({
                "type": "output_text", "text": text, "annotations": [], "logprobs": [],
            });
            beside(&mut content, opaque);
            content
        }
        _ => Value::Null,
    }
}

/// Writes what only providers understand beside a content or a call.
fn beside(object: &mut Value, opaque: &Opaque) {
    for (name, value) in item::own(opaque) {
        if !matches!(name.as_str(), "id" | "phase") {
            object[name.as_str()] = value;
        }
    }
    if let Some(foreign) = item::foreign(opaque) {
        object[EXTRA] = foreign;
    }
}

/// Writes what was used.
fn usage_of(usage: &Usage) -> Value {
    json!({
        "input_tokens": usage.input,
        "input_tokens_details": {
            "cached_tokens": usage.cache_read,
            "cache_write_tokens": usage.cache_write,
        },
        "output_tokens": usage.output,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning },
        "total_tokens": usage.total(),
    })
}
