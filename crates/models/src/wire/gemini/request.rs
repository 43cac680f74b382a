//! Requests, for Google.

use serde_json::{Map, Value, json};

use super::message::Conversation;
use super::thinking;
use crate::chat::{ChatRequest, Format, Protocol, Tool, ToolChoice};
use crate::wire::{Encoded, WireError};

/// Writes a request.
pub(super) fn encode(request: &ChatRequest) -> Result<Encoded, WireError> {
    let mut conversation = Conversation::new(thinking::generation(&request.model));
    for message in &request.messages {
        conversation.message(message)?;
    }
    let Conversation {
        instructions,
        contents,
        mut dropped,
        ..
    } = conversation;
    if contents.is_empty() {
        let why = "say nothing that could be answered; instructions alone are not enough here";
        return Err(WireError::invalid("messages", why));
    }
    let mut body = Map::new();
    if !instructions.is_empty() {
        body.insert("systemInstruction".into(), json!({ "parts": instructions }));
    }
    body.insert("contents".into(), Value::Array(contents));
    let (tools, functions) = tools(request, &mut dropped)?;
    if !tools.is_empty() {
        body.insert("tools".into(), Value::Array(tools));
    }
    if let Some(choice) = request.tool_choice.as_ref().filter(|_| functions) {
        let choice = json!({ "functionCallingConfig": choice_of(choice) });
        body.insert("toolConfig".into(), choice);
    }
    let config = config(request, &mut dropped);
    if !config.is_empty() {
        body.insert("generationConfig".into(), Value::Object(config));
    }
    if request.parallel_tools == Some(false) {
        dropped.push("parallel_tool_calls");
    }
    if request.user.is_some() {
        dropped.push("user");
    }
    if request.protocol == Some(Protocol::Gemini) {
        body.extend(request.extra.clone());
    }
    dropped.sort_unstable();
    dropped.dedup();
    let body = Value::Object(body);
    Ok(Encoded { body, dropped })
}

/// The tools, and whether there are functions among them.
fn tools(
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<(Vec<Value>, bool), WireError> {
    let (mut functions, mut tools) = (Vec::new(), Vec::new());
    for tool in &request.tools {
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
                // The older field, `parameters`, knows only some words of JSON schema. A schema that
                // says nothing is refused; it must be one of an object.
                if let Some(parameters) = parameters.as_ref().filter(|it| **it != json!({})) {
                    function["parametersJsonSchema"] = parameters.clone();
                }
                if *strict == Some(true) {
                    dropped.push("strict");
                }
                functions.push(function);
            }
            Tool::Provider {
                protocol: Protocol::Gemini,
                value,
            } => tools.push(value.clone()),
            Tool::Provider { .. } => {
                return Err(WireError::Unsupported(
                    "one of the tools exists at another provider only".into(),
                ));
            }
        }
    }
    let any = !functions.is_empty();
    if any {
        tools.insert(0, json!({ "functionDeclarations": functions }));
    }
    Ok((tools, any))
}

fn choice_of(choice: &ToolChoice) -> Value {
    match choice {
        ToolChoice::Auto => json!({ "mode": "AUTO" }),
        ToolChoice::None => json!({ "mode": "NONE" }),
        ToolChoice::Required => json!({ "mode": "ANY" }),
        ToolChoice::Named(name) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
    }
}

fn config(request: &ChatRequest, dropped: &mut Vec<&'static str>) -> Map<String, Value> {
    let mut config = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            config.insert(name.to_owned(), value);
        }
    };
    let sampling = &request.sampling;
    set("maxOutputTokens", request.max_tokens.map(Value::from));
    set("temperature", sampling.temperature.map(Value::from));
    set("topP", sampling.top_p.map(Value::from));
    set("topK", sampling.top_k.map(Value::from));
    // Seeds have 32 bits there.
    match sampling.seed.map(i32::try_from) {
        Some(Ok(seed)) => set("seed", Some(seed.into())),
        Some(Err(_)) => dropped.push("seed"),
        None => {}
    }
    set(
        "presencePenalty",
        sampling.presence_penalty.map(Value::from),
    );
    set(
        "frequencyPenalty",
        sampling.frequency_penalty.map(Value::from),
    );
    let stop = Some(&sampling.stop).filter(|stop| !stop.is_empty());
    set("stopSequences", stop.map(|stop| json!(stop)));
    set("candidateCount", sampling.count.map(Value::from));
    if let Some(format) = &request.format {
        set("responseMimeType", Some("application/json".into()));
        if let Format::Schema { schema, .. } = format {
            set("responseJsonSchema", Some(schema.clone()));
        }
    }
    if let Some(reasoning) = &request.reasoning {
        let thinking = thinking::config(&request.model, reasoning, dropped);
        set("thinkingConfig", thinking);
    }
    config
}
