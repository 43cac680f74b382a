//! Messages and their parts, for Bedrock.
//!
//! There are two roles, which must take turns, and instructions beside them. What tools gave is said
//! by the user, before anything else that the user says.

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{FAMILY, REDACTED, SIGNATURE, is_claude};
use crate::chat::{Message, Opaque, Part, Protocol, Role, Source};
use crate::wire::anthropic::signature;
use crate::wire::{WireError, arguments};

/// The most characters of the id of a call.
const ID_MAX: usize = 64;

/// The most characters of a document's name.
const NAME_MAX: usize = 100;

/// Instructions, messages, and what cannot be said.
type Written = (Vec<Value>, Vec<Value>, Vec<&'static str>);

/// A conversation that is being written.
#[derive(Debug)]
pub(super) struct Conversation {
    claude: bool,
    caches: bool,
    system: Vec<Value>,
    turns: Vec<Turn>,
    /// Names of documents so far; no two may be the same.
    names: BTreeSet<String>,
    dropped: Vec<&'static str>,
}

/// What is said by one role until another speaks.
#[derive(Debug)]
struct Turn {
    role: &'static str,
    blocks: Vec<Value>,
}

impl Conversation {
    /// With a model.
    pub(super) fn new(model: &str, caches: bool) -> Self {
        Self {
            claude: is_claude(model),
            caches,
            system: Vec::new(),
            turns: Vec::new(),
            names: BTreeSet::new(),
            dropped: Vec::new(),
        }
    }

    /// Writes the next message.
    pub(super) fn message(&mut self, message: &Message) -> Result<(), WireError> {
        if message.name.is_some() {
            self.dropped.push("name");
        }
        let role = match message.role {
            Role::System | Role::Developer => return self.instruct(&message.parts),
            Role::User | Role::Tool => "user",
            Role::Assistant => "assistant",
        };
        let mut blocks = Vec::new();
        for part in &message.parts {
            let said = matches!(part, Part::Reasoning { .. } | Part::ToolCall { .. });
            if said && role == "user" {
                let why = "have a part that only the model can have said";
                return Err(WireError::invalid("messages", why));
            }
            blocks.extend(self.block(part)?);
            if self.caches && breaks(part) {
                blocks.push(cache_point());
            }
        }
        match self.turns.last_mut() {
            _ if blocks.is_empty() => {}
            Some(turn) if turn.role == role => turn.blocks.extend(blocks),
            _ => self.turns.push(Turn { role, blocks }),
        }
        Ok(())
    }

    /// Instructions have one place, wherever they stood.
    fn instruct(&mut self, parts: &[Part]) -> Result<(), WireError> {
        for part in parts {
            match part {
                Part::Text { text, .. } if text.trim().is_empty() => {}
                Part::Text { text, .. } => {
                    self.system.push(json!({ "text": text }));
                    if self.caches && breaks(part) {
                        self.system.push(cache_point());
                    }
                }
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

    /// The conversation as a whole.
    pub(super) fn finish(self) -> Result<Written, WireError> {
        if self.turns.is_empty() {
            let why = "say nothing that could be answered; instructions alone are not enough here";
            return Err(WireError::invalid("messages", why));
        }
        let turns = self.turns.into_iter().map(|mut turn| {
            if turn.role == "user" {
                // Sorting keeps the order of what is equal.
                let is_result = |block: &Value| block.get("toolResult").is_some();
                turn.blocks.sort_by_key(|block| !is_result(block));
            }
            json!({ "role": turn.role, "content": turn.blocks })
        });
        Ok((self.system, turns.collect(), self.dropped))
    }

    /// A block; nothing for what the provider has no use for.
    fn block(&mut self, part: &Part) -> Result<Option<Value>, WireError> {
        Ok(Some(match part {
            // Texts without words are refused.
            Part::Text { text, .. } | Part::Refusal { text } if text.trim().is_empty() => {
                return Ok(None);
            }
            Part::Text { text, .. } | Part::Refusal { text } => json!({ "text": text }),
            Part::Image { source, detail, .. } => {
                if detail.as_deref().is_some_and(|detail| detail != "auto") {
                    self.dropped.push("detail");
                }
                image(source)?
            }
            Part::File { source, name, .. } => self.document(source, name.as_deref())?,
            Part::Audio { format, data } => {
                json!({ "audio": { "format": format, "source": { "bytes": data } } })
            }
            Part::Reasoning { text, opaque } => return Ok(self.thoughts(text, opaque)),
            Part::ToolCall {
                id,
                name,
                arguments,
                ..
            } => {
                let input = arguments::object(arguments);
                json!({ "toolUse": { "toolUseId": call_id(id), "name": name, "input": input } })
            }
            Part::ToolResult {
                call,
                parts,
                failed,
                ..
            } => self.result(call, parts, *failed)?,
            Part::Other {
                protocol: Protocol::Bedrock,
                value,
            } => value.clone(),
            // What another provider did by itself is in its words already.
            Part::Other { .. } => return Ok(None),
        }))
    }

    /// Thoughts without a proof are refused.
    fn thoughts(&mut self, text: &str, opaque: &Opaque) -> Option<Value> {
        if let Some(redacted) = opaque.text(FAMILY, REDACTED) {
            return Some(json!({ "reasoningContent": { "redactedContent": redacted } }));
        }
        let proof = if self.claude {
            signature(opaque)
        } else {
            opaque.text(FAMILY, SIGNATURE)
        };
        let Some(proof) = proof else {
            self.dropped.push("thoughts");
            return None;
        };
        let said = json!({ "text": text, "signature": proof });
        Some(json!({ "reasoningContent": { "reasoningText": said } }))
    }

    fn result(&mut self, call: &str, parts: &[Part], failed: bool) -> Result<Value, WireError> {
        let mut blocks = Vec::new();
        for part in parts {
            match part {
                Part::Text { .. } | Part::Image { .. } | Part::File { .. } => {
                    blocks.extend(self.block(part)?);
                }
                _ => {
                    return Err(WireError::Unsupported(
                        "a tool answered with something that this provider does not take; it \
                         takes words, pictures and documents"
                            .into(),
                    ));
                }
            }
        }
        let mut result = json!({ "toolUseId": call_id(call), "content": blocks });
        if failed {
            result["status"] = "error".into();
        }
        Ok(json!({ "toolResult": result }))
    }

    fn document(&mut self, source: &Source, name: Option<&str>) -> Result<Value, WireError> {
        let (format, place) = match source {
            Source::Data { media_type, data } => (document_format(media_type), bytes(data)),
            Source::Url(url) => (extension(url), stored(url)?),
            Source::Id(id) => return Err(elsewhere(id)),
        };
        let Some(format) = format else {
            return Err(WireError::Unsupported(
                "this provider reads documents of PDF, Word, Excel, CSV, HTML, Markdown and plain \
                 text, and one is something else"
                    .into(),
            ));
        };
        let name = self.name(name.unwrap_or("document"));
        Ok(json!({ "document": { "format": format, "name": name, "source": place } }))
    }

    /// A name as Bedrock takes it: letters, digits, single spaces, hyphens, brackets.
    fn name(&mut self, wanted: &str) -> String {
        let fine = |letter: char| letter.is_ascii_alphanumeric() || "-()[]".contains(letter);
        let plain: String = wanted
            .chars()
            .map(|letter| if fine(letter) { letter } else { ' ' })
            .take(NAME_MAX)
            .collect();
        let words: Vec<&str> = plain.split_whitespace().collect();
        let plain = match words.as_slice() {
            [] => "document".to_owned(),
            words => words.join(" "),
        };
        let numbered = (2..).map(|number| format!("{plain} ({number})"));
        let mut each = std::iter::once(plain.clone()).chain(numbered);
        let free = each.find(|name| !self.names.contains(name));
        let name = free.unwrap_or(plain);
        self.names.insert(name.clone());
        name
    }
}

/// Whether what comes up to this part is to be kept in the provider's cache.
fn breaks(part: &Part) -> bool {
    let (Part::Text { opaque, .. }
    | Part::Image { opaque, .. }
    | Part::File { opaque, .. }
    | Part::ToolCall { opaque, .. }
    | Part::ToolResult { opaque, .. }) = part
    else {
        return false;
    };
    is_kept(opaque)
}

/// The same of what lies beside a part or a tool, in the words of clients of `Anthropic`'s.
pub(super) fn is_kept(opaque: &Opaque) -> bool {
    opaque.get("anthropic", "cache_control").is_some()
}

/// What says so.
pub(super) fn cache_point() -> Value {
    json!({ "cachePoint": { "type": "default" } })
}

fn image(source: &Source) -> Result<Value, WireError> {
    let (format, place) = match source {
        Source::Data { media_type, data } => (
            media_type.strip_prefix("image/").map(str::to_owned),
            bytes(data),
        ),
        Source::Url(url) => (extension(url), stored(url)?),
        Source::Id(id) => return Err(elsewhere(id)),
    };
    let format = match format.as_deref() {
        Some("jpg" | "jpeg") => "jpeg",
        Some("png") => "png",
        Some("gif") => "gif",
        Some("webp") => "webp",
        _ => {
            return Err(WireError::Unsupported(
                "this provider reads pictures that are JPEG, PNG, GIF or WebP".into(),
            ));
        }
    };
    Ok(json!({ "image": { "format": format, "source": place } }))
}

fn bytes(data: &str) -> Value {
    json!({ "bytes": data })
}

/// A place that Bedrock reads by itself.
fn stored(url: &str) -> Result<Value, WireError> {
    if url.starts_with("s3://") {
        return Ok(json!({ "s3Location": { "uri": url } }));
    }
    Err(WireError::Unsupported(format!(
        "this provider does not fetch `{url}`; send it as bytes"
    )))
}

fn elsewhere(id: &str) -> WireError {
    WireError::Unsupported(format!("the file `{id}` lies at another provider"))
}

fn extension(url: &str) -> Option<String> {
    let (_, end) = url.rsplit_once('.')?;
    Some(end.to_ascii_lowercase())
}

fn document_format(media_type: &str) -> Option<String> {
    let format = match media_type {
        "application/pdf" => "pdf",
        "text/csv" => "csv",
        "text/html" => "html",
        "text/markdown" => "md",
        "application/msword" => "doc",
        "application/vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "application/vnd.ms-excel" => "xls",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        other if other.starts_with("text/") => "txt",
        _ => return None,
    };
    Some(format.to_owned())
}

/// Ids are letters, digits, `_` and `-`, and not too long; others are written so that a call and its
/// result still agree.
fn call_id(id: &str) -> String {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=ID_MAX).contains(&id.len()) && id.bytes().all(fine) {
        return id.to_owned();
    }
    let digest = Sha256::digest(id.as_bytes());
    format!("matrix_{}", URL_SAFE_NO_PAD.encode(digest))
}
