//! Requests, for Ollama.

use serde_json::{Map, Value, json};

use super::message::Conversation;
use crate::chat::{ChatRequest, Format, Protocol, Reasoning, Tool, ToolChoice};
use crate::wire::{Encoded, WireError};

/// Writes a request.
pub(super) fn encode(request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
    refuse(request)?;
    let mut conversation = Conversation::default();
    for message in &request.messages {
        conversation.message(message)?;
    }
    let Conversation {
        messages,
        mut dropped,
        ..
    } = conversation;
    let mut body = Map::new();
    body.insert("model".into(), request.model.as_str().into());
    body.insert("messages".into(), Value::Array(messages));
    // Left out, it would be true.
    body.insert("stream".into(), stream.into());
    // There is no word for calling none; a model without tools calls none.
    if !request.tools.is_empty() && request.tool_choice != Some(ToolChoice::None) {
        let tools = request.tools.iter().map(|tool| tool_of(tool, &mut dropped));
        body.insert("tools".into(), tools.collect::<Result<_, _>>()?);
    }
    match &request.format {
        Some(Format::Json) => {
            body.insert("format".into(), "json".into());
        }
        Some(Format::Schema { schema, .. }) => {
            body.insert("format".into(), schema.clone());
        }
        None => {}
    }
    if let Some(think) = request.reasoning.as_ref().and_then(think_of) {
        body.insert("think".into(), think);
    }
    let options = options(request);
    if !options.is_empty() {
        body.insert("options".into(), Value::Object(options));
    }
    if request.parallel_tools == Some(false) {
        dropped.push("parallel_tool_calls");
    }
    if request.user.is_some() {
        dropped.push("user");
    }
    if request.protocol == Some(Protocol::Ollama) {
        body.extend(request.extra.clone());
    }
    dropped.sort_unstable();
    dropped.dedup();
    let body = Value::Object(body);
    Ok(Encoded { body, dropped })
}

/// What an answer would be wrong without.
fn refuse(request: &ChatRequest) -> Result<(), WireError> {
    if request.sampling.count.is_some_and(|count| count > 1) {
        return Err(WireError::Unsupported(
            "this provider gives one answer at a time; ask with `n` of 1, several times".into(),
        ));
    }
    match &request.tool_choice {
        Some(ToolChoice::Required | ToolChoice::Named(_)) => Err(WireError::Unsupported(
            "this provider cannot make a model call a tool; set `tool_choice` to `auto` or `none`"
                .into(),
        )),
        Some(ToolChoice::Auto | ToolChoice::None) | None => Ok(()),
    }
}

fn tool_of(tool: &Tool, dropped: &mut Vec<&'static str>) -> Result<Value, WireError> {
    match tool {
        Tool::Function {
            name,
            description,
            parameters,
            strict,
            ..
        } => {
            if *strict == Some(true) {
                dropped.push("strict");
            }
            let mut function = json!({ "name": name });
            if let Some(description) = description {
                function["description"] = description.as_str().into();
            }
            let none = || json!({ "type": "object", "properties": {} });
            function["parameters"] = parameters.clone().unwrap_or_else(none);
            Ok(json!({ "type": "function", "function": function }))
        }
        Tool::Provider {
            protocol: Protocol::Ollama,
            value,
        } => Ok(value.clone()),
        Tool::Provider { .. } => Err(WireError::Unsupported(
            "one of the tools exists at another provider only".into(),
        )),
    }
}

/// Whether the model thinks, or how much in words; tokens cannot be said.
fn think_of(reasoning: &Reasoning) -> Option<Value> {
    match (reasoning.effort.as_deref(), reasoning.tokens) {
        (Some("none"), _) | (None, Some(0)) => Some(false.into()),
        (Some("minimal" | "low"), _) => Some("low".into()),
        (Some("medium"), _) => Some("medium".into()),
        (Some("high"), _) => Some("high".into()),
        (Some("xhigh" | "max"), _) => Some("max".into()),
        (Some(_), _) | (None, Some(_)) => Some(true.into()),
        (None, None) => reasoning.summary.as_ref().map(|_| true.into()),
    }
}

fn options(request: &ChatRequest) -> Map<String, Value> {
    let mut options = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            options.insert(name.to_owned(), value);
        }
    };
    let sampling = &request.sampling;
    set("num_predict", request.max_tokens.map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    set("top_k", sampling.top_k.map(Value::from));
    set("seed", sampling.seed.map(Value::from));
    set(
        "presence_penalty",
        sampling.presence_penalty.map(Value::from),
    );
    set(
        "frequency_penalty",
        sampling.frequency_penalty.map(Value::from),
    );
    let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
    set("stop", stop.map(|stop| json!(stop)));
    options
}
