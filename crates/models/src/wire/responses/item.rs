//! Items and their contents, as they are read; and thoughts, which are written alike to both sides.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::chat::{Message, Opaque, Part, Protocol, Role, Source};
use crate::wire::openai::{EXTRA, source};
use crate::wire::{Fields, WireError, fields};

/// Whose words these are.
pub(super) const FAMILY: &str = "openai";

/// How proofs of other providers begin where a client takes them for `OpenAI`'s.
const MARK: &str = "matrix1.";

/// What follows the kind in ids that we made; those of `OpenAI` have hexadecimal digits there.
pub(super) const OURS: &str = "mx";

/// The type of an item, which a message may leave out.
pub(super) fn kind(item: &Value) -> &str {
    match item.get("type").and_then(Value::as_str) {
        Some(kind) => kind,
        None if item.get("role").is_some() => "message",
        None if item.get("id").is_some() => "item_reference",
        None => "",
    }
}

/// Reads an item of a request into the conversation.
pub(super) fn heard(value: Value, messages: &mut Vec<Message>) -> Result<(), WireError> {
    let role = match kind(&value) {
        "" => return Err(WireError::invalid("type", "is missing")),
        "message" => role(&value)?,
        "function_call_output" => {
            messages.push(Message {
                role: Role::Tool,
                parts: vec![result(value)?],
                name: None,
            });
            return Ok(());
        }
        "function_call" | "reasoning" => Role::Assistant,
        kind if made_by_model(kind) => Role::Assistant,
        _ => Role::User,
    };
    let id = value.get("id").and_then(Value::as_str);
    let named = id.is_some_and(|id| !made_here(id));
    let message = kind(&value) == "message";
    if role != Role::Assistant {
        let parts = if message {
            contents(fields(value)?, false)?
        } else {
            vec![other(value)]
        };
        messages.push(Message {
            role,
            parts,
            name: None,
        });
        return Ok(());
    }
    let parts = said(value)?;
    match messages.last_mut() {
        // Words without an id cannot be told apart later from those before them.
        Some(last) if last.role == Role::Assistant && (named || !message || !speaks(last)) => {
            last.parts.extend(parts);
        }
        _ => messages.push(Message {
            role,
            parts,
            name: None,
        }),
    }
    Ok(())
}

fn role(item: &Value) -> Result<Role, WireError> {
    match item.get("role").and_then(Value::as_str) {
        Some("system") => Ok(Role::System),
        Some("developer") => Ok(Role::Developer),
        Some("user") => Ok(Role::User),
        Some("assistant") => Ok(Role::Assistant),
        _ => Err(WireError::invalid(
            "role",
            "must be `system`, `developer`, `user` or `assistant`",
        )),
    }
}

fn speaks(message: &Message) -> bool {
    let words = |part: &Part| matches!(part, Part::Text { .. } | Part::Refusal { .. });
    message.parts.iter().any(words)
}

/// What the model did by itself may be left out for another provider; what it was given may not.
fn made_by_model(kind: &str) -> bool {
    kind.ends_with("_call") || matches!(kind, "mcp_list_tools" | "mcp_approval_request")
}

fn other(value: Value) -> Part {
    Part::Other {
        protocol: Protocol::OpenaiResponses,
        value,
    }
}

/// Reads an item that the model made. A message gives a part for each of its contents, anything
/// else one part.
pub(super) fn said(item: Value) -> Result<Vec<Part>, WireError> {
    match kind(&item) {
        "message" => contents(fields(item)?, true),
        "function_call" => Ok(vec![call(fields(item)?)?]),
        "reasoning" => Ok(vec![thought(fields(item)?)?]),
        _ => Ok(vec![other(item)]),
    }
}

/// What an item says of itself beside its contents.
pub(super) fn head(item: &Value) -> Opaque {
    let mut opaque = Opaque::default();
    for name in ["id", "phase"] {
        if let Some(value) = item.get(name) {
            keep(&mut opaque, name, value.clone());
        }
    }
    opaque
}

