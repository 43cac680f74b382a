//! Requests, in both directions.

use serde_json::{Map, Value, json};

use super::model::Model;
use super::thinking::Thinking;
use super::{message, thinking, tools};
use crate::chat::{ChatRequest, Format, Protocol, Sampling};
use crate::wire::{Asked, Delivery, Encoded, Fields, WireError, fields};

/// Reads what a client asks.
pub(super) fn decode(body: Value) -> Result<Asked, WireError> {
    let mut body = fields(body)?;
    let model = body.need_text("model")?;
    let said = body.each("messages", message::decode)?;
    if said.is_empty() {
        return Err(WireError::invalid("messages", "must not be empty"));
    }
    let mut messages: Vec<_> = message::system(&mut body)?.into_iter().collect();
    messages.extend(said.into_iter().flatten());
    let delivery = match body.flag("stream")? {
        Some(true) => Delivery::Stream,
        Some(false) | None => Delivery::Whole,
    };
    let tools = body.each("tools", tools::decode)?;
    let (tool_choice, parallel_tools) = tools::choice(&mut body)?;
    let sampling = Sampling {
        temperature: body.number("temperature")?,
        top_p: body.number("top_p")?,
        top_k: body.whole("top_k")?,
        stop: body.texts("stop_sequences")?,
        ..Sampling::default()
    };
    let max_tokens = body.whole("max_tokens")?;
    let mut beside = Map::new();
    let user = body.inside("metadata", |mut metadata| {
        let user = metadata.text("user_id")?;
        keep(&mut beside, "metadata", metadata.rest());
        Ok(user)
    })?;
    let configured = body.inside("output_config", |mut config| {
        let format = config.inside("format", format)?;
        keep(&mut beside, "output_config", config.rest());
        Ok(format)
    })?;
    // Its name before it was documented for everybody.
    let earlier = body.inside("output_format", format)?;
    let mut extra = body.rest();
    extra.extend(beside);
    let request = ChatRequest {
        model,
        messages,
        tools,
        tool_choice,
        parallel_tools,
        format: configured.flatten().or(earlier),
        max_tokens,
        sampling,
        reasoning: thinking::decode(&extra),
        user: user.flatten(),
        extra,
        protocol: Some(Protocol::Anthropic),
    };
    Ok(Asked { request, delivery })
}

fn keep(extra: &mut Map<String, Value>, name: &str, rest: Map<String, Value>) {
    if !rest.is_empty() {
        extra.insert(name.to_owned(), Value::Object(rest));
    }
}

fn format(mut format: Fields) -> Result<Format, WireError> {
    let kind = format.need_text("type")?;
    if kind != "json_schema" {
        let why = format!("is `{kind}`, and must be `json_schema`");
        return Err(WireError::invalid("type", why));
    }
    let schema = format.any("schema");
    Ok(Format::Schema {
        // Schemas have no names here, and must have one elsewhere.
        name: "answer".into(),
        description: None,
        schema: schema.ok_or_else(|| WireError::invalid("schema", "is missing"))?,
        strict: Some(true),
    })
}

/// Writes a request for the provider. `fallback` is the most tokens where the asker said none.
pub(super) fn encode(
    fallback: u64,
    request: &ChatRequest,
    stream: bool,
) -> Result<Encoded, WireError> {
    if request.sampling.count.is_some_and(|count| count > 1) {
        return Err(WireError::Unsupported(
            "this provider gives one answer at a time: ask several times for several".into(),
        ));
    }
    let mut dropped = Vec::new();
    let talk = message::encode(request, &mut dropped)?;
    let thinking = thinking::encode(fallback, request, &mut dropped)?;
    let mut body = Map::new();
    let mut set = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            body.insert(name.to_owned(), value);
        }
    };
    set("model", Some(request.model.as_str().into()));
    set("max_tokens", Some(thinking.max_tokens.into()));
    set("system", talk.system);
    set("messages", Some(talk.messages.into()));
    if !request.tools.is_empty() {
        let tools = request.tools.iter().map(tools::encode);
        set("tools", Some(tools.collect::<Result<_, _>>()?));
    }
    set("tool_choice", tools::choice_of(request));
    set("output_config", output(request, &thinking)?);
    set("metadata", metadata(request));
    let stop = &request.sampling.stop;
    set("stop_sequences", (!stop.is_empty()).then(|| json!(stop)));
    let sampling = sampling(request, &thinking, &mut dropped);
    set("temperature", sampling.temperature.map(Value::from));
    set("top_p", sampling.top_p.map(Value::from));
    set("top_k", sampling.top_k.map(Value::from));
    set("thinking", thinking.field);
    set("stream", stream.then(|| true.into()));
    if request.protocol == Some(Protocol::Anthropic) {
        let told = ["thinking", "output_config", "metadata"];
        for (name, value) in &request.extra {
            if !told.contains(&name.as_str()) {
                body.entry(name.as_str()).or_insert_with(|| value.clone());
            }
        }
    }
    dropped.sort_unstable();
    dropped.dedup();
    let body = Value::Object(body);
    Ok(Encoded { body, dropped })
}

