//! Messages and their parts, in both directions.

use serde_json::{Map, Value, json};

use super::{Dialect, EXTRA};
use crate::chat::{Message, Opaque, Part, Protocol, Role, Source};
use crate::wire::{Fields, WireError, fields};

/// Reads one message.
pub(super) fn decode(value: Value) -> Result<Message, WireError> {
    let mut message = fields(value)?;
    let role = match message.need_text("role")?.as_str() {
        "system" => Role::System,
        "developer" => Role::Developer,
        "user" => Role::User,
        "assistant" => Role::Assistant,
        "tool" => Role::Tool,
        other => {
            let why = format!("is `{other}`, which is no role");
            return Err(WireError::invalid("role", why));
        }
    };
    let name = message.text("name")?;
    let parts = match role {
        Role::Assistant => said(&mut message)?,
        Role::Tool => vec![result(&mut message)?],
        _ => content(&mut message)?,
    };
    Ok(Message { role, parts, name })
}

/// What the model said, of an earlier request or of an answer.
pub(super) fn said(message: &mut Fields) -> Result<Vec<Part>, WireError> {
    let kept = kept_thoughts(message);
    let mut parts = Vec::new();
    let thoughts = match message.text("reasoning_content")? {
        Some(text) => Some(text),
        None => message.text("reasoning").unwrap_or_default(),
    };
    // Thoughts with their proofs were kept apart one by one; the text is theirs together.
    if !kept.is_empty() {
        parts.extend(kept);
    } else if let Some(text) = thoughts.filter(|text| !text.is_empty()) {
        parts.push(Part::Reasoning {
            text,
            opaque: Opaque::default(),
        });
    }
    parts.extend(content(message)?);
    if let Some(text) = message.text("refusal")?.filter(|text| !text.is_empty()) {
        parts.push(Part::Refusal { text });
    }
    parts.extend(message.each("tool_calls", call)?);
    let audio = message.any("audio");
    let notes = message.any("annotations");
    let beside = [("audio", audio), ("annotations", notes)];
    let beside: Map<String, Value> = beside
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .filter(|(_, value)| value.as_array().is_none_or(|list| !list.is_empty()))
        .collect();
    if !beside.is_empty() {
        parts.push(Part::Other {
            protocol: Protocol::OpenaiChat,
            value: Value::Object(beside),
        });
    }
    Ok(parts)
}

/// Thoughts as they travel beside a message, one by one.
fn kept_thoughts(message: &mut Fields) -> Vec<Part> {
    let thoughts = message
        .any(EXTRA)
        .and_then(|mut value| value.get_mut("reasoning").map(Value::take))
        .and_then(|value| serde_json::from_value::<Vec<Thought>>(value).ok())
        .unwrap_or_default();
    let parts = thoughts.into_iter().map(|thought| Part::Reasoning {
        text: thought.text,
        opaque: thought.opaque,
    });
    parts.collect()
}

/// A thought as it travels beside a message.
#[derive(serde::Serialize, serde::Deserialize)]
struct Thought {
    #[serde(default)]
    text: String,
    #[serde(default)]
    opaque: Opaque,
}

fn call(value: Value) -> Result<Part, WireError> {
    let mut call = fields(value)?;
    let opaque = call.any(EXTRA).map(Opaque::from_value).unwrap_or_default();
    let kind = call.text("type")?.unwrap_or_else(|| "function".to_owned());
    if kind != "function" {
        let mut value = call.into_value();
        if let Value::Object(map) = &mut value {
            map.insert("type".into(), kind.into());
        }
        return Ok(Part::Other {
            protocol: Protocol::OpenaiChat,
            value: json!({ "tool_call": value }),
        });
    }
    let id = call.text("id")?.unwrap_or_default();
    let read = call.inside("function", |mut function| {
        let name = function.need_text("name")?;
        let arguments = match function.any("arguments") {
            None => String::new(),
            Some(Value::String(text)) => text,
            // Some servers send them as an object.
            Some(other) => other.to_string(),
        };
        Ok((name, arguments))
    })?;
    let (name, arguments) = read.ok_or_else(|| WireError::invalid("function", "is missing"))?;
    Ok(Part::ToolCall {
        id,
        name,
        arguments,
        opaque,
    })
}

fn result(message: &mut Fields) -> Result<Part, WireError> {
    Ok(Part::ToolResult {
        call: message.need_text("tool_call_id")?,
        parts: content(message)?,
        failed: false,
        opaque: Opaque::default(),
    })
}

fn content(message: &mut Fields) -> Result<Vec<Part>, WireError> {
    match message.any("content") {
        None => Ok(Vec::new()),
        Some(Value::String(text)) if text.is_empty() => Ok(Vec::new()),
        Some(Value::String(text)) => Ok(vec![Part::text(text)]),
        Some(Value::Array(list)) => list
            .into_iter()
            .enumerate()
            .map(|(index, item)| {
                part(item).map_err(|error| error.within(&format!("content[{index}]")))
            })
            .collect(),
        Some(_) => Err(WireError::invalid(
            "content",
            "must be a text or a list of parts",
        )),
    }
}

