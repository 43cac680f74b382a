//! Answers as a whole, in both directions.

use serde_json::{Map, Value, json};

use super::message;
use crate::chat::{ChatAnswer, Choice, Finish, Part, Protocol};
use crate::usage::Usage;
use crate::wire::{Complaint, Fields, WireError, fields};

/// Reads a provider's answer.
pub(super) fn decode(body: Value) -> Result<ChatAnswer, WireError> {
    let mut body = fields(body)?;
    if let Some(mut error) = body.object("error")? {
        return Err(told(&mut error));
    }
    let mut choices: Vec<(u64, Choice)> = body.each("choices", choice)?;
    if choices.is_empty() {
        return Err(WireError::invalid("choices", "must not be empty"));
    }
    choices.sort_by_key(|(index, _)| *index);
    let answer = ChatAnswer {
        id: body.text("id")?.unwrap_or_default(),
        model: body.text("model")?.unwrap_or_default(),
        choices: choices.into_iter().map(|(_, choice)| choice).collect(),
        usage: body.inside("usage", usage)?,
        extra: Map::new(),
        protocol: None,
    };
    let extra = extra(body);
    Ok(ChatAnswer {
        protocol: (!extra.is_empty()).then_some(Protocol::OpenaiChat),
        extra,
        ..answer
    })
}

/// What an answer, or a piece of one, has beside what every protocol has.
pub(super) fn extra(mut body: Fields) -> Map<String, Value> {
    for name in ["object", "created"] {
        body.any(name);
    }
    let mut rest = body.rest();
    rest.retain(|_, value| !value.is_null());
    rest
}

fn choice(value: Value) -> Result<(u64, Choice), WireError> {
    let mut choice = fields(value)?;
    let index = choice.whole("index")?.unwrap_or(0);
    let parts = choice.inside("message", |mut message| message::said(&mut message))?;
    let parts = parts.ok_or_else(|| WireError::invalid("message", "is missing"))?;
    let finish = choice.text("finish_reason")?;
    let finish = finish.map_or(Finish::Stop, finish_from);
    let choice = Choice {
        finish: refused(finish, &parts),
        parts,
        logprobs: choice.any("logprobs"),
    };
    Ok((index, choice))
}

/// A refusal ends with `stop`; its part says what it is.
pub(super) fn refused(finish: Finish, parts: &[Part]) -> Finish {
    let refuses = parts
        .iter()
        .any(|part| matches!(part, Part::Refusal { .. }));
    if refuses && finish == Finish::Stop {
        return Finish::Refusal;
    }
    finish
}

/// Reads why an answer ends.
pub(super) fn finish_from(word: String) -> Finish {
    match word.as_str() {
        "stop" => Finish::Stop,
        "length" => Finish::Length,
        "tool_calls" | "function_call" => Finish::Tools,
        "content_filter" => Finish::Filter,
        _ => Finish::Other(word),
    }
}

/// Writes why an answer ends.
pub(super) fn finish_of(finish: &Finish) -> &str {
    match finish {
        Finish::Stop | Finish::StopText(_) | Finish::Refusal => "stop",
        Finish::Length => "length",
        Finish::Tools => "tool_calls",
        Finish::Filter => "content_filter",
        Finish::Other(word) => word,
    }
}

/// Reads what was used.
pub(super) fn usage(mut usage: Fields) -> Result<Usage, WireError> {
    let input = usage.whole("prompt_tokens")?.unwrap_or(0);
    let total = usage.whole("total_tokens")?;
    let output = usage.whole("completion_tokens")?;
    let output = output.unwrap_or_else(|| total.unwrap_or(input).saturating_sub(input));
    let cached = usage.inside("prompt_tokens_details", |mut details| {
        Ok((
            details.whole("cached_tokens")?,
            details.whole("cache_write_tokens")?,
        ))
    })?;
    let reasoning = usage.inside("completion_tokens_details", |mut details| {
        details.whole("reasoning_tokens")
    })?;
    let (read, written) = cached.unwrap_or_default();
    // DeepSeek's word for it.
    let read = match read {
        Some(read) => Some(read),
        None => usage.whole("prompt_cache_hit_tokens")?,
    };
    Ok(Usage {
        input,
        output,
        cache_read: read.unwrap_or(0).min(input),
        cache_write: written.unwrap_or(0).min(input),
        reasoning: reasoning.flatten().unwrap_or(0).min(output),
        tools: 0,
    })
}

/// Writes what was used.
pub(super) fn usage_of(usage: &Usage) -> Value {
    let mut prompt = json!({ "cached_tokens": usage.cache_read });
    if usage.cache_write > 0 {
        prompt["cache_write_tokens"] = usage.cache_write.into();
    }
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total(),
        "prompt_tokens_details": prompt,
        "completion_tokens_details": { "reasoning_tokens": usage.reasoning },
    })
}

/// What an error inside an answer says.
pub(super) fn told(error: &mut Fields) -> WireError {
    let message = error.text("message").ok().flatten().unwrap_or_default();
    let kind = error.text("type").ok().flatten();
    WireError::Told {
        kind: kind.unwrap_or_else(|| "error".to_owned()),
        message,
    }
}

/// What an error's body says.
pub(super) fn complaint(body: &Value) -> Option<Complaint> {
    let error = body.get("error").unwrap_or(body);
    if let Some(message) = error.as_str() {
        return Some(Complaint {
            status: 0,
            kind: "error".into(),
            code: None,
            message: message.to_owned(),
        });
    }
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Complaint {
        status: 0,
        kind: text("type").unwrap_or_else(|| "error".into()),
        code: text("code"),
        message: text("message")?,
    })
}

/// Writes an answer for a client.
pub(super) fn encode(answer: &ChatAnswer, created: u64) -> Value {
    let choices = answer.choices.iter().enumerate().map(|(index, choice)| {
        let message = message::message_of(&choice.parts, true).unwrap_or_default();
        let mut message = Value::Object(message);
        if message.get("refusal").is_none() {
            message["refusal"] = Value::Null;
        }
        json!({
            "index": index,
            "message": message,
            "logprobs": choice.logprobs,
            "finish_reason": finish_of(&choice.finish),
        })
    });
    let mut body = json!({
        "id": answer.id,
        "object": "chat.completion",
        "created": created,
        "model": answer.model,
        "choices": choices.collect::<Vec<_>>(),
        "usage": usage_of(&answer.usage.unwrap_or_default()),
    });
    if answer.protocol == Some(Protocol::OpenaiChat) {
        for (name, value) in &answer.extra {
            body[name.as_str()] = value.clone();
        }
    }
    body
}
