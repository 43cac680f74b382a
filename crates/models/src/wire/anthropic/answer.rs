//! Answers as a whole, what they used and why they end, in both directions; and errors.

use serde_json::{Map, Value, json};

use super::block;
use crate::chat::{ChatAnswer, Choice, Finish, Protocol};
use crate::usage::Usage;
use crate::wire::{Complaint, Fields, WireError, fields};

/// Reads a provider's answer.
pub(super) fn decode(body: Value) -> Result<ChatAnswer, WireError> {
    let mut body = fields(body)?;
    if let Some(mut error) = body.object("error")? {
        return Err(told(&mut error));
    }
    let parts = body.each("content", block::decode)?;
    let stop = body.text("stop_sequence")?;
    let finish = body.text("stop_reason")?;
    let finish = finish.map_or(Finish::Stop, |word| finish_from(word, stop));
    let mut counted = Counted::default();
    let counts = body.inside("usage", |usage| counted.update(usage))?;
    let answer = ChatAnswer {
        id: body.text("id")?.unwrap_or_default(),
        model: body.text("model")?.unwrap_or_default(),
        choices: vec![Choice {
            parts,
            finish,
            logprobs: None,
        }],
        usage: counts.is_some().then(|| counted.usage()),
        extra: Map::new(),
        protocol: Some(Protocol::Anthropic),
    };
    let mut extra = extra(body);
    counted.keep(&mut extra);
    Ok(ChatAnswer { extra, ..answer })
}

/// What a message, or a change of one, has beside what every protocol has.
pub(super) fn extra(mut body: Fields) -> Map<String, Value> {
    for name in ["type", "role"] {
        body.any(name);
    }
    let mut rest = body.rest();
    rest.retain(|_, value| !value.is_null());
    rest
}

/// Reads why an answer ends.
pub(super) fn finish_from(word: String, stop: Option<String>) -> Finish {
    match word.as_str() {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopText(stop),
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::Tools,
        "refusal" => Finish::Refusal,
        _ => Finish::Other(word),
    }
}

/// Writes why an answer ends, and the asker's text that ended it.
pub(super) fn finish_of(finish: &Finish) -> (&str, Option<&str>) {
    let word = match finish {
        Finish::Stop => "end_turn",
        Finish::StopText(stop) => return ("stop_sequence", stop.as_deref()),
        Finish::Length => "max_tokens",
        Finish::Tools => "tool_use",
        Finish::Refusal | Finish::Filter => "refusal",
        Finish::Other(word) => word,
    };
    (word, None)
}

/// What was counted so far, in the provider's way: input that a cache had, or was put there, is
/// counted apart from the rest.
#[derive(Debug, Default)]
pub(super) struct Counted {
    input: u64,
    read: u64,
    written: u64,
    output: u64,
    thinking: u64,
    rest: Map<String, Value>,
}

impl Counted {
    /// Takes the next count in; a number that it leaves out stays as it was.
    pub(super) fn update(&mut self, mut usage: Fields) -> Result<(), WireError> {
        let numbers = [
            ("input_tokens", &mut self.input),
            ("cache_read_input_tokens", &mut self.read),
            ("cache_creation_input_tokens", &mut self.written),
            ("output_tokens", &mut self.output),
        ];
        for (name, number) in numbers {
            *number = usage.whole(name)?.unwrap_or(*number);
        }
        let thinking = usage.inside("output_tokens_details", |mut details| {
            details.whole("thinking_tokens")
        })?;
        self.thinking = thinking.flatten().unwrap_or(self.thinking);
        let rest = usage.rest().into_iter();
        self.rest.extend(rest.filter(|(_, value)| !value.is_null()));
        Ok(())
    }

    /// How often the provider's own tools were used; the numbers have names that begin with theirs.
    fn tools(&self) -> u64 {
        let uses = self.rest.get("server_tool_use").and_then(Value::as_object);
        let uses = uses.into_iter().flat_map(Map::values);
        uses.filter_map(Value::as_u64).fold(0, u64::saturating_add)
    }

