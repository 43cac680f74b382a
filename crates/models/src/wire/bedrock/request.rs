//! Requests, for Bedrock.

use serde_json::{Map, Value, json};

use super::message::{Conversation, cache_point, is_kept};
use super::{Converse, is_claude};
use crate::chat::{ChatRequest, Format, Part, Protocol, Reasoning, Sampling, Tool, ToolChoice};
use crate::wire::anthropic::{carried, close_schema, object_schema};
use crate::wire::{Encoded, WireError};

/// Writes a request.
pub(super) fn encode(wire: &Converse, request: &ChatRequest) -> Result<Encoded, WireError> {
    if request.sampling.count.is_some_and(|count| count > 1) {
        return Err(WireError::Unsupported(
            "this provider gives one answer at a time; ask with `n` of 1, several times".into(),
        ));
    }
    let mut conversation = Conversation::new(&request.model, wire.caches);
    for message in &request.messages {
        conversation.message(message)?;
    }
    let (system, messages, mut dropped) = conversation.finish()?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("system", (!system.is_empty()).then_some(system.into()));
    set("messages", Some(messages.into()));
    let settings = settings(wire.max_tokens, request, &mut dropped)?;
    set("inferenceConfig", inference(&settings));
    set("toolConfig", tools(wire, request, &mut dropped)?);
    set("outputConfig", output(request)?);
    let more = settings.more;
    let name = "additionalModelRequestFields";
    set(name, (!more.is_empty()).then_some(Value::Object(more)));
    if request.parallel_tools == Some(false) {
        dropped.push("parallel_tool_calls");
    }
    if request.user.is_some() {
        dropped.push("user");
    }
    dropped.sort_unstable();
    dropped.dedup();
    let body = Value::Object(body);
    Ok(Encoded { body, dropped })
}

/// How an answer is made.
struct Settings {
    max_tokens: Option<u64>,
    sampling: Sampling,
    /// What only the model's maker understands.
    more: Map<String, Value>,
}

