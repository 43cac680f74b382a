//! Messages and their parts, for Google.

use std::collections::HashMap;

use serde_json::{Value, json};

use super::thinking::Generation;
use super::{FAMILY, OWN_ID, SIGNATURE};
use crate::chat::{Message, Opaque, Part, Protocol, Role, Source};
use crate::wire::{WireError, arguments};

/// What stands for the signature of a call that never had one, because another model made it or the
/// client lost it ("Thought signatures", frequent questions): without it Gemini 3 refuses the call.
const UNSIGNED: &str = "skip_thought_signature_validator";

/// Where the Gemini API keeps files, by their ids.
const FILES: &str = "https://generativelanguage.googleapis.com/v1beta/";

/// A conversation that is being written.
#[derive(Debug)]
pub(super) struct Conversation<'a> {
    generation: Generation,
    /// The tools of the calls so far, by the calls' ids; results are given by the tool's name.
    calls: HashMap<&'a str, &'a str>,
    /// Parts of the instructions.
    pub(super) instructions: Vec<Value>,
    /// What was said.
    pub(super) contents: Vec<Value>,
    /// Whether the last of the contents are results, to which more may belong: those of calls made
    /// at once must come at once.
    results: bool,
    /// What was asked and cannot be said.
    pub(super) dropped: Vec<&'static str>,
}

impl<'a> Conversation<'a> {
    pub(super) fn new(generation: Generation) -> Self {
        Self {
            generation,
            calls: HashMap::new(),
            instructions: Vec::new(),
            contents: Vec::new(),
            results: false,
            dropped: Vec::new(),
        }
    }

    /// Writes the next message.
    pub(super) fn message(&mut self, message: &'a Message) -> Result<(), WireError> {
        if message.name.is_some() {
            self.dropped.push("name");
        }
        match message.role {
            Role::System | Role::Developer => self.instruct(&message.parts),
            Role::Assistant => self.said(&message.parts),
            Role::User | Role::Tool => self.asked(&message.parts),
        }
    }

    /// Instructions have one place, wherever they stood.
    fn instruct(&mut self, parts: &[Part]) -> Result<(), WireError> {
        for part in parts {
            match part {
                Part::Text { text, .. } if text.is_empty() => {}
                Part::Text { text, .. } => self.instructions.push(json!({ "text": text })),
                _ => {
                    return Err(WireError::Unsupported(
                        "this provider takes instructions in words only; put the rest into a \
                         message of the user"
                            .into(),
                    ));
                }
            }
        }
        Ok(())
    }

    fn asked(&mut self, parts: &'a [Part]) -> Result<(), WireError> {
        let mut said = Vec::new();
        for part in parts {
            match part {
                Part::ToolResult {
                    call,
                    parts,
                    failed,
                    ..
                } => {
                    let result = self.result(call, parts, *failed)?;
                    self.push_result(result);
                }
                Part::Text { text, .. } if text.is_empty() => {}
                Part::Text { text, .. } => said.push(json!({ "text": text })),
                Part::Refusal { .. } | Part::Reasoning { .. } | Part::ToolCall { .. } => {
                    return Err(WireError::invalid(
                        "messages",
                        "have a part that only the model can have said",
                    ));
                }
                Part::Other { protocol, value } => match protocol {
                    Protocol::Gemini => said.push(value.clone()),
                    _ => {
                        return Err(WireError::Unsupported(
                            "a message has a part that only another provider understands".into(),
                        ));
                    }
                },
                Part::Image { .. } | Part::File { .. } | Part::Audio { .. } => {
                    said.push(self.media(part)?);
                }
            }
        }
        self.push("user", said);
        Ok(())
    }

    fn push(&mut self, role: &str, mut parts: Vec<Value>) {
        if parts.is_empty() {
            return;
        }
        // A call is refused where the model itself spoke last.
        let last = self
            .contents
            .last_mut()
            .filter(|last| last["role"] == "model");
        let last = last.filter(|_| role == "model");
        if let Some(Value::Array(before)) = last.and_then(|last| last.get_mut("parts")) {
            before.append(&mut parts);
            return;
        }
        let mut content = json!({ "role": role });
        content["parts"] = Value::Array(parts);
        self.contents.push(content);
        self.results = false;
    }

    fn push_result(&mut self, result: Value) {
        let last = self.contents.last_mut().filter(|_| self.results);
        let last = last.and_then(|content| content.get_mut("parts"));
        if let Some(Value::Array(parts)) = last {
            parts.push(result);
        } else {
            self.push("user", vec![result]);
            self.results = true;
        }
    }

