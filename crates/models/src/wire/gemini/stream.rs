//! Answers, as they are being written and as a whole.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{FAMILY, OWN_ID, SIGNATURE, answer};
use crate::chat::{ChatAnswer, Finish, Opaque, Part, Protocol, Source};
use crate::delta::{Assembler, Delta, PARTS_MAX};
use crate::usage::Usage;
use crate::wire::sse::Event;
use crate::wire::{Fields, StreamReader, WireError, fields};

/// The most characters of an answer's id in the ids of its calls; some protocols take 40 in all.
const ID_MAX: usize = 22;

/// Reads an answer that came as a whole, or as the list that a stream without events is.
pub(super) fn decode(body: Value) -> Result<ChatAnswer, WireError> {
    let (mut reader, mut deltas) = (Reader::default(), Vec::new());
    reader.value(body, &mut deltas)?;
    if reader.candidates.is_empty() && !reader.blocked {
        return Err(WireError::invalid("candidates", "must not be empty"));
    }
    if !reader.complete() {
        return Err(WireError::invalid("candidates", "leave a number out"));
    }
    reader.end(&mut deltas);
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
    /// The prompt itself was refused; there is no answer.
    blocked: bool,
    /// What calls without an id are named after.
    id: String,
    candidates: BTreeMap<usize, Reading>,
    extra: Map<String, Value>,
}

/// One answer of a stream.
#[derive(Debug, Default)]
struct Reading {
    /// How many parts have begun.
    parts: usize,
    /// How many of them are calls.
    calls: usize,
    /// The last part, if what comes next may belong to it.
    open: Option<(usize, Kind)>,
    finish: Option<String>,
}

/// What goes on from one event to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Thoughts,
}

impl StreamReader for Reader {
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError> {
        let data = event.data.trim();
        if self.done || data.is_empty() {
            return Ok(());
        }
        let value = event.json()?;
        self.value(value, out)
    }

    /// There is no last word: an answer is whole if a reason for its end came.
    fn close(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if self.done {
            return Ok(());
        }
        let finished = self.candidates.values().all(|one| one.finish.is_some());
        if !finished || !self.complete() || (self.candidates.is_empty() && !self.blocked) {
            return Err(WireError::Cut("an answer had not ended"));
        }
        self.end(out);
        Ok(())
    }
}

impl Reader {
    fn value(&mut self, value: Value, out: &mut Vec<Delta>) -> Result<(), WireError> {
        match value {
            Value::Array(list) => list.into_iter().try_for_each(|item| self.chunk(item, out)),
            other => self.chunk(other, out),
        }
    }

    fn chunk(&mut self, value: Value, out: &mut Vec<Delta>) -> Result<(), WireError> {
        if value.get("error").is_some_and(|error| !error.is_null()) {
            return Err(answer::told(&value));
        }
        let mut chunk = fields(value)?;
        let id = chunk.text("responseId")?;
        let model = chunk.text("modelVersion")?;
        if !self.begun {
            self.begun = true;
            self.id = id.clone().unwrap_or_default();
            out.push(Delta::Begin {
                id: id.unwrap_or_default(),
                model: model.unwrap_or_default(),
            });
        }
        let candidates = chunk.list("candidates")?;
        // Numbers that are 0 are left out; some servers leave all out.
        let numbered = candidates.iter().any(|one| one.get("index").is_some());
        for (place, candidate) in candidates.into_iter().enumerate() {
            let number = if numbered { 0 } else { place };
            let read = fields(candidate).and_then(|one| self.candidate(number, one, out));
            read.map_err(|error| error.within(&format!("candidates[{place}]")))?;
        }
        if let Some(usage) = chunk.inside("usageMetadata", answer::usage)?.flatten() {
            out.push(Delta::Usage(usage));
        }
        let rest = chunk.rest();
        let feedback = rest.get("promptFeedback");
        let reason = feedback.and_then(|feedback| feedback.get("blockReason"));
        self.blocked |= reason.is_some_and(Value::is_string);
        self.keep(rest);
        Ok(())
    }

    /// Whether no answer is left out between others.
    fn complete(&self) -> bool {
        let mut numbers = self.candidates.keys().enumerate();
        numbers.all(|(place, number)| place == *number)
    }

    /// What only Google says goes on beside the answer.
    fn keep(&mut self, rest: Map<String, Value>) {
        let rest = rest.into_iter().filter(|(_, value)| !value.is_null());
        self.extra.extend(rest);
    }

    fn candidate(
        &mut self,
        number: usize,
        mut candidate: Fields,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let choice = match candidate.whole("index")? {
            Some(index) => usize::try_from(index).unwrap_or(usize::MAX),
            None => number,
        };
        if choice >= PARTS_MAX {
            return Err(WireError::invalid("index", "is too large"));
        }
        let prefix = own_id(&self.id, choice);
        let reading = self.candidates.entry(choice).or_default();
        candidate.inside("content", |mut content| {
            let mut parts = content.list("parts")?.into_iter().enumerate();
            parts.try_for_each(|(index, part)| {
                reading
                    .part(choice, &prefix, part, out)
                    .map_err(|error| error.within(&format!("parts[{index}]")))
            })
        })?;
        if let Some(value) = candidate.any("logprobsResult") {
            out.push(Delta::Logprobs { choice, value });
        }
        let reason = candidate.text("finishReason")?;
        if let Some(reason) = reason.filter(|reason| reason != answer::NO_REASON) {
            reading.finish = Some(reason);
        }
        if choice == 0 {
            self.keep(candidate.rest());
        }
        Ok(())
    }