    /// The count in our way.
    pub(super) fn usage(&self) -> Usage {
        let cached = self.read.saturating_add(self.written);
        Usage {
            input: self.input.saturating_add(cached),
            output: self.output,
            cache_read: self.read,
            cache_write: self.written,
            reasoning: self.thinking.min(self.output),
            tools: self.tools(),
        }
    }

    /// Keeps what else was said with the count, such as how long a cache lasts.
    pub(super) fn keep(self, extra: &mut Map<String, Value>) {
        if !self.rest.is_empty() {
            extra.insert("usage".into(), Value::Object(self.rest));
        }
    }
}

/// Writes what was used.
pub(super) fn usage_of(usage: &Usage, beside: Option<&Value>) -> Value {
    let cached = usage.cache_read.saturating_add(usage.cache_write);
    let mut map = json!({
        "input_tokens": usage.input.saturating_sub(cached),
        "cache_creation_input_tokens": usage.cache_write,
        "cache_read_input_tokens": usage.cache_read,
        "output_tokens": usage.output,
    });
    if usage.reasoning > 0 {
        map["output_tokens_details"] = json!({ "thinking_tokens": usage.reasoning });
    }
    if let (Value::Object(map), Some(Value::Object(beside))) = (&mut map, beside) {
        for (name, value) in beside {
            map.entry(name).or_insert_with(|| value.clone());
        }
    }
    map
}

/// Writes an answer for a client, which expects one.
pub(super) fn encode(answer: &ChatAnswer) -> Value {
    let choice = answer.choices.first();
    let parts = choice.map_or(&[][..], |choice| &choice.parts);
    let (reason, stop) = finish_of(choice.map_or(&Finish::Stop, |choice| &choice.finish));
    let own = answer.protocol == Some(Protocol::Anthropic);
    let extra = Some(&answer.extra).filter(|_| own);
    let beside = extra.and_then(|extra| extra.get("usage"));
    let mut body = json!({
        "id": answer.id,
        "type": "message",
        "role": "assistant",
        "model": answer.model,
        "content": block::said(parts),
        "stop_reason": reason,
        "stop_sequence": stop,
        "usage": usage_of(&answer.usage.unwrap_or_default(), beside),
    });
    if let Value::Object(body) = &mut body {
        for (name, value) in extra.into_iter().flatten() {
            body.entry(name).or_insert_with(|| value.clone());
        }
    }
    body
}

/// What an error inside an answer says.
pub(super) fn told(error: &mut Fields) -> WireError {
    let mut text = |name: &str| error.text(name).ok().flatten();
    WireError::Told {
        kind: text("type").unwrap_or_else(|| "api_error".to_owned()),
        message: text("message").unwrap_or_default(),
    }
}

/// What an error's body says.
pub(super) fn complaint(body: &Value) -> Option<Complaint> {
    let error = body.get("error").unwrap_or(body);
    let text = |name: &str| error.get(name).and_then(Value::as_str).map(str::to_owned);
    Some(Complaint {
        status: 0,
        kind: text("type").unwrap_or_else(|| "api_error".into()),
        code: None,
        message: text("message").or_else(|| error.as_str().map(str::to_owned))?,
    })
}

/// Writes a complaint for a client.
pub(super) fn complaint_of(complaint: &Complaint) -> Value {
    json!({ "type": "error", "error": {
        "type": kind(complaint),
        "message": complaint.message,
    } })
}

/// The provider's words for what goes wrong (documentation, "Errors").
fn kind(complaint: &Complaint) -> &str {
    match complaint.status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        408 | 504 => "timeout_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        400..=499 => "invalid_request_error",
        // In the middle of a stream there is no status any more.
        0 if KINDS.contains(&complaint.kind.as_str()) => &complaint.kind,
        _ => "api_error",
    }
}

const KINDS: [&str; 10] = [
    "invalid_request_error",
    "authentication_error",
    "billing_error",
    "permission_error",
    "not_found_error",
    "request_too_large",
    "rate_limit_error",
    "api_error",
    "timeout_error",
    "overloaded_error",
];