/// Keeps a field, unless it says nothing or is an id of ours.
fn keep(opaque: &mut Opaque, name: &str, value: Value) {
    let nothing = match &value {
        Value::Null => true,
        Value::Array(list) => list.is_empty(),
        Value::String(id) if name == "id" => made_here(id),
        _ => false,
    };
    if !nothing {
        opaque.set(FAMILY, name, value);
    }
}

fn made_here(id: &str) -> bool {
    id.split_once('_')
        .is_none_or(|(_, rest)| rest.starts_with(OURS))
}

/// What only providers understand, of an object whose common fields were read.
fn beside(mut object: Fields) -> Opaque {
    let mut opaque = object
        .any(EXTRA)
        .map(Opaque::from_value)
        .unwrap_or_default();
    // Where a cache is to break, as clients of Anthropic's models write it.
    if let Some(mark) = object.any("cache_control") {
        opaque.set("anthropic", "cache_control", mark);
    }
    for (name, value) in object.rest() {
        if !matches!(name.as_str(), "type" | "status" | "logprobs") {
            keep(&mut opaque, &name, value);
        }
    }
    opaque
}

fn contents(mut item: Fields, model: bool) -> Result<Vec<Part>, WireError> {
    let content = item.any("content");
    let item = item.into_value();
    let head = if model {
        head(&item)
    } else {
        Opaque::default()
    };
    match content {
        None => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::Text { text, opaque: head }]),
        Some(Value::Array(list)) => list
            .into_iter()
            .enumerate()
            .map(|(index, content)| {
                let read = piece(content, &item, model, &head);
                read.map_err(|error| error.within(&format!("content[{index}]")))
            })
            .collect(),
        Some(_) => Err(WireError::invalid("content", "must be a text or a list")),
    }
}

fn piece(content: Value, item: &Value, model: bool, head: &Opaque) -> Result<Part, WireError> {
    let mut part = fields(content)?;
    let kind = part.need_text("type")?;
    match kind.as_str() {
        "input_text" | "output_text" | "text" => {
            let text = part.need_text("text")?;
            let mut opaque = head.clone();
            opaque.merge(&beside(part));
            Ok(Part::Text { text, opaque })
        }
        "refusal" => Ok(Part::Refusal {
            text: part.need_text("refusal")?,
        }),
        "input_image" => image(part),
        "input_file" => file(part),
        "input_audio" => part
            .inside("input_audio", |mut audio| {
                Ok(Part::Audio {
                    format: audio.need_text("format")?,
                    data: audio.need_text("data")?,
                })
            })?
            .ok_or_else(|| WireError::invalid("input_audio", "is missing")),
        _ if model => {
            let mut content = part.rest();
            content.insert("type".into(), kind.into());
            let mut item = item.clone();
            item["content"] = json!([content]);
            Ok(other(item))
        }
        _ => Err(WireError::invalid(
            "type",
            format!("is `{kind}`, which is no content of a message"),
        )),
    }
}

fn image(mut part: Fields) -> Result<Part, WireError> {
    let source = match (part.text("file_id")?, part.text("image_url")?) {
        (Some(id), _) => Source::Id(id),
        (None, Some(url)) => source(url, "image_url")?,
        (None, None) => return Err(WireError::invalid("image_url", "or file_id must be there")),
    };
    Ok(Part::Image {
        source,
        detail: part.text("detail")?,
        opaque: beside(part),
    })
}

fn file(mut part: Fields) -> Result<Part, WireError> {
    let name = part.text("filename")?;
    let data = part.text("file_data")?;
    let source = match (part.text("file_id")?, data, part.text("file_url")?) {
        (Some(id), ..) => Source::Id(id),
        (None, Some(data), _) => source(data, "file_data")?,
        (None, None, Some(url)) => Source::Url(url),
        (None, None, None) => {
            let why = "or file_url or file_id must be there";
            return Err(WireError::invalid("file_data", why));
        }
    };
    Ok(Part::File {
        source,
        name,
        opaque: beside(part),
    })
}