fn part(value: Value) -> Result<Part, WireError> {
    let mut part = fields(value)?;
    match part.need_text("type")?.as_str() {
        "text" | "input_text" | "output_text" => {
            let mut opaque = part.any(EXTRA).map(Opaque::from_value).unwrap_or_default();
            // Where a cache is to break, as Anthropic's compatible clients write it.
            if let Some(mark) = part.any("cache_control") {
                opaque.set("anthropic", "cache_control", mark);
            }
            Ok(Part::Text {
                text: part.need_text("text")?,
                opaque,
            })
        }
        "image_url" => {
            let read = part.inside("image_url", |mut image| {
                let url = image.need_text("url")?;
                Ok((source(url, "url")?, image.text("detail")?))
            })?;
            let (source, detail) =
                read.ok_or_else(|| WireError::invalid("image_url", "is missing"))?;
            Ok(Part::Image {
                source,
                detail,
                opaque: Opaque::default(),
            })
        }
        "input_audio" => part
            .inside("input_audio", |mut audio| {
                Ok(Part::Audio {
                    format: audio.need_text("format")?,
                    data: audio.need_text("data")?,
                })
            })?
            .ok_or_else(|| WireError::invalid("input_audio", "is missing")),
        "file" => part
            .inside("file", file)?
            .ok_or_else(|| WireError::invalid("file", "is missing")),
        "refusal" => Ok(Part::Refusal {
            text: part.need_text("refusal")?,
        }),
        other => Err(WireError::invalid(
            "type",
            format!("is `{other}`, which is no part of a message"),
        )),
    }
}

fn file(mut file: Fields) -> Result<Part, WireError> {
    let name = file.text("filename")?;
    let source = match (file.text("file_id")?, file.text("file_data")?) {
        (Some(id), _) => Source::Id(id),
        (None, Some(data)) => source(data, "file_data")?,
        (None, None) => {
            return Err(WireError::invalid("file_data", "or file_id must be there"));
        }
    };
    Ok(Part::File {
        source,
        name,
        opaque: Opaque::default(),
    })
}

/// An address, or the bytes in a `data:` address (RFC 2397).
pub(crate) fn source(url: String, at: &str) -> Result<Source, WireError> {
    let Some(rest) = url.strip_prefix("data:") else {
        return Ok(Source::Url(url));
    };
    let parsed = rest.split_once(',').and_then(|(head, data)| {
        let media_type = head.strip_suffix(";base64")?;
        Some(Source::Data {
            media_type: media_type.to_owned(),
            data: data.to_owned(),
        })
    });
    parsed.ok_or_else(|| WireError::invalid(at, "is a data address that is not in base64"))
}

/// The address of a source, as `OpenAI` wants it.
fn address(source: &Source) -> Result<String, WireError> {
    match source {
        Source::Url(url) => Ok(url.clone()),
        Source::Data { media_type, data } => Ok(format!("data:{media_type};base64,{data}")),
        Source::Id(id) => Err(WireError::Unsupported(format!(
            "the picture `{id}` lies at another provider"
        ))),
    }
}

/// Writes a message for a provider; results of several tools become several messages.
pub(super) fn encode(
    dialect: Dialect,
    message: &Message,
    out: &mut Vec<Value>,
) -> Result<(), WireError> {
    let role = match (message.role, dialect) {
        (Role::System, _) | (Role::Developer, Dialect::Compatible) => "system",
        (Role::Developer, Dialect::Openai) => "developer",
        (Role::User, _) => "user",
        (Role::Assistant, _) => {
            out.push(Value::Object(speech(dialect, message)?));
            return Ok(());
        }
        (Role::Tool, _) => "tool",
    };
    let mut rest: Vec<&Part> = Vec::new();
    for part in &message.parts {
        if let Part::ToolResult {
            call,
            parts,
            failed,
            ..
        } = part
        {
            out.push(answer_of_tool(call, parts, *failed)?);
        } else {
            rest.push(part);
        }
    }
    if rest.is_empty() {
        return Ok(());
    }
    let mut map = Map::new();
    map.insert(
        "role".into(),
        if role == "tool" { "user" } else { role }.into(),
    );
    map.insert("content".into(), content_of(&rest)?);
    if let Some(name) = &message.name {
        map.insert("name".into(), name.as_str().into());
    }
    out.push(Value::Object(map));
    Ok(())
}

fn answer_of_tool(call: &str, parts: &[Part], failed: bool) -> Result<Value, WireError> {
    let words = parts.iter().map(|part| match part {
        Part::Text { text, .. } => Ok(text.as_str()),
        _ => Err(WireError::Unsupported(
            "this provider's tools answer in words, and one answered with something else".into(),
        )),
    });
    let words = words.collect::<Result<Vec<_>, _>>()?.join("\n");
    // There is no field for it, and a model should know.
    let content = if failed {
        format!("Error: {words}")
    } else {
        words
    };
    Ok(json!({ "role": "tool", "tool_call_id": call, "content": content }))
}

