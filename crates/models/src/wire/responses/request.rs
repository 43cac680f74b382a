//! Requests, in both directions.

use serde_json::{Map, Value, json};

use super::input::{self, Telling};
use super::item::{self, FAMILY};
use crate::chat::{
    ChatRequest, Format, Message, Opaque, Part, Protocol, Reasoning, Role, Sampling, Tool,
    ToolChoice,
};
use crate::wire::openai::effort;
use crate::wire::{Asked, Delivery, Encoded, Fields, WireError, fields};

/// What makes thoughts come with their proof.
const PROOF: &str = "reasoning.encrypted_content";

/// Reads what a client asks.
pub(super) fn decode(body: Value) -> Result<Asked, WireError> {
    let mut body = fields(body)?;
    remembered(&mut body)?;
    let model = body.need_text("model")?;
    let messages = conversation(&mut body)?;
    let delivery = match body.flag("stream")? {
        Some(true) => Delivery::Stream,
        _ => Delivery::Whole,
    };
    // It only says how a stream is padded, and ours is not.
    body.any("stream_options");
    let mut beside = Map::new();
    let format = body
        .inside("text", |text| {
            let (format, rest) = format(text)?;
            if !rest.is_empty() {
                beside.insert("text".into(), Value::Object(rest));
            }
            Ok(format)
        })?
        .flatten();
    let reasoning = body.inside("reasoning", |mut reasoning| {
        let read = Reasoning {
            effort: reasoning.text("effort")?,
            tokens: None,
            summary: match reasoning.text("summary")? {
                Some(summary) => Some(summary),
                None => reasoning.text("generate_summary")?,
            },
        };
        let rest = said(reasoning.rest());
        if !rest.is_empty() {
            beside.insert("reasoning".into(), Value::Object(rest));
        }
        Ok(read)
    })?;
    let tools = body.each("tools", tool)?;
    let tool_choice = choice(&mut body, &mut beside)?;
    let parallel_tools = body.flag("parallel_tool_calls")?;
    let max_tokens = body.whole("max_output_tokens")?;
    let sampling = Sampling {
        temperature: body.number("temperature")?,
        top_p: body.number("top_p")?,
        ..Sampling::default()
    };
    let identifier = body.text("safety_identifier")?;
    if let Some(identifier) = &identifier {
        beside.insert("safety_identifier".into(), identifier.as_str().into());
    }
    let user = body.text("user")?.or(identifier);
    let mut extra = said(body.rest());
    extra.extend(beside);
    let request = ChatRequest {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tools,
        format,
        max_tokens,
        sampling,
        reasoning,
        user,
        extra,
        protocol: Some(Protocol::OpenaiResponses),
    };
    Ok(Asked { request, delivery })
}

fn said(mut fields: Map<String, Value>) -> Map<String, Value> {
    fields.retain(|_, value| !value.is_null());
    fields
}

/// Refuses what only a server with a memory can do: an answer without it would be another.
fn remembered(body: &mut Fields) -> Result<(), WireError> {
    let refused = [
        (
            "previous_response_id",
            "earlier answers are not kept here: send the whole conversation as `input`, with the \
             items of earlier answers, instead of `previous_response_id`",
        ),
        (
            "conversation",
            "conversations are not kept here: send the whole conversation as `input` instead of \
             `conversation`",
        ),
        (
            "prompt",
            "prompts are not kept here: send their words as `instructions` or `input` instead of \
             `prompt`",
        ),
    ];
    for (name, why) in refused {
        if body.any(name).is_some() {
            return Err(WireError::Unsupported(why.into()));
        }
    }
    if body.flag("background")? == Some(true) {
        return Err(WireError::Unsupported(
            "answers are not kept here, so none can be written in the background: leave \
             `background` out"
                .into(),
        ));
    }
    Ok(())
}

fn conversation(body: &mut Fields) -> Result<Vec<Message>, WireError> {
    let mut messages = Vec::new();
    if let Some(text) = body.text("instructions")? {
        messages.push(Message::text(Role::System, text));
    }
    let before = messages.len();
    match body.any("input") {
        None => {}
        Some(Value::String(text)) => messages.push(Message::text(Role::User, text)),
        Some(Value::Array(items)) => {
            for (index, item) in items.into_iter().enumerate() {
                let read = item::heard(item, &mut messages);
                read.map_err(|error| error.within(&format!("input[{index}]")))?;
            }
        }
        Some(_) => return Err(WireError::invalid("input", "must be a text or a list")),
    }
    if messages.len() == before {
        return Err(WireError::invalid("input", "must not be empty"));
    }
    Ok(messages)
}