fn call(mut item: Fields) -> Result<Part, WireError> {
    let id = item.text("call_id")?.unwrap_or_default();
    let name = item.need_text("name")?;
    Ok(Part::ToolCall {
        id,
        name,
        arguments: item.text("arguments")?.unwrap_or_default(),
        opaque: beside(item),
    })
}

fn result(item: Value) -> Result<Part, WireError> {
    let mut item = fields(item)?;
    let call = item.need_text("call_id")?;
    let output = item.any("output");
    let output = fields(json!({ "content": output }))?;
    let parts = contents(output, false).map_err(|error| error.within("output"))?;
    Ok(Part::ToolResult {
        call,
        parts,
        failed: false,
        opaque: beside(item),
    })
}

/// Reads thoughts. They have a summary, or their own words, or both; then the summary is kept
/// beside.
fn thought(mut item: Fields) -> Result<Part, WireError> {
    let sealed = item.text("encrypted_content")?;
    if let Some(sealed) = sealed.as_deref().and_then(|text| text.strip_prefix(MARK)) {
        return Ok(unsealed(sealed).unwrap_or_else(|| Part::Reasoning {
            text: String::new(),
            opaque: Opaque::default(),
        }));
    }
    let words = |list: &[Value]| {
        let texts = list.iter().filter_map(|one| one.get("text")?.as_str());
        texts.collect::<Vec<_>>().join("\n\n")
    };
    let summary = item.list("summary")?;
    let content = words(&item.list("content")?);
    let mut opaque = beside(item);
    if let Some(sealed) = sealed {
        opaque.set(FAMILY, "encrypted_content", sealed.into());
    }
    let text = if content.is_empty() {
        words(&summary)
    } else {
        opaque.set(FAMILY, "as", "content".into());
        keep(&mut opaque, "summary", Value::Array(summary));
        content
    };
    Ok(Part::Reasoning { text, opaque })
}

/// The contents of thoughts, as an item has them.
pub(super) fn thought_of(text: &str, opaque: &Opaque) -> Map<String, Value> {
    let mut item = Map::new();
    item.insert("type".into(), "reasoning".into());
    item.insert("summary".into(), json!([]));
    let words = |kind: &str| match text {
        "" => json!([]),
        text => json!([{ "type": kind, "text": text }]),
    };
    if opaque.text(FAMILY, "as") == Some("content") {
        item.insert("content".into(), words("reasoning_text"));
    } else {
        item.insert("summary".into(), words("summary_text"));
    }
    for (name, value) in own(opaque) {
        if name != "as" {
            item.insert(name, value);
        }
    }
    item
}

/// What `OpenAI` understands of it.
pub(super) fn own(opaque: &Opaque) -> Map<String, Value> {
    match opaque.to_value().get_mut(FAMILY).map(Value::take) {
        Some(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// What others do, as clients carry it.
pub(super) fn foreign(opaque: &Opaque) -> Option<Value> {
    let Value::Object(mut families) = opaque.to_value() else {
        return None;
    };
    families.shift_remove(FAMILY);
    (!families.is_empty()).then_some(Value::Object(families))
}

/// Thoughts with their proofs, for a client to carry.
pub(super) fn sealed(text: &str, opaque: &Opaque) -> String {
    let value = json!({ "text": text, "opaque": opaque.to_value() });
    format!("{MARK}{}", URL_SAFE_NO_PAD.encode(value.to_string()))
}

fn unsealed(sealed: &str) -> Option<Part> {
    let bytes = URL_SAFE_NO_PAD.decode(sealed).ok()?;
    let mut value: Value = serde_json::from_slice(&bytes).ok()?;
    Some(Part::Reasoning {
        text: value.get("text")?.as_str()?.to_owned(),
        opaque: Opaque::from_value(value.get_mut("opaque")?.take()),
    })
}
