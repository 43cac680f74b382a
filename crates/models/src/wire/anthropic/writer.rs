//! Writing an answer to a client as it comes.
//!
//! A client of this protocol gets one block after the other: the next begins when the one before it
//! has stopped. Other providers write several parts at once, so a part that begins in the middle of
//! another's arguments waits.

use std::collections::BTreeMap;

use serde::de::IgnoredAny;
use serde_json::{Map, Value, json};

use super::{FAMILY, answer, block, proof};
use crate::chat::{Finish, Opaque, Part, Protocol};
use crate::delta::Delta;
use crate::usage::Usage;
use crate::wire::sse;
use crate::wire::{Complaint, StreamWriter};

/// Writes a stream to a client.
#[derive(Debug, Default)]
pub(super) struct Writer {
    id: String,
    model: String,
    started: bool,
    /// The index of the next block.
    next: usize,
    open: Option<Open>,
    /// Parts that have stopped, and what they were.
    stopped: BTreeMap<usize, Kind>,
    /// Parts that wait, in the order in which they began.
    waiting: Vec<Waiting>,
    usage: Usage,
    finish: Option<Finish>,
    extra: Map<String, Value>,
}

/// The block that is being written.
#[derive(Debug)]
struct Open {
    part: usize,
    index: usize,
    kind: Kind,
    /// What is said of it when it stops.
    opaque: Opaque,
    /// A call's arguments so far.
    arguments: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thoughts,
    Call,
    Whole,
}

#[derive(Debug)]
struct Waiting {
    part: usize,
    begun: Part,
    text: String,
    opaque: Opaque,
}

impl Writer {
    fn event(name: &str, mut data: Value, out: &mut Vec<u8>) {
        data["type"] = name.into();
        sse::write(out, Some(name), &data);
    }

    /// The first event. It waits for the second delta, because the number of tokens belongs in it.
    fn start(&mut self, out: &mut Vec<u8>) {
        if self.started {
            return;
        }
        self.started = true;
        let message = json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": [],
            "stop_reason": null,
            "stop_sequence": null,
            "usage": answer::usage_of(&self.usage, None),
        });
        let start = json!({ "type": "", "message": message });
        Self::event("message_start", start, out);
    }

    /// A part begins, now or when the open one has stopped.
    fn begin(&mut self, part: usize, begun: &Part, out: &mut Vec<u8>) {
        self.start(out);
        // What a client has no word for stops nothing.
        if block::for_client(begun).is_none() {
            return;
        }
        self.waiting.push(Waiting {
            part,
            begun: begun.clone(),
            text: String::new(),
            opaque: Opaque::default(),
        });
        self.advance(false, out);
    }

    /// Begins what waits, as far as it can; at the end, all of it.
    fn advance(&mut self, last: bool, out: &mut Vec<u8>) {
        while !self.waiting.is_empty() && (last || self.open.as_ref().is_none_or(may_stop)) {
            self.stop(out);
            let waiting = self.waiting.remove(0);
            self.open_block(&waiting, out);
        }
    }

    fn open_block(&mut self, waiting: &Waiting, out: &mut Vec<u8>) {
        let Some((kind, start, opaque)) = beginning(&waiting.begun, &waiting.opaque) else {
            return;
        };
        let (index, part) = (self.next, waiting.part);
        self.next += 1;
        let event = json!({ "type": "", "index": index, "content_block": start });
        Self::event("content_block_start", event, out);
        self.open = Some(Open {
            part,
            index,
            kind,
            opaque,
            arguments: String::new(),
        });
        if let Part::Other { value, .. } = &waiting.begun
            && let Some(input) = value.get("input").filter(|input| input.is_object())
        {
            let delta = json!({ "type": "input_json_delta", "partial_json": input.to_string() });
            Self::delta(index, &delta, out);
        }
        if !waiting.text.is_empty() {
            self.more(part, &waiting.text, out);
        }
    }

    fn delta(index: usize, delta: &Value, out: &mut Vec<u8>) {
        let event = json!({ "type": "", "index": index, "delta": delta });
        Self::event("content_block_delta", event, out);
    }

    /// More of a part's text.
    fn more(&mut self, part: usize, text: &str, out: &mut Vec<u8>) {
        if let Some(waiting) = self.waiting.iter_mut().find(|one| one.part == part) {
            waiting.text.push_str(text);
            return;
        }
        if let Some(open) = self.open.as_mut().filter(|open| open.part == part) {
            let delta = match open.kind {
                Kind::Text => json!({ "type": "text_delta", "text": text }),
                Kind::Thoughts => json!({ "type": "thinking_delta", "thinking": text }),
                Kind::Call => {
                    open.arguments.push_str(text);
                    json!({ "type": "input_json_delta", "partial_json": text })
                }
                Kind::Whole => return,
            };
            let index = open.index;
            Self::delta(index, &delta, out);
            return self.advance(false, out);
        }
        // A part that goes on after another one becomes a block of its own.
        let (text, opaque) = (text.to_owned(), Opaque::default());
        let begun = match self.stopped.get(&part) {
            Some(Kind::Text) => Part::text(""),
            Some(Kind::Thoughts) => Part::Reasoning {
                text: String::new(),
                opaque: Opaque::default(),
            },
            Some(Kind::Call | Kind::Whole) | None => return,
        };
        self.waiting.push(Waiting {
            part,
            begun,
            text,
            opaque,
        });
        self.advance(false, out);
    }

    /// What only providers understand.
    fn proof(&mut self, part: usize, more: &Opaque, out: &mut Vec<u8>) {
        if let Some(waiting) = self.waiting.iter_mut().find(|one| one.part == part) {
            waiting.opaque.merge(more);
        } else if let Some(open) = self.open.as_mut().filter(|open| open.part == part) {
            open.opaque.merge(more);
        } else if self.stopped.get(&part) == Some(&Kind::Thoughts) {
            // Its block has stopped; one without words carries it.
            self.waiting.push(Waiting {
                part,
                begun: Part::Reasoning {
                    text: String::new(),
                    opaque: more.clone(),
                },
                text: String::new(),
                opaque: Opaque::default(),
            });
            self.advance(false, out);
        }
    }

    /// The open block stops.
    fn stop(&mut self, out: &mut Vec<u8>) {
        let Some(open) = self.open.take() else {
            return;
        };
        match open.kind {
            Kind::Thoughts => {
                let signature = proof::write(&open.opaque);
                if !signature.is_empty() {
                    let delta = json!({ "type": "signature_delta", "signature": signature });
                    Self::delta(open.index, &delta, out);
                }
            }
            Kind::Text => {
                let citations = open.opaque.get(FAMILY, "citations");
                for citation in citations.and_then(Value::as_array).into_iter().flatten() {
                    let delta = json!({ "type": "citations_delta", "citation": citation });
                    Self::delta(open.index, &delta, out);
                }
            }
            Kind::Call | Kind::Whole => {}
        }
        self.stopped.insert(open.part, open.kind);
        let event = json!({ "type": "", "index": open.index });
        Self::event("content_block_stop", event, out);
    }

    fn end(&mut self, out: &mut Vec<u8>) {
        self.start(out);
        self.advance(true, out);
        self.stop(out);
        let finish = self.finish.take().unwrap_or(Finish::Stop);
        let (reason, stop) = answer::finish_of(&finish);
        let mut extra = std::mem::take(&mut self.extra);
        let beside = extra.shift_remove("usage");
        let mut event = json!({
            "type": "",
            "delta": { "stop_reason": reason, "stop_sequence": stop },
            "usage": answer::usage_of(&self.usage, beside.as_ref()),
        });
        for (name, value) in extra {
            // Everything else is a field of the message.
            if name == "context_management" {
                event[name] = value;
            } else {
                event["delta"][name] = value;
            }
        }
        Self::event("message_delta", event, out);
        Self::event("message_stop", json!({ "type": "" }), out);
    }
}

