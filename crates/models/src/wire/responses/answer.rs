//! Answers as a whole, as they are read.

use serde_json::{Map, Value, json};

use super::item;
use crate::chat::{ChatAnswer, Choice, Finish, Part, Protocol};
use crate::usage::Usage;
use crate::wire::{Fields, WireError, fields};

/// Reads a provider's answer.
pub(super) fn decode(body: Value) -> Result<ChatAnswer, WireError> {
    let mut body = fields(body)?;
    if let Some(error) = failure(&mut body)? {
        return Err(error);
    }
    let output = body.list("output")?;
    let (logprobs, tools) = (logprobs(&output), own_tools(&output));
    let mut parts = Vec::new();
    for (index, item) in output.into_iter().enumerate() {
        let said = item::said(item);
        parts.extend(said.map_err(|error| error.within(&format!("output[{index}]")))?);
    }
    let calls = parts
        .iter()
        .any(|part| matches!(part, Part::ToolCall { .. }));
    let refuses = parts
        .iter()
        .any(|part| matches!(part, Part::Refusal { .. }));
    let finish = finish(&mut body, calls, refuses)?;
    Ok(ChatAnswer {
        id: body.text("id")?.unwrap_or_default(),
        model: body.text("model")?.unwrap_or_default(),
        choices: vec![Choice {
            parts,
            finish,
            logprobs,
        }],
        usage: body
            .inside("usage", usage)?
            .map(|usage| Usage { tools, ..usage }),
        extra: extra(body),
        protocol: Some(Protocol::OpenaiResponses),
    })
}

/// What an answer has beside what every protocol has: what was asked, as it was understood.
pub(super) fn extra(mut body: Fields) -> Map<String, Value> {
    // `output_text` is an addition of client libraries.
    for name in ["object", "created_at", "output", "output_text", "status"] {
        body.any(name);
    }
    let mut rest = body.rest();
    rest.retain(|_, value| !value.is_null());
    rest
}

/// Why there is no answer, if there is none.
pub(super) fn failure(body: &mut Fields) -> Result<Option<WireError>, WireError> {
    if let Some(mut error) = body.object("error")? {
        return Ok(Some(told(&mut error)));
    }
    Ok(None)
}

/// What an error inside an answer says.
pub(super) fn told(error: &mut Fields) -> WireError {
    let mut word = |name: &str| error.text(name).ok().flatten();
    let kind = word("code").or_else(|| word("type"));
    WireError::Told {
        kind: kind.unwrap_or_else(|| "error".to_owned()),
        message: word("message").unwrap_or_default(),
    }
}

/// Reads why an answer ends.
pub(super) fn finish(body: &mut Fields, calls: bool, refuses: bool) -> Result<Finish, WireError> {
    let reason = body.inside("incomplete_details", |mut details| details.text("reason"))?;
    let status = body.text("status")?;
    Ok(match (status.as_deref(), reason.flatten()) {
        (None | Some("completed"), _) if calls => Finish::Tools,
        (None | Some("completed"), _) if refuses => Finish::Refusal,
        (None | Some("completed"), _) => Finish::Stop,
        (Some("failed"), _) => {
            return Err(WireError::Told {
                kind: "failed".to_owned(),
                message: "the provider gave up and did not say why".to_owned(),
            });
        }
        (Some("incomplete"), Some(reason)) => match reason.as_str() {
            "max_output_tokens" => Finish::Length,
            "content_filter" => Finish::Filter,
            _ => Finish::Other(reason),
        },
        (Some(status), _) => Finish::Other(status.to_owned()),
    })
}

/// Reads what was used.
pub(super) fn usage(mut usage: Fields) -> Result<Usage, WireError> {
    let input = usage.whole("input_tokens")?.unwrap_or(0);
    let output = usage.whole("output_tokens")?.unwrap_or(0);
    let cached = usage.inside("input_tokens_details", |mut details| {
        Ok((
            details.whole("cached_tokens")?,
            details.whole("cache_write_tokens")?,
        ))
    })?;
    let reasoning = usage.inside("output_tokens_details", |mut details| {
        details.whole("reasoning_tokens")
    })?;
    let (read, written) = cached.unwrap_or_default();
    Ok(Usage {
        input,
        output,
        cache_read: read.unwrap_or(0).min(input),
        cache_write: written.unwrap_or(0).min(input),
        reasoning: reasoning.flatten().unwrap_or(0).min(output),
        tools: 0,
    })
}

/// Items that say that a tool of the provider's own was used, which is paid for beside the tokens.
const OWN_TOOLS: &[&str] = &[
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
];

/// How often tools of the provider's own were used.
pub(super) fn own_tools(output: &[Value]) -> u64 {
    let kinds = output.iter().filter_map(|item| item["type"].as_str());
    kinds.filter(|kind| OWN_TOOLS.contains(kind)).count() as u64
}

/// Probabilities stand beside each text; together they are those of the answer.
pub(super) fn logprobs(output: &[Value]) -> Option<Value> {
    let contents = output.iter().filter_map(|item| item["content"].as_array());
    let lists = contents
        .flatten()
        .filter_map(|content| content["logprobs"].as_array());
    let all: Vec<Value> = lists.flatten().cloned().collect();
    (!all.is_empty()).then(|| json!({ "content": all }))
}
