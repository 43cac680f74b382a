//! Reading an answer as it is being written.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::answer::{self, Counted};
use super::{FAMILY, block, proof};
use crate::chat::{Opaque, Part, Protocol};
use crate::delta::{Delta, PARTS_MAX};
use crate::wire::arguments::Compact;
use crate::wire::sse::Event;
use crate::wire::{Fields, StreamReader, WireError, fields};

/// Reads a provider's stream.
#[derive(Debug, Default)]
pub(super) struct Reader {
    begun: bool,
    finished: bool,
    done: bool,
    /// How many parts have begun.
    parts: usize,
    /// The blocks that are being written, by their index.
    open: BTreeMap<u64, Open>,
    counted: Counted,
    extra: Map<String, Value>,
}

/// A block that is being written.
#[derive(Debug)]
struct Open {
    part: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text {
        citations: Vec<Value>,
    },
    Thoughts,
    Call {
        /// Arguments that came with the block's beginning; they count if no others come.
        first: String,
        any: bool,
        compact: Compact,
    },
    /// A block that only this provider has; it is given on when it is whole.
    Other {
        block: Map<String, Value>,
        input: String,
    },
    /// A block to which nothing is added.
    Whole,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        let value = event.json()?;
        let mut change = fields(value)?;
        let kind = match change.text("type")? {
            Some(kind) => kind,
            None => event.name.clone().unwrap_or_default(),
        };
        if kind == "error" {
            let error = change.object("error")?;
            return Err(answer::told(&mut error.unwrap_or(change)));
        }
        let known = [
            "content_block_start",
            "content_block_delta",
            "content_block_stop",
            "message_delta",
            "message_stop",
        ];
        if !self.begun && known.contains(&kind.as_str()) {
            return Err(WireError::invalid("type", "comes before `message_start`"));
        }
        match kind.as_str() {
            "message_start" => self.begin(change, out),
            "content_block_start" => self.block_begins(change, out),
            "content_block_delta" => self.block_grows(change, out),
            "content_block_stop" => self.block_ends(&mut change, out),
            "message_delta" => self.message_changes(change, out),
            "message_stop" => self.end(out),
            // `ping`, and whatever the provider will add.
            _ => Ok(()),
        }
    }

    fn close(&mut self, _out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        Err(WireError::Cut("the message had not stopped"))
    }
}

impl Reader {
    fn begin(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.begun {
            return Err(WireError::invalid("type", "is a second `message_start`"));
        }
        let message = change.object("message")?;
        let mut message = message.ok_or_else(|| WireError::invalid("message", "is missing"))?;
        self.begun = true;
        out.push(Delta::Begin {
            id: message.text("id")?.unwrap_or_default(),
            model: message.text("model")?.unwrap_or_default(),
        });
        self.count(&mut message, out)?;
        for name in ["content", "stop_reason", "stop_sequence"] {
            message.any(name);
        }
        self.extra.extend(answer::extra(message));
        Ok(())
    }

    fn count(&mut self, holder: &mut Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if let Some(usage) = holder.object("usage")? {
            self.counted.update(usage)?;
            out.push(Delta::Usage(self.counted.usage()));
        }
        Ok(())
    }

    fn block_begins(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = change.whole("index")?.unwrap_or(0);
        let value = change.any("content_block");
        let value = value.ok_or_else(|| WireError::invalid("content_block", "is missing"))?;
        if self.open.contains_key(&index) {
            return Err(WireError::invalid("index", "is of a block that is open"));
        }
        if self.parts >= PARTS_MAX {
            return Err(WireError::invalid("index", "is too large"));
        }
        let part = self.parts;
        self.parts += 1;
        let begun = block::decode(value).map_err(|error| error.within("content_block"))?;
        let kind = begin(part, begun, out);
        self.open.insert(index, Open { part, kind });
        Ok(())
    }

    fn block_grows(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = change.whole("index")?.unwrap_or(0);
        let delta = change.object("delta")?;
        let delta = delta.ok_or_else(|| WireError::invalid("delta", "is missing"))?;
        let Some(open) = self.open.get_mut(&index) else {
            return Err(WireError::invalid("index", "is of no block that is open"));
        };
        grow(open, delta, out).map_err(|error| error.within("delta"))
    }

    fn block_ends(&mut self, change: &mut Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = change.whole("index")?.unwrap_or(0);
        let Some(open) = self.open.remove(&index) else {
            return Err(WireError::invalid("index", "is of no block that is open"));
        };
        end(open, out);
        Ok(())
    }

