//! Answers as they are being written, as they are read.
//!
//! An item is told three times: as it begins, piece by piece, and as it ended. The end counts for
//! what only it has, such as the proof of thoughts, and for words that no piece brought.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer;
use super::item::{self, FAMILY};
use crate::chat::{Opaque, Part, Protocol};
use crate::delta::{Delta, PARTS_MAX};
use crate::usage::Usage;
use crate::wire::sse::Event;
use crate::wire::{Fields, StreamReader, WireError, fields};

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    done: bool,
    /// How many parts have a number.
    parts: usize,
    items: BTreeMap<usize, Reading>,
    heard: Heard,
}

/// What an answer holds that says how it ends.
#[derive(Debug, Default)]
struct Heard {
    calls: bool,
    refuses: bool,
}

/// An item of a stream.
#[derive(Debug, Default)]
struct Reading {
    /// What it says of itself.
    head: Opaque,
    /// Its parts, by the number of the content.
    slots: BTreeMap<usize, Slot>,
    /// Which of the summaries is being read.
    summary: Option<u64>,
    done: bool,
}

/// Where a content goes.
#[derive(Debug, Clone, Copy)]
struct Slot {
    part: usize,
    begun: bool,
    /// How many bytes of its text came.
    seen: usize,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        if data == "[DONE]" {
            return self.close(out);
        }
        let value = event.json()?;
        let mut body = fields(value)?;
        let kind = match body.text("type")? {
            Some(kind) => kind,
            None => event.name.clone().unwrap_or_default(),
        };
        match kind.as_str() {
            "response.created" | "response.in_progress" | "response.queued" => {
                self.begin(body.object("response")?, out)
            }
            "response.output_item.added" => self.added(&mut body, out),
            "response.output_item.done" => {
                let index = place(&mut body, "output_index")?;
                let item = body.any("item").unwrap_or_default();
                self.ended(index, item, out)
            }
            "response.content_part.added" => self.content(&mut body, out),
            "response.output_text.delta" => self.more(&mut body, empty_text(), out),
            "response.refusal.delta" => self.more(&mut body, empty_refusal(), out),
            "response.function_call_arguments.delta" => self.arguments(&mut body, out),
            "response.reasoning_summary_text.delta" => self.thought(&mut body, false, out),
            "response.reasoning_text.delta" => self.thought(&mut body, true, out),
            "response.completed"
            | "response.incomplete"
            | "response.failed"
            | "response.cancelled" => self.end(body.object("response")?, out),
            "error" => Err(match body.object("error")? {
                Some(mut error) => answer::told(&mut error),
                None => answer::told(&mut body),
            }),
            // Progress of the provider's own tools; their items tell the result.
            _ => match body.object("error")? {
                Some(mut error) => Err(answer::told(&mut error)),
                None => Ok(()),
            },
        }
    }

    fn close(&mut self, _out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        Err(WireError::Cut("the response had not ended"))
    }
}

fn empty_text() -> Part {
    Part::text(String::new())
}

fn empty_refusal() -> Part {
    Part::Refusal {
        text: String::new(),
    }
}

/// A number within the answer or an item; nothing is the first.
fn place(body: &mut Fields, name: &str) -> Result<usize, WireError> {
    let number = body.whole(name)?.unwrap_or(0);
    match usize::try_from(number) {
        Ok(number) if number < PARTS_MAX => Ok(number),
        _ => Err(WireError::invalid(name, "is too large")),
    }
}

/// The words of a part, taken out of it.
fn taken(part: &mut Part) -> String {
    match part {
        Part::Text { text, .. } | Part::Reasoning { text, .. } | Part::Refusal { text } => {
            std::mem::take(text)
        }
        Part::ToolCall { arguments, .. } => std::mem::take(arguments),
        _ => String::new(),
    }
}

fn opaque_of(part: Part) -> Opaque {
    match part {
        Part::Text { opaque, .. }
        | Part::Reasoning { opaque, .. }
        | Part::ToolCall { opaque, .. } => opaque,
        _ => Opaque::default(),
    }
}