fn settings(
    fallback: u64,
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<Settings, WireError> {
    if is_claude(&request.model) {
        let carried = carried(fallback, request, dropped)?;
        return Ok(Settings {
            max_tokens: Some(carried.max_tokens),
            sampling: carried.sampling,
            more: carried.fields,
        });
    }
    let sampling = request.sampling.clone();
    for (name, said) in [
        ("top_k", sampling.top_k.is_some()),
        ("seed", sampling.seed.is_some()),
        ("frequency_penalty", sampling.frequency_penalty.is_some()),
        ("presence_penalty", sampling.presence_penalty.is_some()),
    ] {
        if said {
            dropped.push(name);
        }
    }
    let mut more = Map::new();
    if let Some(reasoning) = &request.reasoning {
        let field = thinking(request, reasoning, dropped);
        more.extend(field.map(|(name, value)| (name.to_owned(), value)));
    }
    Ok(Settings {
        max_tokens: request.max_tokens,
        sampling,
        more,
    })
}

/// How much a model thinks, in its maker's words: those of `OpenAI`'s open models and of Amazon's
/// Nova 2.
fn thinking(
    request: &ChatRequest,
    reasoning: &Reasoning,
    dropped: &mut Vec<&'static str>,
) -> Option<(&'static str, Value)> {
    let effort = match (reasoning.effort.as_deref(), reasoning.tokens) {
        (Some("none"), _) | (None, Some(0)) => "none",
        (Some("minimal" | "low"), _) | (None, Some(..=2_047)) => "low",
        (Some("high" | "xhigh" | "max"), _) | (None, Some(8_192..)) => "high",
        (Some(_), _) | (None, Some(_)) => "medium",
        (None, None) => return None,
    };
    let (nova, open) = (
        request.model.contains("nova-2"),
        request.model.contains("gpt-oss"),
    );
    match effort {
        "none" if nova => Some(("reasoningConfig", json!({ "type": "disabled" }))),
        effort if nova => {
            // The most is taken only where nothing else is set.
            let sampling = &request.sampling;
            let set = request.max_tokens.is_some()
                || sampling.temperature.is_some()
                || sampling.top_p.is_some();
            let less = effort == "high" && set;
            dropped.extend(less.then_some("reasoning"));
            let effort = if less { "medium" } else { effort };
            let config = json!({ "type": "enabled", "maxReasoningEffort": effort });
            Some(("reasoningConfig", config))
        }
        effort if open && effort != "none" => Some(("reasoning_effort", effort.into())),
        _ => {
            dropped.push("reasoning");
            None
        }
    }
}

fn inference(settings: &Settings) -> Option<Value> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    let sampling = &settings.sampling;
    set("maxTokens", settings.max_tokens.map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("topP", sampling.top_p.map(Value::from));
    let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
    set("stopSequences", stop.map(|stop| json!(stop)));
    (!config.is_empty()).then_some(Value::Object(config))
}

/// The tools, and whether they are called.
fn tools(
    wire: &Converse,
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<Option<Value>, WireError> {
    if request.tools.is_empty() {
        return Ok(None);
    }
    let choice = match &request.tool_choice {
        None => None,
        Some(ToolChoice::Auto) => Some(json!({ "auto": {} })),
        Some(ToolChoice::Required) => Some(json!({ "any": {} })),
        Some(ToolChoice::Named(name)) => Some(json!({ "tool": { "name": name } })),
        // There is no word for calling none. A model without tools calls none, but a conversation
        // in which some were called is refused without them.
        Some(ToolChoice::None) if has_calls(request) => {
            dropped.push("tool_choice");
            None
        }
        Some(ToolChoice::None) => return Ok(None),
    };
    let mut tools = Vec::with_capacity(request.tools.len());
    for one in &request.tools {
        tools.push(tool(one)?);
        let Tool::Function { opaque, .. } = one else {
            continue;
        };
        if wire.caches && is_claude(&request.model) && is_kept(opaque) {
            tools.push(cache_point());
        }
    }
    let mut config = json!({ "tools": tools });
    if let Some(choice) = choice {
        config["toolChoice"] = choice;
    }
    Ok(Some(config))
}

fn has_calls(request: &ChatRequest) -> bool {
    let mut parts = request.messages.iter().flat_map(|message| &message.parts);
    parts.any(|part| matches!(part, Part::ToolCall { .. } | Part::ToolResult { .. }))
}

fn tool(tool: &Tool) -> Result<Value, WireError> {
    let Tool::Function {
        name,
        description,
        parameters,
        strict,
        ..
    } = tool
    else {
        return Err(WireError::Unsupported(
            "one of the tools exists at another provider only".into(),
        ));
    };
    let mut spec = json!({ "name": name });
    if let Some(description) = description.as_ref().filter(|text| !text.is_empty()) {
        spec["description"] = description.as_str().into();
    }
    spec["inputSchema"] = json!({ "json": object_schema(parameters.as_ref()) });
    if *strict == Some(true) {
        spec["strict"] = true.into();
    }
    Ok(json!({ "toolSpec": spec }))
}

/// What the answer must look like; a schema travels as a text, and its objects must say that they
/// have no further fields.
fn output(request: &ChatRequest) -> Result<Option<Value>, WireError> {
    let (name, description, schema) = match &request.format {
        None => return Ok(None),
        Some(Format::Json) => {
            return Err(WireError::Unsupported(
                "this provider promises JSON only where it has a schema: give one with the type \
                 `json_schema`, or ask for JSON in words"
                    .into(),
            ));
        }
        Some(Format::Schema {
            name,
            description,
            schema,
            ..
        }) => (name, description, schema),
    };
    let mut schema = schema.clone();
    if request.protocol != Some(Protocol::Anthropic) {
        close_schema(&mut schema);
    }
    let mut definition = json!({ "schema": schema.to_string(), "name": name });
    if let Some(description) = description {
        definition["description"] = description.as_str().into();
    }
    let format = json!({ "type": "json_schema", "structure": { "jsonSchema": definition } });
    Ok(Some(json!({ "textFormat": format })))
}
