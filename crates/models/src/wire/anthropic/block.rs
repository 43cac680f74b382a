//! Content blocks, in both directions: of requests and of answers, which share most of them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{FAMILY, proof, source};
use crate::chat::{Opaque, Part, Protocol};
use crate::wire::{Fields, WireError, fields};

/// Where a block carries what providers other than `Anthropic` gave to keep.
const EXTRA: &str = "extra_content";

/// How arguments are written that are no JSON object (documentation, "Fine-grained tool
/// streaming"): `input` must be one.
const BROKEN: &str = "INVALID_JSON";

/// To whom a block is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum To {
    /// To the provider.
    Provider {
        /// Whether the ids of files in it can be this provider's.
        own_files: bool,
    },
    /// To a client.
    Client,
}

/// Reads a block.
pub(super) fn decode(value: Value) -> Result<Part, WireError> {
    let kind = value.get("type").and_then(Value::as_str).unwrap_or("");
    match kind {
        "text" => text(fields(value)?),
        "image" if source::known(&value) => image(fields(value)?),
        "document" if source::known(&value) => document(fields(value)?),
        "thinking" => thinking(fields(value)?),
        "redacted_thinking" => redacted(fields(value)?),
        "tool_use" => call(fields(value)?),
        "tool_result" => result(fields(value)?),
        "" => {
            fields(value)?;
            Err(WireError::invalid("type", "is missing"))
        }
        _ => Ok(Part::Other {
            protocol: Protocol::Anthropic,
            value,
        }),
    }
}

/// Reads blocks, or the one text that may stand for them.
pub(super) fn decode_all(holder: &mut Fields, name: &str) -> Result<Vec<Part>, WireError> {
    match holder.any(name) {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(list)) => list
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                decode(item).map_err(|error| error.within(&format!("{name}[{index}]")))
            })
            .collect(),
        Some(_) => Err(WireError::invalid(
            name,
            "must be a text or a list of blocks",
        )),
    }
}

fn text(mut block: Fields) -> Result<Part, WireError> {
    Ok(Part::Text {
        text: block.text("text")?.unwrap_or_default(),
        opaque: kept(block),
    })
}

fn image(mut block: Fields) -> Result<Part, WireError> {
    Ok(Part::Image {
        source: source::decode(&mut block)?,
        detail: None,
        opaque: kept(block),
    })
}

fn document(mut block: Fields) -> Result<Part, WireError> {
    Ok(Part::File {
        source: source::decode(&mut block)?,
        name: block.text("title")?,
        opaque: kept(block),
    })
}

fn thinking(mut block: Fields) -> Result<Part, WireError> {
    Ok(Part::Reasoning {
        text: block.text("thinking")?.unwrap_or_default(),
        opaque: proof::read(block.text("signature")?.unwrap_or_default()),
    })
}

fn redacted(mut block: Fields) -> Result<Part, WireError> {
    let data = block.need_text("data")?;
    Ok(Part::Reasoning {
        text: String::new(),
        opaque: Opaque::default().with(FAMILY, "redacted", data.into()),
    })
}

fn call(mut block: Fields) -> Result<Part, WireError> {
    Ok(Part::ToolCall {
        id: block.text("id")?.unwrap_or_default(),
        name: block.need_text("name")?,
        arguments: arguments(block.any("input")),
        opaque: kept(block),
    })
}

fn result(mut block: Fields) -> Result<Part, WireError> {
    Ok(Part::ToolResult {
        call: block.need_text("tool_use_id")?,
        parts: decode_all(&mut block, "content")?,
        failed: block.flag("is_error")?.unwrap_or(false),
        opaque: kept(block),
    })
}

/// What is left of a block is the provider's own.
fn kept(mut block: Fields) -> Opaque {
    block.any("type");
    let mut opaque = block.any(EXTRA).map(Opaque::from_value).unwrap_or_default();
    for (name, value) in block.rest() {
        let empty = value.is_null() || value.as_array().is_some_and(Vec::is_empty);
        if !empty {
            opaque.set(FAMILY, &name, value);
        }
    }
    opaque
}

/// A call's arguments as text.
pub(super) fn arguments(input: Option<Value>) -> String {
    match input {
        None => "{}".to_owned(),
        Some(Value::Object(map)) if map.len() == 1 => match map.get(BROKEN) {
            Some(Value::String(text)) => text.clone(),
            _ => Value::Object(map).to_string(),
        },
        Some(other) => other.to_string(),
    }
}

fn input(arguments: &str) -> Value {
    if arguments.trim().is_empty() {
        return json!({});
    }
    match serde_json::from_str(arguments) {
        Ok(Value::Object(map)) => Value::Object(map),
        _ => json!({ BROKEN: arguments }),
    }
}