    /// Reasons are given at the end, because some models give one with every event and call tools
    /// after the first.
    fn end(&mut self, out: &mut Vec<Delta>) {
        self.done = true;
        for (choice, reading) in &self.candidates {
            let word = reading.finish.clone();
            let word = word.unwrap_or_else(|| answer::NO_REASON.to_owned());
            out.push(Delta::Finish {
                choice: *choice,
                reason: answer::finish_from(word, reading.calls > 0),
            });
        }
        if self.candidates.is_empty() {
            out.push(Delta::Finish {
                choice: 0,
                reason: Finish::Filter,
            });
        }
        let extra = std::mem::take(&mut self.extra);
        let tools = answer::searches(&extra);
        if tools > 0 {
            out.push(Delta::Usage(Usage {
                tools,
                ..Usage::default()
            }));
        }
        out.push(Delta::Extra(Protocol::Gemini, extra));
        out.push(Delta::End);
    }
}

/// How the ids of an answer's calls begin where Google gave none: the answer's id tells them from
/// those of other answers in the same conversation.
fn own_id(answer: &str, choice: usize) -> String {
    let plain = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_');
    let mut id: String = OWN_ID.to_owned();
    id.extend(answer.chars().filter(plain).take(ID_MAX));
    if !answer.is_empty() {
        id.push('_');
    }
    if choice > 0 {
        id = format!("{id}{choice}_");
    }
    id
}

impl Reading {
    /// The number of a part that begins.
    fn begin(
        &mut self,
        choice: usize,
        begun: Part,
        out: &mut Vec<Delta>,
    ) -> Result<usize, WireError> {
        if self.parts >= PARTS_MAX {
            return Err(WireError::invalid("", "is one part too many"));
        }
        let part = self.parts;
        self.parts += 1;
        self.open = None;
        out.push(Delta::Part {
            choice,
            part,
            begun,
        });
        Ok(part)
    }

    fn part(
        &mut self,
        choice: usize,
        prefix: &str,
        value: Value,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let whole = value.clone();
        let mut part = fields(value)?;
        let mut opaque = Opaque::default();
        if let Some(signature) = part.text("thoughtSignature")? {
            opaque.set(FAMILY, SIGNATURE, signature.into());
        }
        let thought = part.flag("thought")?.unwrap_or(false);
        if let Some(text) = part.text("text")? {
            let kind = if thought { Kind::Thoughts } else { Kind::Text };
            return self.text(choice, kind, text, opaque, out);
        }
        if let Some(call) = part.object("functionCall")? {
            return self
                .call(choice, prefix, call, opaque, out)
                .map_err(|error| error.within("functionCall"));
        }
        let begun = match part.object("inlineData")? {
            // A picture that was only thought of is no part of the answer.
            Some(blob) if !thought => picture(blob, opaque).map_err(|e| e.within("inlineData"))?,
            _ => None,
        };
        let other = Part::Other {
            protocol: Protocol::Gemini,
            value: whole,
        };
        self.begin(choice, begun.unwrap_or(other), out)?;
        Ok(())
    }

    /// Words go on with the last part, unless one of both is signed: a signature is of its own part
    /// alone, even if that has no words.
    fn text(
        &mut self,
        choice: usize,
        kind: Kind,
        text: String,
        opaque: Opaque,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let signed = !opaque.is_empty();
        if text.is_empty() && !signed {
            return Ok(());
        }
        let part = match self.open {
            Some((part, open)) if open == kind && !signed => part,
            _ => {
                let text = String::new();
                let begun = match kind {
                    Kind::Text => Part::Text { text, opaque },
                    Kind::Thoughts => Part::Reasoning { text, opaque },
                };
                self.begin(choice, begun, out)?
            }
        };
        self.open = (!signed).then_some((part, kind));
        if !text.is_empty() {
            out.push(Delta::Text { choice, part, text });
        }
        Ok(())
    }

    fn call(
        &mut self,
        choice: usize,
        prefix: &str,
        mut call: Fields,
        opaque: Opaque,
        out: &mut Vec<Delta>,
    ) -> Result<(), WireError> {
        let name = call.need_text("name")?;
        if call.any("partialArgs").is_some() || call.flag("willContinue")? == Some(true) {
            let why = "came in pieces, which was not asked for";
            return Err(WireError::invalid("partialArgs", why));
        }
        let id = call.text("id")?.filter(|id| !id.is_empty());
        let id = id.unwrap_or_else(|| format!("{prefix}{}", self.calls));
        let arguments = call.object("args")?.map(Fields::into_value);
        let text = arguments.map_or_else(|| "{}".to_owned(), |value| value.to_string());
        self.calls += 1;
        let begun = Part::ToolCall {
            id,
            name,
            arguments: String::new(),
            opaque,
        };
        let part = self.begin(choice, begun, out)?;
        out.push(Delta::Text { choice, part, text });
        Ok(())
    }
}

/// Bytes that the model made: a picture, or something else in a file.
fn picture(mut blob: Fields, opaque: Opaque) -> Result<Option<Part>, WireError> {
    let (Some(media_type), Some(data)) = (blob.text("mimeType")?, blob.text("data")?) else {
        return Ok(None);
    };
    let is_picture = media_type.starts_with("image/");
    let source = Source::Data { media_type, data };
    Ok(Some(if is_picture {
        Part::Image {
            source,
            detail: None,
            opaque,
        }
    } else {
        Part::File {
            source,
            name: blob.text("displayName")?,
            opaque,
        }
    }))
}