fn tool(value: Value) -> Result<Tool, WireError> {
    if item::kind(&value) != "function" {
        let mut tool = fields(value)?;
        let kind = tool.need_text("type")?;
        let mut value = tool.rest();
        value.insert("type".into(), kind.into());
        return Ok(Tool::Provider {
            protocol: Protocol::OpenaiResponses,
            value: Value::Object(value),
        });
    }
    let mut tool = fields(value)?;
    tool.any("type");
    let name = tool.need_text("name")?;
    let description = tool.text("description")?;
    let parameters = tool.any("parameters");
    let strict = tool.flag("strict")?;
    let mut opaque = Opaque::default();
    if let Some(mark) = tool.any("cache_control") {
        opaque.set("anthropic", "cache_control", mark);
    }
    for (name, value) in said(tool.rest()) {
        opaque.set(FAMILY, &name, value);
    }
    Ok(Tool::Function {
        name,
        description,
        parameters,
        strict,
        opaque,
    })
}

fn choice(
    body: &mut Fields,
    beside: &mut Map<String, Value>,
) -> Result<Option<ToolChoice>, WireError> {
    let refused = || WireError::invalid("tool_choice", "is no way to choose a tool");
    let Some(value) = body.any("tool_choice") else {
        return Ok(None);
    };
    // A choice of several tools has its word in `mode`.
    let word = value.as_str().or_else(|| value["mode"].as_str());
    let choice = match (word, value["type"].as_str()) {
        (Some("auto"), _) => Some(ToolChoice::Auto),
        (Some("none"), _) => Some(ToolChoice::None),
        (Some("required"), _) => Some(ToolChoice::Required),
        (None, Some("function")) => {
            let name = value["name"].as_str().ok_or_else(refused)?;
            Some(ToolChoice::Named(name.to_owned()))
        }
        (None, Some(_)) => None,
        _ => return Err(refused()),
    };
    if value.is_object() && !matches!(choice, Some(ToolChoice::Named(_))) {
        beside.insert("tool_choice".into(), value);
    }
    Ok(choice)
}

fn format(mut text: Fields) -> Result<(Option<Format>, Map<String, Value>), WireError> {
    let format = text.inside("format", |mut format| {
        match format.need_text("type")?.as_str() {
            "text" => Ok(None),
            "json_object" => Ok(Some(Format::Json)),
            "json_schema" => Ok(Some(Format::Schema {
                name: format.need_text("name")?,
                description: format.text("description")?,
                schema: format.any("schema").unwrap_or_else(|| json!({})),
                strict: format.flag("strict")?,
            })),
            other => Err(WireError::invalid(
                "type",
                format!("is `{other}`, and must be `text`, `json_object` or `json_schema`"),
            )),
        }
    })?;
    Ok((format.flatten(), said(text.rest())))
}

/// Writes a request for a provider.
pub(super) fn encode(request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
    let native = request.protocol == Some(Protocol::OpenaiResponses);
    let mut extra = if native {
        request.extra.clone()
    } else {
        Map::new()
    };
    if request.sampling.count.unwrap_or(1) != 1 {
        return Err(WireError::Unsupported(
            "this provider gives one answer to a request; ask several times for several".into(),
        ));
    }
    let mut body = Map::new();
    body.insert("model".into(), request.model.as_str().into());
    let stored = extra.get("store") == Some(&Value::Bool(true));
    let telling = Telling {
        native,
        openai: native || request.protocol == Some(Protocol::OpenaiChat),
        stored,
    };
    told(telling, &request.messages, &mut body)?;
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(|tool| tool_of(tool, native));
        body.insert("tools".into(), tools.collect::<Result<_, _>>()?);
    }
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    let choice = request.tool_choice.as_ref().map(choice_of);
    set("tool_choice", extra.shift_remove("tool_choice").or(choice));
    set(
        "parallel_tool_calls",
        request.parallel_tools.map(Value::from),
    );
    set("text", text_of(request, extra.shift_remove("text")));
    set(
        "reasoning",
        reasoning_of(request, extra.shift_remove("reasoning")),
    );
    set("max_output_tokens", request.max_tokens.map(Value::from));
    set("temperature", request.sampling.temperature.map(Value::from));
    set("top_p", request.sampling.top_p.map(Value::from));
    let user = request.user.as_deref().map(Value::from);
    set(
        "user",
        user.filter(|user| extra.get("safety_identifier") != Some(user)),
    );
    if stream {
        set("stream", Some(true.into()));
    }
    set("include", include(request, stored, &mut extra));
    set("store", Some(false.into()));
    body.extend(extra);
    Ok(Encoded {
        body: Value::Object(body),
        dropped: dropped(request),
    })
}

