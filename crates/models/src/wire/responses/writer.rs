//! Answers as they are being written, for a client.
//!
//! What is new is told at once. That something is whole is told when all is: only then is it known
//! that nothing more of it comes, since other protocols let parts grow side by side.

use serde_json::{Value, json};

use super::item::FAMILY;
use super::output::{self, Draft, Kind, Place};
use crate::chat::{Opaque, Part};
use crate::delta::Delta;
use crate::wire::sse;
use crate::wire::{Complaint, StreamWriter};

/// Writes a stream to a client.
#[derive(Debug)]
pub(super) struct Writer {
    draft: Draft,
    sequence: u64,
    begun: bool,
    /// The items whose thoughts have begun to be told.
    thinking: Vec<usize>,
}

impl Writer {
    pub(super) fn new(created: u64) -> Self {
        Self {
            draft: Draft::new(created),
            sequence: 0,
            begun: false,
            thinking: Vec::new(),
        }
    }

    /// Writes an event: its kind, its number, and the fields of `body`.
    fn event(&mut self, kind: &str, body: Value, out: &mut Vec<u8>) {
        let mut event = json!({ "type": kind, "sequence_number": self.sequence });
        self.sequence += 1;
        if let (Value::Object(event), Value::Object(body)) = (&mut event, body) {
            event.extend(body);
        }
        sse::write(out, Some(kind), &event);
    }

    /// The same about a part of an item.
    fn about(&mut self, kind: &str, place: Place, mut body: Value, out: &mut Vec<u8>) {
        let id = self.draft.item(place.item).map(|item| item.id.clone());
        body["item_id"] = id.into();
        body["output_index"] = place.item.into();
        self.event(kind, body, out);
    }

    fn begin(&mut self, place: Place, new: bool, out: &mut Vec<u8>) {
        if new {
            let mut item = self.draft.done(place.item);
            for (name, empty) in [
                ("status", json!("in_progress")),
                ("content", json!([])),
                ("summary", json!([])),
                ("arguments", json!("")),
            ] {
                if item.get(name).is_some() {
                    item[name] = empty;
                }
            }
            let body = json!({ "output_index": place.item, "item": item });
            self.event("response.output_item.added", body, out);
        }
        if let Some(part) = self.words(place) {
            let part = output::content(part);
            let body = json!({ "content_index": place.content, "part": part });
            self.about("response.content_part.added", place, body, out);
        }
    }

    /// The content at a place in a message.
    fn words(&self, place: Place) -> Option<&Part> {
        match &self.draft.item(place.item)?.kind {
            Kind::Message(contents) => contents.get(place.content),
            Kind::One(_) | Kind::Whole(_) => None,
        }
    }

    fn more(&mut self, place: Place, text: &str, out: &mut Vec<u8>) {
        let Some(item) = self.draft.item(place.item) else {
            return;
        };
        let index = place.content;
        let (kind, body) = match &item.kind {
            Kind::Message(contents) => match contents.get(index) {
                Some(Part::Refusal { .. }) => (
                    "response.refusal.delta",
                    json!({ "content_index": index, "delta": text }),
                ),
                _ => (
                    "response.output_text.delta",
                    json!({ "content_index": index, "delta": text, "logprobs": [] }),
                ),
            },
            Kind::One(Part::Reasoning { opaque, .. }) => {
                let own = own_words(opaque);
                return self.thought(place, own, text, out);
            }
            Kind::One(_) => (
                "response.function_call_arguments.delta",
                json!({ "delta": text }),
            ),
            Kind::Whole(_) => return,
        };
        self.about(kind, place, body, out);
    }

    /// More thoughts: in their own words, or of a summary.
    fn thought(&mut self, place: Place, own: bool, text: &str, out: &mut Vec<u8>) {
        let first = !self.thinking.contains(&place.item);
        if first {
            self.thinking.push(place.item);
        }
        if own {
            if first {
                let part = json!({ "type": "reasoning_text", "text": "" });
                let body = json!({ "content_index": 0, "part": part });
                self.about("response.content_part.added", place, body, out);
            }
            let body = json!({ "content_index": 0, "delta": text });
            self.about("response.reasoning_text.delta", place, body, out);
        } else {
            if first {
                let part = json!({ "type": "summary_text", "text": "" });
                let body = json!({ "summary_index": 0, "part": part });
                self.about("response.reasoning_summary_part.added", place, body, out);
            }
            let body = json!({ "summary_index": 0, "delta": text });
            self.about("response.reasoning_summary_text.delta", place, body, out);
        }
    }

