//! Reading an answer as it is being written.

use std::collections::BTreeMap;

use super::{FAMILY, REDACTED, SIGNATURE, answer, family};
use crate::chat::{Opaque, Part};
use crate::delta::{Delta, PARTS_MAX};
use crate::wire::arguments::Compact;
use crate::wire::frames::ERROR;
use crate::wire::sse::Event;
use crate::wire::{Fields, StreamReader, WireError, fields};

/// Reads a provider's stream.
#[derive(Debug)]
pub(super) struct Reader {
    model: String,
    begun: bool,
    stopped: bool,
    done: bool,
    /// How many parts have begun.
    parts: usize,
    /// The blocks that are being written, by their index.
    open: BTreeMap<u64, Open>,
}

/// A block that is being written.
#[derive(Debug)]
struct Open {
    part: usize,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Text,
    Thoughts {
        /// What proves them; it may come in pieces.
        signature: String,
    },
    Call {
        any: bool,
        compact: Compact,
    },
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        let name = event.name.as_deref().unwrap_or_default();
        if name == ERROR || name.ends_with("Exception") {
            return Err(told(name, event));
        }
        let known = [
            "messageStart",
            "contentBlockStart",
            "contentBlockDelta",
            "contentBlockStop",
            "messageStop",
            "metadata",
        ];
        if !known.contains(&name) {
            return Ok(());
        }
        let change = fields(event.json()?)?;
        if !self.begun && name != "messageStart" {
            return Err(WireError::invalid(name, "comes before `messageStart`"));
        }
        let read = match name {
            "messageStart" => self.begin(out),
            "contentBlockStart" => self.block_begins(change, out),
            "contentBlockDelta" => self.block_grows(change, out),
            "contentBlockStop" => self.block_ends(change, out),
            "messageStop" => self.stop(change, out),
            _ => self.end(change, out),
        };
        read.map_err(|error| error.within(name))
    }

    fn close(&mut self, _out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        Err(WireError::Cut("nothing was said of what it used"))
    }
}

/// What an exception says.
fn told(name: &str, event: &Event) -> WireError {
    let said = event.json().ok();
    let complaint = said.as_ref().and_then(answer::complaint);
    WireError::Told {
        kind: name.to_owned(),
        message: complaint.map_or_else(String::new, |complaint| complaint.message),
    }
}

impl Reader {
    /// For an answer of this model.
    pub(super) fn new(model: &str) -> Self {
        Self {
            model: model.to_owned(),
            begun: false,
            stopped: false,
            done: false,
            parts: 0,
            open: BTreeMap::new(),
        }
    }

    fn begin(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.begun {
            return Err(WireError::invalid("", "came twice"));
        }
        self.begun = true;
        out.push(Delta::Begin {
            id: String::new(),
            model: self.model.clone(),
        });
        Ok(())
    }

    fn part(&mut self, begun: Part, out: &mut Vec<Delta>) -> Result<usize, WireError> {
        if self.parts >= PARTS_MAX {
            return Err(WireError::invalid("", "is one part too many"));
        }
        let part = self.parts;
        self.parts += 1;
        out.push(Delta::Part {
            choice: 0,
            part,
            begun,
        });
        Ok(part)
    }

    /// Only calls begin by themselves; of others the first piece tells what they are.
    fn block_begins(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = change.whole("contentBlockIndex")?.unwrap_or(0);
        let call = change.inside("start", |mut start| {
            start.inside("toolUse", |mut call| {
                Ok((call.need_text("toolUseId")?, call.need_text("name")?))
            })
        })?;
        let Some((id, name)) = call.flatten() else {
            return Ok(());
        };
        let begun = Part::ToolCall {
            id,
            name,
            arguments: String::new(),
            opaque: Opaque::default(),
        };
        let kind = Kind::Call {
            any: false,
            compact: Compact::default(),
        };
        self.replace(index, begun, kind, out)
    }

    fn replace(
        &mut self,
        index: u64,
        begun: Part,
        kind: Kind,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        if let Some(before) = self.open.remove(&index) {
            self.finish(before, out);
        }
        let part = self.part(begun, out)?;
        self.open.insert(index, Open { part, kind });
        Ok(())
    }