impl Reader {
    fn begin(&mut self, response: Option<Fields>, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let Some(mut response) = response.filter(|_| !self.begun) else {
            return Ok(());
        };
        self.begun = true;
        out.push(Delta::Begin {
            id: response.text("id")?.unwrap_or_default(),
            model: response.text("model")?.unwrap_or_default(),
        });
        for name in ["error", "incomplete_details", "usage"] {
            response.any(name);
        }
        extra(answer::extra(response), out);
        Ok(())
    }

    fn added(&mut self, body: &mut Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = place(body, "output_index")?;
        let item = body.any("item").unwrap_or_default();
        let head = item::head(&item);
        let reading = Reading {
            head,
            ..Reading::default()
        };
        // A server that gives all its items one number goes on with the next item.
        if self.items.get(&index).is_none_or(|before| before.done) {
            self.items.insert(index, reading);
        }
        match item::kind(&item) {
            "message" => Ok(()),
            "function_call" => match item::said(item)?.pop() {
                Some(call) => self.words(index, 0, call, out),
                None => Ok(()),
            },
            // The number is theirs, however long they take.
            _ => self.slot(index, 0).map(|_| ()),
        }
    }

    fn content(&mut self, body: &mut Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let kind = body.inside("part", |mut part| part.text("type"))?;
        match kind.flatten().as_deref() {
            Some("output_text") => self.more(body, empty_text(), out),
            Some("refusal") => self.more(body, empty_refusal(), out),
            _ => Ok(()),
        }
    }

    /// More words of a message.
    fn more(
        &mut self,
        body: &mut Fields,
        mut part: Part,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let index = place(body, "output_index")?;
        let content = place(body, "content_index")?;
        let more = body.text("delta")?.unwrap_or_default();
        let reading = self.items.entry(index).or_default();
        match &mut part {
            Part::Text { text, opaque } => {
                *text = more;
                opaque.merge(&reading.head);
            }
            Part::Refusal { text } => *text = more,
            _ => {}
        }
        self.words(index, content, part, out)
    }

    /// More of a call's arguments. One that was not said to begin is read when it ends.
    fn arguments(&mut self, body: &mut Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = place(body, "output_index")?;
        let text = body.text("delta")?.unwrap_or_default();
        let reading = self.items.get_mut(&index);
        if let Some(slot) = reading.and_then(|reading| reading.slots.get_mut(&0))
            && slot.begun
        {
            say(slot, text, out);
        }
        Ok(())
    }

    /// More thoughts: in their own words, or of a summary.
    fn thought(
        &mut self,
        body: &mut Fields,
        own: bool,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let index = place(body, "output_index")?;
        let number = body.whole(if own {
            "content_index"
        } else {
            "summary_index"
        })?;
        let mut text = body.text("delta")?.unwrap_or_default();
        let number = number.unwrap_or(0);
        self.slot(index, 0)?;
        let reading = self.items.entry(index).or_default();
        let begun = reading.slots.get(&0).is_some_and(|slot| slot.begun);
        if begun {
            // One of both is enough while they come; the end has the other.
            if own != (reading.head.text(FAMILY, "as") == Some("content")) {
                return Ok(());
            }
            if reading.summary != Some(number) {
                text.insert_str(0, "\n\n");
            }
        } else if own {
            reading.head.set(FAMILY, "as", "content".into());
        }
        reading.summary = Some(number);
        let opaque = reading.head.clone();
        self.words(index, 0, Part::Reasoning { text, opaque }, out)
    }

