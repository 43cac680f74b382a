//! Requests, in both directions.

use serde_json::{Map, Value, json};

use super::{Dialect, message};
use crate::chat::{ChatRequest, Format, Opaque, Protocol, Reasoning, Sampling, Tool, ToolChoice};
use crate::wire::{Asked, Delivery, Encoded, Fields, WireError, fields};

/// Reads what a client asks.
pub(super) fn decode(body: Value) -> Result<Asked, WireError> {
    let mut body = fields(body)?;
    let model = body.need_text("model")?;
    let messages = body.each("messages", message::decode)?;
    if messages.is_empty() {
        return Err(WireError::invalid("messages", "must not be empty"));
    }
    let stream = body.flag("stream")?.unwrap_or(false);
    let counted = body.inside("stream_options", |mut options| {
        Ok(options.flag("include_usage")?.unwrap_or(false))
    })?;
    let delivery = match (stream, counted) {
        (false, _) => Delivery::Whole,
        (true, Some(true)) => Delivery::Stream,
        (true, _) => Delivery::StreamWithoutUsage,
    };
    let max_tokens = match body.whole("max_completion_tokens")? {
        Some(most) => {
            body.whole("max_tokens")?;
            Some(most)
        }
        None => body.whole("max_tokens")?,
    };
    let reasoning = match body.text("reasoning_effort")? {
        None => None,
        effort => Some(Reasoning {
            effort,
            ..Reasoning::default()
        }),
    };
    let tools = body.each("tools", tool)?;
    let tool_choice = choice(&mut body)?;
    let format = body.inside("response_format", format)?.flatten();
    let request = ChatRequest {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tools: body.flag("parallel_tool_calls")?,
        format,
        max_tokens,
        sampling: sampling(&mut body)?,
        reasoning,
        user: body.text("user")?,
        extra: body.rest(),
        protocol: Some(Protocol::OpenaiChat),
    };
    Ok(Asked { request, delivery })
}

fn sampling(body: &mut Fields) -> Result<Sampling, WireError> {
    let count = body.whole("n")?;
    let count = count.map(|count| match u32::try_from(count) {
        Ok(count @ 1..=128) => Ok(count),
        _ => Err(WireError::invalid("n", "must be between 1 and 128")),
    });
    Ok(Sampling {
        temperature: body.number("temperature")?,
        top_p: body.number("top_p")?,
        top_k: body.whole("top_k")?,
        seed: body.signed("seed")?,
        frequency_penalty: body.number("frequency_penalty")?,
        presence_penalty: body.number("presence_penalty")?,
        stop: body.texts("stop")?,
        count: count.transpose()?,
    })
}

fn tool(value: Value) -> Result<Tool, WireError> {
    let mut tool = fields(value)?;
    let kind = tool.need_text("type")?;
    if kind != "function" {
        let mut rest = tool.rest();
        rest.insert("type".into(), kind.into());
        return Ok(Tool::Provider {
            protocol: Protocol::OpenaiChat,
            value: Value::Object(rest),
        });
    }
    let read = tool.inside("function", |mut function| {
        Ok(Tool::Function {
            name: function.need_text("name")?,
            description: function.text("description")?,
            parameters: function.any("parameters"),
            strict: function.flag("strict")?,
            opaque: Opaque::default(),
        })
    })?;
    read.ok_or_else(|| WireError::invalid("function", "is missing"))
}

fn choice(body: &mut Fields) -> Result<Option<ToolChoice>, WireError> {
    let refused = |why: &str| Err(WireError::invalid("tool_choice", why));
    match body.any("tool_choice") {
        None => Ok(None),
        Some(Value::String(word)) => match word.as_str() {
            "auto" => Ok(Some(ToolChoice::Auto)),
            "none" => Ok(Some(ToolChoice::None)),
            "required" => Ok(Some(ToolChoice::Required)),
            _ => refused("must be `auto`, `none`, `required` or a function"),
        },
        Some(value) => match value["function"]["name"].as_str() {
            Some(name) => Ok(Some(ToolChoice::Named(name.to_owned()))),
            None => refused("must be `auto`, `none`, `required` or a function"),
        },
    }
}

fn format(mut format: Fields) -> Result<Option<Format>, WireError> {
    match format.need_text("type")?.as_str() {
        "text" => Ok(None),
        "json_object" => Ok(Some(Format::Json)),
        "json_schema" => {
            let read = format.inside("json_schema", |mut schema| {
                Ok(Format::Schema {
                    name: schema.need_text("name")?,
                    description: schema.text("description")?,
                    schema: schema.any("schema").unwrap_or_else(|| json!({})),
                    strict: schema.flag("strict")?,
                })
            })?;
            read.map(Some)
                .ok_or_else(|| WireError::invalid("json_schema", "is missing"))
        }
        other => Err(WireError::invalid(
            "type",
            format!("is `{other}`, and must be `text`, `json_object` or `json_schema`"),
        )),
    }
}

