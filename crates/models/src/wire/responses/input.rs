//! The conversation, as items for a provider.

use serde_json::{Map, Value, json};

use super::item::{self, FAMILY};
use crate::chat::{Message, Opaque, Part, Protocol, Role, Source};
use crate::wire::WireError;

/// How a conversation is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Telling {
    /// Whether the asker speaks this protocol, too.
    pub(super) native: bool,
    /// Whether the asker speaks one of `OpenAI`'s, so that files may lie there.
    pub(super) openai: bool,
    /// Whether the provider keeps what it says.
    pub(super) stored: bool,
}

/// Writes a message as items.
pub(super) fn encode(
    telling: Telling,
    message: &Message,
    out: &mut Vec<Value>,
) -> Result<(), WireError> {
    let role = match message.role {
        Role::System => "system",
        Role::Developer => "developer",
        Role::User | Role::Tool => "user",
        Role::Assistant => return speech(telling, &message.parts, out),
    };
    let mut contents: Vec<Value> = Vec::new();
    for part in &message.parts {
        let whole = match part {
            Part::ToolResult {
                call,
                parts,
                failed,
                opaque,
            } => result(telling, call, parts, *failed, opaque)?,
            Part::Other {
                protocol: Protocol::OpenaiResponses,
                value,
            } => value.clone(),
            part => {
                contents.push(content(telling, part)?);
                continue;
            }
        };
        spoken(role, &mut contents, out);
        out.push(whole);
    }
    spoken(role, &mut contents, out);
    Ok(())
}

/// One text alone is written as such: every server understands that.
fn spoken(role: &str, contents: &mut Vec<Value>, out: &mut Vec<Value>) {
    let contents = std::mem::take(contents);
    let content = match contents.as_slice() {
        [] => return,
        [Value::Object(only)] if only.len() == 2 && only.contains_key("text") => {
            only.get("text").cloned().unwrap_or_default()
        }
        _ => Value::Array(contents),
    };
    out.push(json!({ "type": "message", "role": role, "content": content }));
}

fn content(telling: Telling, part: &Part) -> Result<Value, WireError> {
    let (mut map, opaque) = match part {
        Part::Text { text, opaque } => (json!({ "type": "input_text", "text": text }), opaque),
        Part::Image {
            source,
            detail,
            opaque,
        } => {
            let detail = detail.as_deref().unwrap_or("auto");
            let mut image = json!({ "type": "input_image", "detail": detail });
            let (name, value) = address(telling, source, "image_url", "image_url")?;
            image[name] = value.into();
            (image, opaque)
        }
        Part::File {
            source,
            name,
            opaque,
        } => {
            let mut file = json!({ "type": "input_file" });
            let (field, value) = address(telling, source, "file_url", "file_data")?;
            file[field] = value.into();
            if let Some(name) = name {
                file["filename"] = name.as_str().into();
            } else if let Source::Data { media_type, .. } = source {
                // Bytes without a name are refused.
                let pdf = media_type == "application/pdf";
                file["filename"] = if pdf { "file.pdf" } else { "file" }.into();
            }
            (file, opaque)
        }
        Part::Refusal { text } => return Ok(json!({ "type": "input_text", "text": text })),
        Part::Audio { .. } => {
            return Err(WireError::Unsupported(
                "this provider's responses take no sound; its chat completions do".into(),
            ));
        }
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
    };
    for (name, value) in item::own(opaque) {
        if !matches!(name.as_str(), "id" | "phase") {
            map[name.as_str()] = value;
        }
    }
    Ok(map)
}

/// In which field a source is written, and how.
fn address(
    telling: Telling,
    source: &Source,
    url: &'static str,
    data: &'static str,
) -> Result<(&'static str, String), WireError> {
    match source {
        Source::Url(address) => Ok((url, address.clone())),
        Source::Data {
            media_type,
            data: bytes,
        } => Ok((data, format!("data:{media_type};base64,{bytes}"))),
        Source::Id(id) if telling.openai => Ok(("file_id", id.clone())),
        Source::Id(id) => Err(WireError::Unsupported(format!(
            "the file `{id}` lies at another provider"
        ))),
    }
}