/// A field of this name as the client sent it, which is to be completed.
fn begun(request: &ChatRequest, name: &str) -> Map<String, Value> {
    let own = request.protocol == Some(Protocol::Anthropic);
    match request.extra.get(name).filter(|_| own) {
        Some(Value::Object(map)) => map.clone(),
        _ => Map::new(),
    }
}

fn metadata(request: &ChatRequest) -> Option<Value> {
    let mut map = begun(request, "metadata");
    if let Some(user) = &request.user {
        map.insert("user_id".into(), user.as_str().into());
    }
    (!map.is_empty()).then_some(Value::Object(map))
}

fn output(request: &ChatRequest, thinking: &Thinking) -> Result<Option<Value>, WireError> {
    let mut map = begun(request, "output_config");
    map.shift_remove("effort");
    if let Some(effort) = &thinking.effort {
        map.insert("effort".into(), effort.as_str().into());
    }
    match &request.format {
        None => {}
        Some(Format::Json) => {
            return Err(WireError::Unsupported(
                "this provider promises JSON only where it has a schema: give one with the type \
                 `json_schema`, or ask for JSON in words"
                    .into(),
            ));
        }
        Some(Format::Schema { schema, .. }) => {
            let mut schema = schema.clone();
            if request.protocol != Some(Protocol::Anthropic) {
                close(&mut schema);
            }
            let format = json!({ "type": "json_schema", "schema": schema });
            map.insert("format".into(), format);
        }
    }
    Ok((!map.is_empty()).then_some(Value::Object(map)))
}

/// The provider takes schemas only whose objects say that they have no further fields, and other
/// protocols do not ask for that.
pub(crate) fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            let object = map.get("type").is_some_and(|kind| kind == "object");
            if object && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), false.into());
            }
            for (name, value) in map.iter_mut() {
                match (name.as_str(), value) {
                    // Here every name is one of the asker's, and every value a schema.
                    ("properties" | "$defs" | "definitions", Value::Object(named)) => {
                        named.values_mut().for_each(close);
                    }
                    ("items" | "anyOf" | "allOf" | "oneOf" | "prefixItems", inner) => close(inner),
                    _ => {}
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}

/// What can be said of how the next token is chosen. Who speaks the provider's protocol knows its
/// limits; for others what it would refuse is left out.
pub(super) fn sampling(
    request: &ChatRequest,
    thinking: &Thinking,
    dropped: &mut Vec<&'static str>,
) -> Sampling {
    let mut sampling = request.sampling.clone();
    let mut leave = |name: &'static str, left: bool| {
        if left {
            dropped.push(name);
        }
        left
    };
    leave("seed", sampling.seed.is_some());
    leave("frequency_penalty", sampling.frequency_penalty.is_some());
    leave("presence_penalty", sampling.presence_penalty.is_some());
    if request.protocol == Some(Protocol::Anthropic) {
        return sampling;
    }
    let thinks = thinking.happens() || !Model::named(&request.model).samples;
    if leave("temperature", thinks && sampling.temperature.is_some()) {
        sampling.temperature = None;
    }
    if leave("top_k", thinks && sampling.top_k.is_some()) {
        sampling.top_k = None;
    }
    // Its temperatures end at 1, and a model takes one of the two.
    let either = thinks || sampling.temperature.is_some();
    if leave("top_p", either && sampling.top_p.is_some()) {
        sampling.top_p = None;
    }
    if leave(
        "temperature",
        sampling.temperature.is_some_and(|heat| heat > 1.0),
    ) {
        sampling.temperature = Some(1.0);
    }
    sampling
}
