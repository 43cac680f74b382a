//! Tools and whether they are called, in both directions.

use serde_json::{Map, Value, json};

use super::FAMILY;
use super::block::{self, To};
use crate::chat::{ChatRequest, Opaque, Protocol, Tool, ToolChoice};
use crate::wire::{Fields, WireError, fields};

/// Reads a tool.
pub(super) fn decode(value: Value) -> Result<Tool, WireError> {
    let kind = value.get("type").and_then(Value::as_str);
    if kind.is_some_and(|kind| kind != "custom") {
        return Ok(Tool::Provider {
            protocol: Protocol::Anthropic,
            value,
        });
    }
    let mut tool = fields(value)?;
    tool.any("type");
    let name = tool.need_text("name")?;
    let description = tool.text("description")?;
    let parameters = tool.any("input_schema");
    let strict = tool.flag("strict")?;
    let mut opaque = Opaque::default();
    for (field, value) in tool.rest() {
        if !value.is_null() {
            opaque.set(FAMILY, &field, value);
        }
    }
    Ok(Tool::Function {
        name,
        description,
        parameters,
        strict,
        opaque,
    })
}

/// Reads whether tools are called, and whether several at once.
pub(super) fn choice(body: &mut Fields) -> Result<(Option<ToolChoice>, Option<bool>), WireError> {
    let read = body.inside("tool_choice", |mut choice| {
        let read = match choice.need_text("type")?.as_str() {
            "auto" => ToolChoice::Auto,
            "any" => ToolChoice::Required,
            "tool" => ToolChoice::Named(choice.need_text("name")?),
            "none" => ToolChoice::None,
            other => {
                let why = format!("is `{other}`, and must be `auto`, `any`, `tool` or `none`");
                return Err(WireError::invalid("type", why));
            }
        };
        Ok((read, choice.flag("disable_parallel_tool_use")?))
    })?;
    Ok(match read {
        None => (None, None),
        Some((choice, alone)) => (Some(choice), alone.map(|alone| !alone)),
    })
}

/// Writes a tool.
pub(super) fn encode(tool: &Tool) -> Result<Value, WireError> {
    match tool {
        Tool::Function {
            name,
            description,
            parameters,
            strict,
            opaque,
        } => {
            let mut map = Map::new();
            map.insert("name".into(), name.as_str().into());
            if let Some(description) = description {
                map.insert("description".into(), description.as_str().into());
            }
            map.insert("input_schema".into(), schema(parameters.as_ref()));
            if let Some(strict) = strict {
                map.insert("strict".into(), (*strict).into());
            }
            let to = To::Provider { own_files: true };
            Ok(block::beside(Value::Object(map), opaque, to))
        }
        Tool::Provider {
            protocol: Protocol::Anthropic,
            value,
        } => Ok(value.clone()),
        Tool::Provider { .. } => Err(WireError::Unsupported(
            "one of the tools exists at another provider only".into(),
        )),
    }
}

/// A schema of arguments must say that it is of an object.
pub(crate) fn schema(parameters: Option<&Value>) -> Value {
    match parameters {
        Some(Value::Object(schema)) if schema.contains_key("type") => Value::Object(schema.clone()),
        Some(Value::Object(schema)) => {
            let mut schema = schema.clone();
            schema.insert("type".into(), "object".into());
            Value::Object(schema)
        }
        _ => json!({ "type": "object", "properties": {} }),
    }
}

/// Writes whether tools are called.
pub(super) fn choice_of(request: &ChatRequest) -> Option<Value> {
    let alone = request.parallel_tools.map(|parallel| !parallel);
    let mut choice = match &request.tool_choice {
        // Without tools the field is refused, and these two mean nothing.
        None | Some(ToolChoice::Auto | ToolChoice::None) if request.tools.is_empty() => {
            return None;
        }
        None if alone == Some(true) => json!({ "type": "auto" }),
        None => return None,
        Some(ToolChoice::Auto) => json!({ "type": "auto" }),
        Some(ToolChoice::None) => return Some(json!({ "type": "none" })),
        Some(ToolChoice::Required) => json!({ "type": "any" }),
        Some(ToolChoice::Named(name)) => json!({ "type": "tool", "name": name }),
    };
    if let Some(alone) = alone {
        choice["disable_parallel_tool_use"] = alone.into();
    }
    Some(choice)
}