/// Whether the next block may begin. Words can go on in a block of their own later; arguments
/// cannot.
fn may_stop(open: &Open) -> bool {
    open.kind != Kind::Call || serde_json::from_str::<IgnoredAny>(&open.arguments).is_ok()
}

/// How a block begins, and what is kept until it stops; nothing if a client has no use for it.
fn beginning(begun: &Part, later: &Opaque) -> Option<(Kind, Value, Opaque)> {
    let mut begun = begun.clone();
    let mut kept = Opaque::default();
    let kind = match &mut begun {
        Part::Text { opaque, .. } => {
            opaque.merge(later);
            kept = opaque.clone();
            Kind::Text
        }
        Part::Reasoning { opaque, .. } => {
            opaque.merge(later);
            if opaque.text(FAMILY, "redacted").is_some() {
                Kind::Whole
            } else {
                kept = std::mem::take(opaque);
                Kind::Thoughts
            }
        }
        Part::Refusal { .. } => Kind::Text,
        Part::ToolCall { opaque, .. } => {
            opaque.merge(later);
            Kind::Call
        }
        _ => Kind::Whole,
    };
    let mut start = block::for_client(&begun)?;
    if let Value::Object(start) = &mut start {
        if kind == Kind::Text {
            // They follow one by one.
            start.shift_remove("citations");
        }
        if let Some(input) = start.get_mut("input").filter(|input| input.is_object()) {
            *input = json!({});
        }
    }
    Some((kind, start, kept))
}

impl StreamWriter for Writer {
    fn write(&mut self, delta: &Delta, out: &mut Vec<u8>) {
        match delta {
            Delta::Begin { id, model } => {
                self.id.clone_from(id);
                self.model.clone_from(model);
            }
            Delta::Part {
                choice: 0,
                part,
                begun,
            } => self.begin(*part, begun, out),
            Delta::Text {
                choice: 0,
                part,
                text,
            } => self.more(*part, text, out),
            Delta::Opaque {
                choice: 0,
                part,
                opaque,
            } => self.proof(*part, opaque, out),
            Delta::Finish { choice: 0, reason } => self.finish = Some(reason.clone()),
            Delta::Usage(usage) => self.usage = self.usage.max(*usage),
            Delta::Extra(Protocol::Anthropic, fields) => {
                for (name, value) in fields {
                    self.extra.insert(name.clone(), value.clone());
                }
            }
            Delta::End => self.end(out),
            // A client of this protocol expects one answer, and no probabilities.
            Delta::Part { .. }
            | Delta::Text { .. }
            | Delta::Opaque { .. }
            | Delta::Finish { .. }
            | Delta::Logprobs { .. }
            | Delta::Extra(..) => {}
        }
    }

    fn fail(&mut self, complaint: &Complaint, out: &mut Vec<u8>) {
        sse::write(out, Some("error"), &answer::complaint_of(complaint));
    }
}
