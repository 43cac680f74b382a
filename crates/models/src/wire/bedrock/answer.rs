//! Answers as a whole, what they used and why they end; and errors.

use serde_json::Value;

use super::{FAMILY, REDACTED, SIGNATURE, family};
use crate::chat::{ChatAnswer, Choice, Finish, Opaque, Part, Protocol};
use crate::usage::Usage;
use crate::wire::{Complaint, Fields, WireError, fields};

/// Reads an answer.
pub(super) fn decode(model: &str, body: Value) -> Result<ChatAnswer, WireError> {
    let mut body = fields(body)?;
    let parts = body.inside("output", |mut output| {
        output.inside("message", |mut message| {
            let parts = message.each("content", |block| part(model, block))?;
            Ok(parts.into_iter().flatten().collect::<Vec<_>>())
        })
    })?;
    let parts = parts.flatten();
    let parts = parts.ok_or_else(|| WireError::invalid("output.message", "is missing"))?;
    let choice = Choice {
        parts,
        finish: finish_from(body.need_text("stopReason")?),
        logprobs: None,
    };
    Ok(ChatAnswer {
        model: model.to_owned(),
        choices: vec![choice],
        usage: body.inside("usage", usage)?,
        ..ChatAnswer::default()
    })
}

/// Reads a block; nothing for one without words.
fn part(model: &str, value: Value) -> Result<Option<Part>, WireError> {
    let whole = value.clone();
    let mut block = fields(value)?;
    if let Some(text) = block.text("text")? {
        return Ok((!text.is_empty()).then(|| Part::text(text)));
    }
    if let Some(call) = block.inside("toolUse", call)? {
        return Ok(Some(call));
    }
    if let Some(thoughts) = block.inside("reasoningContent", |it| thoughts(model, it))? {
        return Ok(Some(thoughts));
    }
    if let Some(cited) = block.inside("citationsContent", cited)? {
        return Ok((!cited.is_empty()).then(|| Part::text(cited)));
    }
    Ok(Some(Part::Other {
        protocol: Protocol::Bedrock,
        value: whole,
    }))
}

fn call(mut call: Fields) -> Result<Part, WireError> {
    let input = call.any("input");
    Ok(Part::ToolCall {
        id: call.need_text("toolUseId")?,
        name: call.need_text("name")?,
        arguments: input.map_or_else(|| "{}".to_owned(), |input| input.to_string()),
        opaque: Opaque::default(),
    })
}

fn thoughts(model: &str, mut content: Fields) -> Result<Part, WireError> {
    let mut opaque = Opaque::default();
    if let Some(redacted) = content.text("redactedContent")? {
        opaque.set(FAMILY, REDACTED, redacted.into());
    }
    let text = content.inside("reasoningText", |mut said| {
        if let Some(signature) = said.text("signature")? {
            opaque.set(family(model), SIGNATURE, signature.into());
        }
        said.text("text")
    })?;
    Ok(Part::Reasoning {
        text: text.flatten().unwrap_or_default(),
        opaque,
    })
}

/// The words that are shown to come from a document; where they come from is left out.
fn cited(mut content: Fields) -> Result<String, WireError> {
    let texts = content.each("content", |one| fields(one)?.text("text"))?;
    Ok(texts.into_iter().flatten().collect())
}

/// Reads why an answer ends.
pub(super) fn finish_from(word: String) -> Finish {
    match word.as_str() {
        "end_turn" => Finish::Stop,
        "stop_sequence" => Finish::StopText(None),
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::Tools,
        "guardrail_intervened" | "content_filtered" => Finish::Filter,
        _ => Finish::Other(word),
    }
}

/// Reads what was used; what a cache had, or was put there, is counted beside the rest.
pub(super) fn usage(mut usage: Fields) -> Result<Usage, WireError> {
    let mut number = |name: &str| usage.whole(name).map(Option::unwrap_or_default);
    let (input, output) = (number("inputTokens")?, number("outputTokens")?);
    let cache_read = number("cacheReadInputTokens")?;
    let cache_write = number("cacheWriteInputTokens")?;
    let cached = cache_read.saturating_add(cache_write);
    Ok(Usage {
        input: input.saturating_add(cached),
        output,
        cache_read,
        cache_write,
        ..Usage::default()
    })
}

/// What an error's body says.
pub(super) fn complaint(body: &Value) -> Option<Complaint> {
    let text = |name: &str| body.get(name).and_then(Value::as_str);
    Some(Complaint {
        status: 0,
        kind: text("__type").unwrap_or("error").to_owned(),
        code: None,
        message: text("message").or_else(|| text("Message"))?.to_owned(),
    })
}