/// One text alone is written as such: every server understands that.
fn content_of(parts: &[&Part]) -> Result<Value, WireError> {
    if let [Part::Text { text, .. }] = parts {
        return Ok(text.as_str().into());
    }
    let parts = parts.iter().map(|part| piece(part));
    Ok(Value::Array(parts.collect::<Result<_, _>>()?))
}

fn piece(part: &Part) -> Result<Value, WireError> {
    Ok(match part {
        Part::Text { text, .. } => json!({ "type": "text", "text": text }),
        Part::Image { source, detail, .. } => {
            let mut image = json!({ "url": address(source)? });
            if let Some(detail) = detail {
                image["detail"] = detail.as_str().into();
            }
            json!({ "type": "image_url", "image_url": image })
        }
        Part::Audio { format, data } => {
            json!({ "type": "input_audio", "input_audio": { "format": format, "data": data } })
        }
        Part::File { source, name, .. } => {
            let mut file = match source {
                Source::Id(id) => json!({ "file_id": id }),
                Source::Data { media_type, data } => {
                    json!({ "file_data": format!("data:{media_type};base64,{data}") })
                }
                Source::Url(_) => {
                    return Err(WireError::Unsupported(
                        "this provider takes documents as bytes, and one is an address".into(),
                    ));
                }
            };
            if let Some(name) = name {
                file["filename"] = name.as_str().into();
            }
            json!({ "type": "file", "file": file })
        }
        Part::Refusal { text } => json!({ "type": "refusal", "refusal": text }),
        Part::Other { .. } => {
            return Err(WireError::Unsupported(
                "a message has a part that only another provider understands".into(),
            ));
        }
        Part::Reasoning { .. } | Part::ToolCall { .. } | Part::ToolResult { .. } => {
            return Err(WireError::invalid(
                "messages",
                "have a part that only the model can have said",
            ));
        }
    })
}

/// What the model said, for a provider.
fn speech(dialect: Dialect, message: &Message) -> Result<Map<String, Value>, WireError> {
    let mut map = message_of(&message.parts, dialect == Dialect::Compatible)?;
    if dialect == Dialect::Openai {
        map.shift_remove(EXTRA);
        if let Some(Value::Array(calls)) = map.get_mut("tool_calls") {
            for call in calls {
                if let Value::Object(call) = call {
                    call.shift_remove(EXTRA);
                }
            }
        }
    }
    if let Some(name) = &message.name {
        map.insert("name".into(), name.as_str().into());
    }
    Ok(map)
}

/// What the model said, as a message with all that travels beside it.
pub(super) fn message_of(parts: &[Part], thoughts: bool) -> Result<Map<String, Value>, WireError> {
    let mut map = Map::new();
    map.insert("role".into(), "assistant".into());
    map.insert("content".into(), Value::Null);
    let (mut words, mut pieces) = (String::new(), Vec::new());
    let (mut calls, mut kept, mut thought) = (Vec::new(), Vec::new(), String::new());
    for part in parts {
        match part {
            Part::Text { text, .. } => words.push_str(text),
            Part::Refusal { text } => {
                map.insert("refusal".into(), text.as_str().into());
            }
            Part::Reasoning { text, opaque } => {
                thought.push_str(text);
                kept.push(Thought {
                    text: text.clone(),
                    opaque: opaque.clone(),
                });
            }
            Part::ToolCall {
                id,
                name,
                arguments,
                opaque,
            } => calls.push(call_of(id, name, arguments, opaque)),
            Part::Other {
                protocol: Protocol::OpenaiChat,
                value: Value::Object(beside),
            } => {
                for (name, value) in beside {
                    if name == "tool_call" {
                        calls.push(value.clone());
                    } else {
                        map.insert(name.clone(), value.clone());
                    }
                }
            }
            // What another provider did by itself is in its words already.
            Part::Other { .. } => {}
            other => pieces.push(piece(other)?),
        }
    }
    if !pieces.is_empty() {
        if !words.is_empty() {
            pieces.insert(0, json!({ "type": "text", "text": words }));
        }
        map.insert("content".into(), Value::Array(pieces));
    } else if !words.is_empty() {
        map.insert("content".into(), words.into());
    }
    if !calls.is_empty() {
        map.insert("tool_calls".into(), Value::Array(calls));
    }
    if thoughts && !thought.is_empty() {
        map.insert("reasoning_content".into(), thought.into());
    }
    if kept.iter().any(|thought| !thought.opaque.is_empty()) {
        let kept = serde_json::to_value(&kept).unwrap_or_default();
        map.insert(EXTRA.into(), json!({ "reasoning": kept }));
    }
    Ok(map)
}

fn call_of(id: &str, name: &str, arguments: &str, opaque: &Opaque) -> Value {
    let mut call = json!({
        "id": id,
        "type": "function",
        "function": { "name": name, "arguments": arguments },
    });
    if !opaque.is_empty() {
        call[EXTRA] = opaque.to_value();
    }
    call
}