fn result(
    telling: Telling,
    call: &str,
    parts: &[Part],
    failed: bool,
    opaque: &Opaque,
) -> Result<Value, WireError> {
    // There is no field for it, and a model should know.
    let mark = failed.then(|| Part::text("Error:"));
    let contents = mark.iter().chain(parts).map(|part| content(telling, part));
    let contents = contents.collect::<Result<Vec<_>, _>>()?;
    let words = |content: &Value| {
        let plain = content
            .as_object()
            .is_some_and(|content| content.len() == 2);
        plain.then(|| content["text"].as_str().map(str::to_owned))?
    };
    let separator = if failed { " " } else { "\n" };
    let output = match contents.iter().map(words).collect::<Option<Vec<_>>>() {
        Some(words) if words.len() <= 1 || failed || !telling.native => {
            Value::String(words.join(separator))
        }
        _ => Value::Array(contents),
    };
    let mut item = json!({ "type": "function_call_output", "call_id": call, "output": output });
    if telling.native {
        for (name, value) in item::own(opaque) {
            item[name.as_str()] = value;
        }
    }
    Ok(item)
}

/// What the model said and did.
fn speech(telling: Telling, parts: &[Part], out: &mut Vec<Value>) -> Result<(), WireError> {
    let thoughts = || {
        parts.iter().filter_map(|part| match part {
            Part::Reasoning { opaque, .. } => Some(known(telling, opaque)),
            _ => None,
        })
    };
    // An id makes the provider look for the thoughts that led to the item.
    let ids = thoughts().all(|known| known) && (telling.native || thoughts().next().is_some());
    let nothing = Opaque::default();
    let mut message: Option<(Option<&str>, Value)> = None;
    for part in parts {
        let words = match part {
            Part::Text { text, opaque } => (json!({ "type": "output_text", "text": text }), opaque),
            Part::Refusal { text } => (json!({ "type": "refusal", "refusal": text }), &nothing),
            part => {
                let item = done(telling, part, ids)?;
                if let Some(item) = item {
                    out.extend(message.take().map(|(_, message)| message));
                    out.push(item);
                }
                continue;
            }
        };
        let (mut content, opaque) = words;
        let id = opaque.text(FAMILY, "id").filter(|_| ids);
        if let Some((open, _)) = &message
            && id.is_some()
            && *open != id
        {
            out.extend(message.take().map(|(_, message)| message));
        }
        let (_, message) = message.get_or_insert_with(|| {
            let mut item = json!({ "type": "message", "role": "assistant" });
            if let Some(id) = id {
                item["id"] = id.into();
                item["status"] = "completed".into();
            }
            if let Some(phase) = opaque.get(FAMILY, "phase") {
                item["phase"] = phase.clone();
            }
            item["content"] = json!([]);
            (id, item)
        });
        for (name, value) in item::own(opaque) {
            if !matches!(name.as_str(), "id" | "phase") {
                content[name.as_str()] = value;
            }
        }
        if let Some(Value::Array(contents)) = message.get_mut("content") {
            contents.push(content);
        }
    }
    out.extend(message.map(|(_, message)| message));
    Ok(())
}

/// Whether the provider knows thoughts again: by their proof, by their words, or by its memory.
fn known(telling: Telling, opaque: &Opaque) -> bool {
    let by_memory = telling.stored && opaque.get(FAMILY, "id").is_some();
    let by_words = opaque.text(FAMILY, "as") == Some("content");
    opaque.get(FAMILY, "encrypted_content").is_some() || telling.native && (by_memory || by_words)
}

/// Anything of the model's but words; nothing if it does not matter to this provider.
fn done(telling: Telling, part: &Part, ids: bool) -> Result<Option<Value>, WireError> {
    match part {
        Part::Reasoning { text, opaque } => {
            let known = known(telling, opaque);
            Ok(known.then(|| Value::Object(item::thought_of(text, opaque))))
        }
        Part::ToolCall {
            id,
            name,
            arguments,
            opaque,
        } => {
            let mut item = Map::new();
            item.insert("type".into(), "function_call".into());
            item.insert("call_id".into(), id.as_str().into());
            item.insert("name".into(), name.as_str().into());
            let arguments = if arguments.is_empty() {
                "{}"
            } else {
                arguments
            };
            item.insert("arguments".into(), arguments.into());
            let own = item::own(opaque).into_iter();
            item.extend(own.filter(|(name, _)| ids || name != "id"));
            Ok(Some(Value::Object(item)))
        }
        Part::Other {
            protocol: Protocol::OpenaiResponses,
            value,
        } => Ok(Some(value.clone())),
        // What another provider did by itself is in its words already.
        Part::Other { .. } => Ok(None),
        Part::Image { .. } | Part::File { .. } | Part::Audio { .. } => Err(WireError::Unsupported(
            "this provider takes no pictures, files or sounds as what the model said; put \
                 them into a message of the user"
                .into(),
        )),
        Part::Text { .. } | Part::Refusal { .. } | Part::ToolResult { .. } => Err(
            WireError::invalid("messages", "have a part that the model cannot have said"),
        ),
    }
}