    /// Takes in an item that is whole.
    fn ended(
        &mut self,
        index: usize,
        mut whole: Value,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let reading = self.items.entry(index).or_default();
        let begun = reading.slots.get(&0).is_some_and(|slot| slot.begun);
        let summed = begun && reading.head.get(FAMILY, "as").is_none();
        if summed
            && item::kind(&whole) == "reasoning"
            && let Value::Object(map) = &mut whole
        {
            map.shift_remove("content");
        }
        reading.done = true;
        for (content, mut part) in item::said(whole)?.into_iter().enumerate() {
            let slot = self.slot(index, content)?;
            if !slot.begun {
                self.words(index, content, part, out)?;
                continue;
            }
            let text = taken(&mut part);
            if let Some(rest) = text.get(slot.seen..)
                && let Some(slot) = self.known(index, content)
            {
                say(slot, rest.to_owned(), out);
            }
            let opaque = opaque_of(part);
            if !opaque.is_empty() {
                out.push(Delta::Opaque {
                    choice: 0,
                    part: slot.part,
                    opaque,
                });
            }
        }
        Ok(())
    }

    fn known(&mut self, index: usize, content: usize) -> Option<&mut Slot> {
        self.items.get_mut(&index)?.slots.get_mut(&content)
    }

    /// Where a content goes; it gets a number if it had none.
    fn slot(&mut self, index: usize, content: usize) -> Result<Slot, WireError> {
        let reading = self.items.entry(index).or_default();
        if let Some(slot) = reading.slots.get(&content) {
            return Ok(*slot);
        }
        if self.parts >= PARTS_MAX {
            return Err(WireError::invalid("output", "has too many parts"));
        }
        let slot = Slot {
            part: self.parts,
            begun: false,
            seen: 0,
        };
        self.parts += 1;
        reading.slots.insert(content, slot);
        Ok(slot)
    }

    /// Words of a part, which begins if it had not.
    fn words(
        &mut self,
        index: usize,
        content: usize,
        mut part: Part,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let text = taken(&mut part);
        self.slot(index, content)?;
        self.heard.calls |= matches!(part, Part::ToolCall { .. });
        self.heard.refuses |= matches!(part, Part::Refusal { .. });
        if let Some(slot) = self.known(index, content) {
            if !slot.begun {
                slot.begun = true;
                out.push(Delta::Part {
                    choice: 0,
                    part: slot.part,
                    begun: part,
                });
            }
            say(slot, text, out);
        }
        Ok(())
    }

    fn end(&mut self, response: Option<Fields>, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let Some(mut response) = response else {
            return Err(WireError::invalid("response", "is missing"));
        };
        if let Some(error) = answer::failure(&mut response)? {
            return Err(error);
        }
        if !self.begun {
            self.begun = true;
            out.push(Delta::Begin {
                id: response.text("id")?.unwrap_or_default(),
                model: response.text("model")?.unwrap_or_default(),
            });
        }
        let output = response.list("output")?;
        let (logprobs, tools) = (answer::logprobs(&output), answer::own_tools(&output));
        let unheard = self.items.is_empty();
        for (index, item) in output.into_iter().enumerate().take(PARTS_MAX) {
            let open = self.items.get(&index).is_some_and(|item| !item.done);
            if unheard || open {
                self.ended(index, item, out)?;
            }
        }
        if let Some(value) = logprobs {
            out.push(Delta::Logprobs { choice: 0, value });
        }
        let reason = answer::finish(&mut response, self.heard.calls, self.heard.refuses)?;
        out.push(Delta::Finish { choice: 0, reason });
        if let Some(usage) = response.inside("usage", answer::usage)? {
            out.push(Delta::Usage(Usage { tools, ..usage }));
        }
        for name in ["id", "model"] {
            response.any(name);
        }
        extra(answer::extra(response), out);
        self.done = true;
        out.push(Delta::End);
        Ok(())
    }
}

fn say(slot: &mut Slot, text: String, out: &mut Vec<Delta>) {
    if text.is_empty() {
        return;
    }
    slot.seen += text.len();
    out.push(Delta::Text {
        choice: 0,
        part: slot.part,
        text,
    });
}

fn extra(fields: Map<String, Value>, out: &mut Vec<Delta>) {
    if !fields.is_empty() {
        out.push(Delta::Extra(Protocol::OpenaiResponses, fields));
    }
}