/// Writes a block; nothing for what the other side has no use for. `dropped` learns of what it
/// would have had.
pub(super) fn encode(
    part: &Part,
    to: To,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, WireError> {
    let (block, opaque) = match part {
        Part::Text { text, opaque } => (json!({ "type": "text", "text": text }), opaque),
        Part::Refusal { text } => return Ok(Some(json!({ "type": "text", "text": text }))),
        Part::Image {
            source,
            detail,
            opaque,
        } => {
            if detail.as_deref().is_some_and(|detail| detail != "auto") {
                dropped.push("detail");
            }
            let source = source::image(source, to)?;
            (json!({ "type": "image", "source": source }), opaque)
        }
        Part::File {
            source,
            name,
            opaque,
        } => {
            let source = source::document(source, to)?;
            let mut block = json!({ "type": "document", "source": source });
            if let Some(name) = name {
                block["title"] = name.as_str().into();
            }
            (block, opaque)
        }
        Part::Reasoning { text, opaque } => return Ok(thought(text, opaque, to, dropped)),
        Part::ToolCall {
            id,
            name,
            arguments,
            opaque,
        } => {
            let input = input(arguments);
            let id = call_id(id, to);
            let block = json!({ "type": "tool_use", "id": id, "name": name, "input": input });
            (block, opaque)
        }
        Part::ToolResult {
            call,
            parts,
            failed,
            opaque,
        } => (result_of(call, parts, *failed, to, dropped)?, opaque),
        Part::Other {
            protocol: Protocol::Anthropic,
            value,
        } => return Ok(Some(value.clone())),
        // What another provider did by itself is in its words already.
        Part::Other { .. } => return Ok(None),
        Part::Audio { .. } => {
            return Err(WireError::Unsupported(
                "this provider does not listen: send what is said as text".into(),
            ));
        }
    };
    Ok(Some(beside(block, opaque, to)))
}

/// `Anthropic` refuses thoughts that it did not sign.
fn thought(text: &str, opaque: &Opaque, to: To, dropped: &mut Vec<&'static str>) -> Option<Value> {
    if let Some(data) = opaque.text(FAMILY, "redacted") {
        return Some(json!({ "type": "redacted_thinking", "data": data }));
    }
    let signature = match (to, proof::own(opaque)) {
        (To::Client, _) => proof::write(opaque),
        (To::Provider { .. }, Some(signature)) => signature.to_owned(),
        (To::Provider { .. }, None) => {
            dropped.push("thoughts");
            return None;
        }
    };
    Some(json!({ "type": "thinking", "thinking": text, "signature": signature }))
}

fn result_of(
    call: &str,
    parts: &[Part],
    failed: bool,
    to: To,
    dropped: &mut Vec<&'static str>,
) -> Result<Value, WireError> {
    let mut block = json!({ "type": "tool_result", "tool_use_id": call_id(call, to) });
    let mut blocks = Vec::with_capacity(parts.len());
    for part in parts {
        match part {
            Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
                let why = "hold what only the model can have said";
                return Err(WireError::invalid("parts of a tool's result", why));
            }
            Part::Text { text, .. } if text.trim().is_empty() => {}
            Part::Other { protocol, .. } if *protocol != Protocol::Anthropic => {
                return Err(WireError::Unsupported(
                    "a tool's result has a part that only another provider understands".into(),
                ));
            }
            part => blocks.extend(encode(part, to, dropped)?),
        }
    }
    if !blocks.is_empty() {
        block["content"] = shortened(blocks);
    }
    if failed {
        block["is_error"] = true.into();
    }
    Ok(block)
}

/// One plain text alone is written as such: every server understands that.
pub(super) fn shortened(mut blocks: Vec<Value>) -> Value {
    if let [Value::Object(block)] = blocks.as_mut_slice()
        && block.len() == 2
        && block.get("type").is_some_and(|kind| kind == "text")
        && let Some(text) = block.get_mut("text")
    {
        return text.take();
    }
    Value::Array(blocks)
}

/// The provider takes ids of letters, digits, `_` and `-`; others are written so that a call and
/// its result still agree.
fn call_id(id: &str, to: To) -> String {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if to == To::Client || (!id.is_empty() && id.bytes().all(fine)) {
        return id.to_owned();
    }
    format!("matrix_{}", URL_SAFE_NO_PAD.encode(id))
}

/// Puts back what lay beside a block's content.
pub(super) fn beside(block: Value, opaque: &Opaque, to: To) -> Value {
    let (Value::Object(mut block), Value::Object(mut families)) = (block, opaque.to_value()) else {
        return Value::Null;
    };
    if let Some(Value::Object(mine)) = families.shift_remove(FAMILY) {
        for (name, value) in mine.into_iter().filter(|(name, _)| name != EXTRA) {
            block.entry(name).or_insert(value);
        }
    }
    if to == To::Client && !families.is_empty() {
        block.insert(EXTRA.into(), Value::Object(families));
    }
    Value::Object(block)
}

/// Writes an answer's parts for a client.
pub(super) fn said(parts: &[Part]) -> Vec<Value> {
    let blocks = parts.iter().filter_map(for_client);
    blocks.collect()
}

/// Writes a part of an answer for a client; nothing for what it has no word for.
pub(super) fn for_client(part: &Part) -> Option<Value> {
    let mut dropped = Vec::new();
    encode(part, To::Client, &mut dropped).ok().flatten()
}