    fn message_changes(
        &mut self,
        mut change: Fields,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        self.count(&mut change, out)?;
        if let Some(mut delta) = change.object("delta")? {
            let stop = delta.text("stop_sequence")?;
            if let Some(word) = delta.text("stop_reason")? {
                self.finished = true;
                out.push(Delta::Finish {
                    choice: 0,
                    reason: answer::finish_from(word, stop),
                });
            }
            self.extra.extend(answer::extra(delta));
        }
        self.extra.extend(answer::extra(change));
        Ok(())
    }

    fn end(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.open.is_empty() || !self.finished {
            return Err(WireError::Cut("it was said to end, and a block had not"));
        }
        let mut extra = std::mem::take(&mut self.extra);
        std::mem::take(&mut self.counted).keep(&mut extra);
        self.done = true;
        out.push(Delta::Extra(Protocol::Anthropic, extra));
        out.push(Delta::End);
        Ok(())
    }
}

/// A part begins; gives what is to be known of it until it ends.
fn begin(part: usize, mut begun: Part, out: &mut Vec<Delta>) -> Kind {
    let (kind, text) = match &mut begun {
        Part::Text { text, .. } => {
            let citations = Vec::new();
            (Kind::Text { citations }, std::mem::take(text))
        }
        Part::Reasoning { text, .. } => (Kind::Thoughts, std::mem::take(text)),
        Part::ToolCall { arguments, .. } => {
            let kind = Kind::Call {
                first: std::mem::take(arguments),
                any: false,
                compact: Compact::default(),
            };
            (kind, String::new())
        }
        Part::Other {
            value: Value::Object(block),
            ..
        } => {
            return Kind::Other {
                block: std::mem::take(block),
                input: String::new(),
            };
        }
        _ => (Kind::Whole, String::new()),
    };
    let choice = 0;
    out.push(Delta::Part {
        choice,
        part,
        begun,
    });
    if !text.is_empty() {
        out.push(Delta::Text { choice, part, text });
    }
    kind
}

fn grow(open: &mut Open, mut delta: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
    let (choice, part) = (0, open.part);
    let word = delta.need_text("type")?;
    let text = match (&mut open.kind, word.as_str()) {
        (Kind::Other { input, .. }, "input_json_delta") => {
            input.push_str(&delta.text("partial_json")?.unwrap_or_default());
            return Ok(());
        }
        (Kind::Other { block, .. }, _) => {
            complete(block, delta.rest());
            return Ok(());
        }
        (Kind::Text { .. }, "text_delta") => delta.text("text")?,
        (Kind::Text { citations }, "citations_delta") => {
            citations.extend(delta.any("citation"));
            return Ok(());
        }
        (Kind::Thoughts, "thinking_delta") => delta.text("thinking")?,
        (Kind::Thoughts, "signature_delta") => {
            let opaque = proof::read(delta.text("signature")?.unwrap_or_default());
            if !opaque.is_empty() {
                out.push(Delta::Opaque {
                    choice,
                    part,
                    opaque,
                });
            }
            return Ok(());
        }
        (Kind::Call { any, compact, .. }, "input_json_delta") => {
            let piece = delta.text("partial_json")?.unwrap_or_default();
            let piece = compact.push(&piece);
            *any |= !piece.is_empty();
            Some(piece)
        }
        // What the provider will add.
        _ => None,
    };
    if let Some(text) = text.filter(|text| !text.is_empty()) {
        out.push(Delta::Text { choice, part, text });
    }
    Ok(())
}

/// Adds to a block that only this provider has: texts go on, everything else is replaced.
fn complete(block: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match (block.get_mut(&name), value) {
            (_, Value::Null) => {}
            (Some(Value::String(before)), Value::String(text)) => before.push_str(&text),
            (_, value) => {
                block.insert(name, value);
            }
        }
    }
}

/// A block is whole.
fn end(open: Open, out: &mut Vec<Delta>) {
    let (choice, part) = (0, open.part);
    match open.kind {
        Kind::Text { citations } if !citations.is_empty() => out.push(Delta::Opaque {
            choice,
            part,
            opaque: Opaque::default().with(FAMILY, "citations", citations.into()),
        }),
        Kind::Call {
            first, any: false, ..
        } => out.push(Delta::Text {
            choice,
            part,
            text: first,
        }),
        Kind::Other { mut block, input } => {
            if let Ok(input) = serde_json::from_str(&input) {
                block.insert("input".into(), input);
            }
            out.push(Delta::Part {
                choice,
                part,
                begun: Part::Other {
                    protocol: Protocol::Anthropic,
                    value: Value::Object(block),
                },
            });
        }
        Kind::Text { .. } | Kind::Call { .. } | Kind::Thoughts | Kind::Whole => {}
    }
}