/// Instructions that stand alone at the beginning have a field of their own.
fn told(
    telling: Telling,
    messages: &[Message],
    body: &mut Map<String, Value>,
) -> Result<(), WireError> {
    let mut rest = messages;
    if let Some((first, after)) = messages.split_first()
        && first.role == Role::System
        && let [Part::Text { text, opaque }] = first.parts.as_slice()
        && item::own(opaque).is_empty()
        && !after.is_empty()
    {
        body.insert("instructions".into(), text.as_str().into());
        rest = after;
    }
    let mut items = Vec::with_capacity(rest.len());
    for message in rest {
        input::encode(telling, message, &mut items)?;
    }
    body.insert("input".into(), Value::Array(items));
    Ok(())
}

fn dropped(request: &ChatRequest) -> Vec<&'static str> {
    let sampling = &request.sampling;
    let named = request
        .messages
        .iter()
        .any(|message| message.name.is_some());
    let asked = [
        (sampling.top_k.is_some(), "top_k"),
        (sampling.seed.is_some(), "seed"),
        (sampling.frequency_penalty.is_some(), "frequency_penalty"),
        (sampling.presence_penalty.is_some(), "presence_penalty"),
        (!sampling.stop.is_empty(), "stop"),
        (named, "name"),
    ];
    let asked = asked.into_iter().filter(|(asked, _)| *asked);
    asked.map(|(_, name)| name).collect()
}

/// Asks for the proofs of thoughts, which nobody keeps for the asker; models that do not think
/// refuse to be asked.
fn include(request: &ChatRequest, stored: bool, extra: &mut Map<String, Value>) -> Option<Value> {
    let mut include = match extra.shift_remove("include") {
        Some(Value::Array(include)) => include,
        Some(other) => return Some(other),
        None => Vec::new(),
    };
    if !stored && thinks(&request.model) && !include.iter().any(|one| one == PROOF) {
        include.push(PROOF.into());
    }
    (!include.is_empty()).then_some(Value::Array(include))
}

/// Whether a model may think, by its name; an unknown one may.
fn thinks(model: &str) -> bool {
    let name = model.rsplit('/').next().unwrap_or(model);
    let name = name.strip_prefix("ft:").unwrap_or(name);
    let silent = ["gpt-3", "gpt-4", "chatgpt-"];
    let chats = name.starts_with("gpt-5") && name.contains("-chat");
    !chats && !silent.iter().any(|silent| name.starts_with(silent))
}

fn tool_of(tool: &Tool, native: bool) -> Result<Value, WireError> {
    match tool {
        Tool::Function {
            name,
            description,
            parameters,
            strict,
            opaque,
        } => {
            let mut function = json!({ "type": "function", "name": name });
            if let Some(description) = description {
                function["description"] = description.as_str().into();
            }
            let nothing = || json!({ "type": "object", "properties": {} });
            function["parameters"] = parameters.clone().unwrap_or_else(nothing);
            // This protocol alone takes a tool that says nothing for a strict one.
            if let Some(strict) = strict.or((!native).then_some(false)) {
                function["strict"] = strict.into();
            }
            for (name, value) in item::own(opaque) {
                function[name.as_str()] = value;
            }
            Ok(function)
        }
        Tool::Provider {
            protocol: Protocol::OpenaiResponses,
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
        ToolChoice::Named(name) => json!({ "type": "function", "name": name }),
    }
}

fn text_of(request: &ChatRequest, beside: Option<Value>) -> Option<Value> {
    let mut text = match beside {
        Some(Value::Object(text)) => text,
        _ => Map::new(),
    };
    match &request.format {
        None => {}
        Some(Format::Json) => {
            text.insert("format".into(), json!({ "type": "json_object" }));
        }
        Some(Format::Schema {
            name,
            description,
            schema,
            strict,
        }) => {
            let mut format = json!({ "type": "json_schema", "name": name, "schema": schema });
            if let Some(description) = description {
                format["description"] = description.as_str().into();
            }
            if let Some(strict) = strict {
                format["strict"] = (*strict).into();
            }
            text.insert("format".into(), format);
        }
    }
    (!text.is_empty()).then_some(Value::Object(text))
}

fn reasoning_of(request: &ChatRequest, beside: Option<Value>) -> Option<Value> {
    let mut map = match beside {
        Some(Value::Object(map)) => map,
        _ => Map::new(),
    };
    if let Some(reasoning) = &request.reasoning {
        if let Some(effort) = effort(reasoning) {
            map.insert("effort".into(), effort.into());
        }
        if let Some(summary) = &reasoning.summary {
            map.insert("summary".into(), summary.as_str().into());
        }
    }
    (!map.is_empty()).then_some(Value::Object(map))
}