    fn result(&mut self, call: &str, parts: &[Part], failed: bool) -> Result<Value, WireError> {
        let name = self.calls.get(call).copied().ok_or_else(|| {
            let why = format!("give the result of `{call}`, and no earlier message calls that");
            WireError::invalid("messages", why)
        })?;
        let (mut words, mut media) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Part::Text { text, .. } => words.push(text.as_str()),
                Part::Image { .. } | Part::File { .. } | Part::Audio { .. } => {
                    media.push(self.media(part)?);
                }
                _ => {
                    return Err(WireError::Unsupported(
                        "a tool answered with something that this provider does not take; it \
                         takes words, pictures and files"
                            .into(),
                    ));
                }
            }
        }
        // JSON stays the text it is: as a structure its large numbers would lose digits there.
        let field = if failed { "error" } else { "output" };
        let mut response = json!({ "name": name, "response": { field: words.join("\n") } });
        if !media.is_empty() {
            response["parts"] = Value::Array(media);
        }
        Ok(json!({ "functionResponse": identified(call, response) }))
    }

    /// What the model said.
    fn said(&mut self, parts: &'a [Part]) -> Result<(), WireError> {
        let (mut said, mut calls) = (Vec::new(), 0);
        for part in parts {
            match part {
                Part::Text { text, opaque } => {
                    let signed = signature(opaque).is_some();
                    if signed || !text.is_empty() {
                        said.push(sign(json!({ "text": text }), opaque));
                    }
                }
                // Thoughts without a signature are a summary for people, or another model's.
                Part::Reasoning { text, opaque } => {
                    if signature(opaque).is_some() {
                        said.push(sign(json!({ "text": text, "thought": true }), opaque));
                    }
                }
                Part::Refusal { text } => said.push(json!({ "text": text })),
                Part::ToolCall {
                    id,
                    name,
                    arguments,
                    opaque,
                } => {
                    self.calls.insert(id, name);
                    let call = json!({ "name": name, "args": arguments::object(arguments) });
                    let call = json!({ "functionCall": identified(id, call) });
                    said.push(self.signed_call(calls == 0, call, opaque));
                    calls += 1;
                }
                Part::Other {
                    protocol: Protocol::Gemini,
                    value,
                } => said.push(value.clone()),
                // What another provider did by itself is in its words already.
                Part::Other { .. } => {}
                Part::Image { opaque, .. } | Part::File { opaque, .. } => {
                    let media = self.media(part)?;
                    said.push(sign(media, opaque));
                }
                Part::Audio { .. } => said.push(self.media(part)?),
                Part::ToolResult { .. } => {
                    return Err(WireError::invalid(
                        "messages",
                        "have a tool's result in what the model said",
                    ));
                }
            }
        }
        self.push("model", said);
        Ok(())
    }

    /// Of calls made at once only the first is signed.
    fn signed_call(&self, first: bool, mut call: Value, opaque: &Opaque) -> Value {
        let unsigned = signature(opaque).is_none();
        if first && unsigned && self.generation == Generation::Three {
            call["thoughtSignature"] = UNSIGNED.into();
        }
        sign(call, opaque)
    }

    fn media(&mut self, part: &Part) -> Result<Value, WireError> {
        let (source, picture) = match part {
            Part::Image { source, detail, .. } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.dropped.push("detail");
                }
                (source, true)
            }
            Part::File { source, .. } => (source, false),
            Part::Audio { format, data } => {
                let media_type = format!("audio/{format}");
                return Ok(json!({ "inlineData": { "mimeType": media_type, "data": data } }));
            }
            _ => return Err(WireError::invalid("messages", "have a part without bytes")),
        };
        match source {
            Source::Data { media_type, data } => {
                Ok(json!({ "inlineData": { "mimeType": media_type, "data": data } }))
            }
            Source::Id(id) if id.starts_with("files/") => {
                Ok(json!({ "fileData": { "fileUri": format!("{FILES}{id}") } }))
            }
            Source::Id(id) => Err(WireError::Unsupported(format!(
                "the file `{id}` lies at another provider"
            ))),
            Source::Url(url) => file(url, picture),
        }
    }
}

/// Whether Google reads the picture at an address by itself.
pub(crate) fn fetches(url: &str) -> bool {
    file(url, true).is_ok()
}

/// A file that Google reads by itself.
fn file(url: &str, picture: bool) -> Result<Value, WireError> {
    let stored = url.starts_with("gs://");
    let known = [
        "https://generativelanguage.googleapis.com/",
        "https://www.youtube.com/",
        "https://youtu.be/",
    ];
    let known = known.iter().any(|place| url.starts_with(place));
    if !stored && !known && (picture || !url.starts_with("https://")) {
        return Err(WireError::Unsupported(format!(
            "this provider does not fetch `{url}`; send it as bytes"
        )));
    }
    let mut file = json!({ "fileUri": url });
    match media_type(url) {
        Some(kind) => file["mimeType"] = kind.into(),
        None if known => {}
        None => {
            return Err(WireError::Unsupported(format!(
                "this provider must know what `{url}` is, and the name does not tell; give it an \
                 ending such as .pdf or .png, or send it as bytes"
            )));
        }
    }
    Ok(json!({ "fileData": file }))
}

/// What a file is, by the ending of its name; the kinds that Gemini reads.
fn media_type(url: &str) -> Option<&'static str> {
    let path = url.split(['?', '#']).next()?;
    let name = path.rsplit('/').next()?;
    let (_, ending) = name.rsplit_once('.')?;
    Some(match ending.to_ascii_lowercase().as_str() {
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "webp" => "image/webp",
        "gif" => "image/gif",
        "heic" => "image/heic",
        "heif" => "image/heif",
        "pdf" => "application/pdf",
        "txt" | "md" => "text/plain",
        "csv" => "text/csv",
        "html" | "htm" => "text/html",
        "json" => "application/json",
        "mp3" => "audio/mp3",
        "wav" => "audio/wav",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "mp4" => "video/mp4",
        "mov" => "video/mov",
        "webm" => "video/webm",
        _ => return None,
    })
}

/// Ids of our own mean nothing to Google.
fn identified(id: &str, mut value: Value) -> Value {
    if !id.is_empty() && !id.starts_with(OWN_ID) {
        value["id"] = id.into();
    }
    value
}

fn signature(opaque: &Opaque) -> Option<&Value> {
    opaque.get(FAMILY, SIGNATURE)
}

fn sign(mut part: Value, opaque: &Opaque) -> Value {
    if let Some(signature) = signature(opaque) {
        part["thoughtSignature"] = signature.clone();
    }
    part
}