    /// Writes that an item is whole, with all that is in it.
    fn done(&mut self, item: usize, out: &mut Vec<u8>) {
        let whole = self.draft.done(item);
        let place = Place { item, content: 0 };
        match whole["type"].as_str() {
            Some("message") => {
                let contents = whole["content"].as_array().into_iter().flatten();
                for (index, part) in contents.enumerate() {
                    self.said(Place { item, ..place }, index, part, out);
                }
            }
            Some("function_call") => {
                let body = json!({ "arguments": whole["arguments"], "name": whole["name"] });
                self.about("response.function_call_arguments.done", place, body, out);
            }
            Some("reasoning") if self.thinking.contains(&item) => {
                self.thought_done(place, &whole, out);
            }
            _ => {}
        }
        let body = json!({ "output_index": item, "item": whole });
        self.event("response.output_item.done", body, out);
    }

    fn said(&mut self, place: Place, index: usize, part: &Value, out: &mut Vec<u8>) {
        // An item that came as a whole had no pieces.
        let pieces = Place {
            content: index,
            ..place
        };
        if self.words(pieces).is_none() {
            return;
        }
        let (kind, mut body) = if part["type"] == "refusal" {
            (
                "response.refusal.done",
                json!({ "refusal": part["refusal"] }),
            )
        } else {
            (
                "response.output_text.done",
                json!({ "text": part["text"], "logprobs": part["logprobs"] }),
            )
        };
        body["content_index"] = index.into();
        self.about(kind, place, body, out);
        let body = json!({ "content_index": index, "part": part });
        self.about("response.content_part.done", place, body, out);
    }

    fn thought_done(&mut self, place: Place, whole: &Value, out: &mut Vec<u8>) {
        let own = whole.get("content").is_some();
        let part = &whole[if own { "content" } else { "summary" }][0];
        let (text_done, part_done, index) = if own {
            (
                "response.reasoning_text.done",
                "response.content_part.done",
                "content_index",
            )
        } else {
            (
                "response.reasoning_summary_text.done",
                "response.reasoning_summary_part.done",
                "summary_index",
            )
        };
        let body = json!({ index: 0, "text": part["text"] });
        self.about(text_done, place, body, out);
        let body = json!({ index: 0, "part": part });
        self.about(part_done, place, body, out);
    }
}

fn own_words(opaque: &Opaque) -> bool {
    opaque.text(FAMILY, "as") == Some("content")
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        let before = self.draft.len();
        let place = self.draft.take(delta);
        match (delta, place) {
            (Delta::Begin { .. }, _) => {
                self.begun = true;
                for kind in ["response.created", "response.in_progress"] {
                    let response = self.draft.response("in_progress");
                    self.event(kind, json!({ "response": response }), out);
                }
            }
            (Delta::Part { .. }, Some(place)) => {
                let new = self.draft.len() > before;
                self.begin(place, new, out);
            }
            (Delta::Text { text, .. }, Some(place)) if !text.is_empty() => {
                self.more(place, text, out);
            }
            (Delta::End, _) => {
                for item in 0..self.draft.len() {
                    self.done(item, out);
                }
                let status = self.draft.status();
                let kind = match status {
                    "completed" => "response.completed",
                    _ => "response.incomplete",
                };
                let response = self.draft.response(status);
                self.event(kind, json!({ "response": response }), out);
            }
            _ => {}
        }
    }

    fn fail(&mut self, complaint: &Complaint, out: &mut Vec<u8>) {
        let code = complaint.code.as_deref().unwrap_or(&complaint.kind);
        // Client libraries look for it in both places.
        let body = json!({
            "code": code,
            "message": complaint.message,
            "param": null,
            "error": {
                "type": complaint.kind,
                "code": code,
                "message": complaint.message,
                "param": null,
            },
        });
        self.event("error", body, out);
        if self.begun {
            let mut response = self.draft.response("failed");
            response["error"] = json!({ "code": code, "message": complaint.message });
            self.event("response.failed", json!({ "response": response }), out);
        }
    }
}