    fn block_grows(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = change.whole("contentBlockIndex")?.unwrap_or(0);
        let Some(mut delta) = change.object("delta")? else {
            return Err(WireError::invalid("delta", "is missing"));
        };
        if let Some(text) = delta.text("text")? {
            return self.words(index, text, out);
        }
        if let Some(mut call) = delta.object("toolUse")? {
            return self.arguments(index, &call.text("input")?.unwrap_or_default(), out);
        }
        if let Some(thoughts) = delta.object("reasoningContent")? {
            return self.thoughts(index, thoughts, out);
        }
        // Citations, and what Bedrock will add.
        Ok(())
    }

    fn words(&mut self, index: u64, text: String, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if text.is_empty() {
            return Ok(());
        }
        let speaks = |open: &Open| matches!(open.kind, Kind::Text);
        if !self.open.get(&index).is_some_and(speaks) {
            self.replace(index, Part::text(""), Kind::Text, out)?;
        }
        self.say(index, text, out);
        Ok(())
    }

    fn arguments(
        &mut self,
        index: u64,
        piece: &str,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let Some(Kind::Call { any, compact }) = self.open.get_mut(&index).map(|it| &mut it.kind)
        else {
            let why = "is of no call that is open";
            return Err(WireError::invalid("contentBlockIndex", why));
        };
        let piece = compact.push(piece);
        *any |= !piece.is_empty();
        self.say(index, piece, out);
        Ok(())
    }

    fn thoughts(
        &mut self,
        index: u64,
        mut delta: Fields,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let thinks = |open: &Open| matches!(open.kind, Kind::Thoughts { .. });
        if !self.open.get(&index).is_some_and(thinks) {
            let begun = Part::Reasoning {
                text: String::new(),
                opaque: Opaque::default(),
            };
            let signature = String::new();
            self.replace(index, begun, Kind::Thoughts { signature }, out)?;
        }
        if let Some(text) = delta.text("text")? {
            self.say(index, text, out);
        }
        let redacted = delta.text("redactedContent")?;
        let more = delta.text("signature")?.unwrap_or_default();
        if let Some(open) = self.open.get_mut(&index) {
            if let Some(redacted) = redacted {
                let opaque = Opaque::default().with(FAMILY, REDACTED, redacted.into());
                out.push(kept(open.part, opaque));
            }
            if let Kind::Thoughts { signature } = &mut open.kind {
                signature.push_str(&more);
            }
        }
        Ok(())
    }

    fn say(&self, index: u64, text: String, out: &mut Vec<Delta>) {
        if let (Some(open), false) = (self.open.get(&index), text.is_empty()) {
            out.push(Delta::Text {
                choice: 0,
                part: open.part,
                text,
            });
        }
    }

    fn block_ends(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let index = change.whole("contentBlockIndex")?.unwrap_or(0);
        if let Some(open) = self.open.remove(&index) {
            self.finish(open, out);
        }
        Ok(())
    }

    fn finish(&self, open: Open, out: &mut Vec<Delta>) {
        let part = open.part;
        match open.kind {
            Kind::Thoughts { signature } if !signature.is_empty() => {
                let opaque = Opaque::default();
                let opaque = opaque.with(family(&self.model), SIGNATURE, signature.into());
                out.push(kept(part, opaque));
            }
            Kind::Call { any: false, .. } => out.push(Delta::Text {
                choice: 0,
                part,
                text: "{}".to_owned(),
            }),
            Kind::Text | Kind::Thoughts { .. } | Kind::Call { .. } => {}
        }
    }

    fn stop(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        // Not every maker's blocks are said to end.
        for open in std::mem::take(&mut self.open).into_values() {
            self.finish(open, out);
        }
        self.stopped = true;
        out.push(Delta::Finish {
            choice: 0,
            reason: answer::finish_from(change.need_text("stopReason")?),
        });
        Ok(())
    }

    /// The last word of all.
    fn end(&mut self, mut change: Fields, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if !self.stopped {
            return Err(WireError::Cut("it was said to end before the message had"));
        }
        if let Some(usage) = change.inside("usage", answer::usage)? {
            out.push(Delta::Usage(usage));
        }
        self.done = true;
        out.push(Delta::End);
        Ok(())
    }
}

fn kept(part: usize, opaque: Opaque) -> Delta {
    Delta::Opaque {
        choice: 0,
        part,
        opaque,
    }
}
