//! Where pictures and documents are, in both directions.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::block::To;
use crate::chat::Source;
use crate::wire::{Fields, WireError};

/// Whether we have a word for this source; the others stay within the block as it came.
pub(super) fn known(block: &Value) -> bool {
    let kind = block.get("source").and_then(|source| source.get("type"));
    let kind = kind.and_then(Value::as_str);
    // One that is missing is complained about where it is read.
    !matches!(kind, Some(kind) if !["base64", "url", "file", "text"].contains(&kind))
}

/// Reads the source of a block.
pub(super) fn decode(block: &mut Fields) -> Result<Source, WireError> {
    let source = block.inside("source", |mut source| {
        match source.need_text("type")?.as_str() {
            "base64" => Ok(Source::Data {
                media_type: source.need_text("media_type")?,
                data: source.need_text("data")?,
            }),
            "text" => Ok(Source::Data {
                media_type: "text/plain".into(),
                data: STANDARD.encode(source.need_text("data")?),
            }),
            "file" => Ok(Source::Id(source.need_text("file_id")?)),
            _ => Ok(Source::Url(source.need_text("url")?)),
        }
    })?;
    source.ok_or_else(|| WireError::invalid("source", "is missing"))
}

/// Writes where a picture is.
pub(super) fn image(source: &Source, to: To) -> Result<Value, WireError> {
    match source {
        Source::Url(url) => Ok(json!({ "type": "url", "url": url })),
        Source::Data { media_type, data } => {
            let media_type = match media_type.as_str() {
                "image/jpg" => "image/jpeg",
                other => other,
            };
            Ok(json!({ "type": "base64", "media_type": media_type, "data": data }))
        }
        Source::Id(id) => file(id, to),
    }
}

/// Writes where a document is.
pub(super) fn document(source: &Source, to: To) -> Result<Value, WireError> {
    let (media_type, data) = match source {
        Source::Url(url) => return Ok(json!({ "type": "url", "url": url })),
        Source::Id(id) => return file(id, to),
        Source::Data { media_type, data } => (media_type.as_str(), data),
    };
    if media_type == "application/pdf" {
        return Ok(json!({ "type": "base64", "media_type": media_type, "data": data }));
    }
    let text = media_type
        .starts_with("text/")
        .then(|| STANDARD.decode(data));
    let text = text.and_then(Result::ok).map(String::from_utf8);
    match text {
        Some(Ok(text)) => Ok(json!({ "type": "text", "media_type": "text/plain", "data": text })),
        _ => Err(WireError::Unsupported(format!(
            "this provider reads documents that are PDF or plain text, and one is `{media_type}`"
        ))),
    }
}

fn file(id: &str, to: To) -> Result<Value, WireError> {
    if to == (To::Provider { own_files: false }) {
        return Err(WireError::Unsupported(format!(
            "the file `{id}` lies at another provider: send its bytes or an address instead"
        )));
    }
    Ok(json!({ "type": "file", "file_id": id }))
}