/// Writes a request for a provider.
pub(super) fn encode(
    dialect: Dialect,
    request: &ChatRequest,
    stream: bool,
) -> Result<Encoded, WireError> {
    let mut dropped = Vec::new();
    let mut body = Map::new();
    body.insert("model".into(), request.model.as_str().into());
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in &request.messages {
        message::encode(dialect, message, &mut messages)?;
    }
    body.insert("messages".into(), Value::Array(messages));
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(tool_of);
        body.insert("tools".into(), tools.collect::<Result<_, _>>()?);
    }
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("tool_choice", request.tool_choice.as_ref().map(choice_of));
    // Without tools the field is refused.
    let parallel = request.parallel_tools.filter(|_| !request.tools.is_empty());
    set("parallel_tool_calls", parallel.map(Value::from));
    set("response_format", request.format.as_ref().map(format_of));
    let most = match dialect {
        Dialect::Openai => "max_completion_tokens",
        Dialect::Compatible => "max_tokens",
    };
    set(most, request.max_tokens.map(Value::from));
    let sampling = &request.sampling;
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    match dialect {
        Dialect::Compatible => set("top_k", sampling.top_k.map(Value::from)),
        Dialect::Openai => dropped.extend(sampling.top_k.map(|_| "top_k")),
    }
    set("seed", sampling.seed.map(Value::from));
    set(
        "frequency_penalty",
        sampling.frequency_penalty.map(Value::from),
    );
    set(
        "presence_penalty",
        sampling.presence_penalty.map(Value::from),
    );
    let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
    set("stop", stop.map(|stop| json!(stop)));
    set("n", sampling.count.map(Value::from));
    let reasoning = request.reasoning.as_ref();
    set(
        "reasoning_effort",
        reasoning.and_then(effort).map(Value::from),
    );
    set("user", request.user.as_deref().map(Value::from));
    if stream {
        set("stream", Some(true.into()));
        set("stream_options", Some(json!({ "include_usage": true })));
    }
    if request.protocol == Some(Protocol::OpenaiChat) {
        for (name, value) in &request.extra {
            set(name, Some(value.clone()));
        }
    }
    let body = Value::Object(body);
    Ok(Encoded { body, dropped })
}

/// A number of tokens in words, where nothing else was said.
pub(in crate::wire) fn effort(reasoning: &Reasoning) -> Option<&str> {
    match (&reasoning.effort, reasoning.tokens) {
        (Some(effort), _) => Some(effort),
        (None, Some(0)) => Some("none"),
        (None, Some(1..=2_047)) => Some("low"),
        (None, Some(2_048..=8_191)) => Some("medium"),
        (None, Some(_)) => Some("high"),
        (None, None) => None,
    }
}

fn tool_of(tool: &Tool) -> Result<Value, WireError> {
    match tool {
        Tool::Function {
            name,
            description,
            parameters,
            strict,
            ..
        } => {
            let mut function = json!({ "name": name });
            if let Some(description) = description {
                function["description"] = description.as_str().into();
            }
            if let Some(parameters) = parameters {
                function["parameters"] = parameters.clone();
            }
            if let Some(strict) = strict {
                function["strict"] = (*strict).into();
            }
            Ok(json!({ "type": "function", "function": function }))
        }
        Tool::Provider {
            protocol: Protocol::OpenaiChat,
            value,
        } => Ok(value.clone()),
        Tool::Provider { .. } => Err(WireError::Unsupported(
            "one of the tools exists at another provider only".into(),
        )),
    }
}

fn choice_of(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => "auto".into(),
        ToolChoice::None => "none".into(),
        ToolChoice::Required => "required".into(),
        ToolChoice::Named(name) => json!({ "type": "function", "function": { "name": name } }),
    }
}

fn format_of(format: &Format) -> Value {
    match format {
        Format::Json => json!({ "type": "json_object" }),
        Format::Schema {
            name,
            description,
            schema,
            strict,
        } => {
            let mut inner = json!({ "name": name, "schema": schema });
            if let Some(description) = description {
                inner["description"] = description.as_str().into();
            }
            if let Some(strict) = strict {
                inner["strict"] = (*strict).into();
            }
            json!({ "type": "json_schema", "json_schema": inner })
        }
    }
}
