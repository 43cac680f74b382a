//! What is around the words of an answer: why it ends, what it used, what went wrong.

use serde_json::{Map, Value};

use crate::chat::Finish;
use crate::usage::Usage;
use crate::wire::{Complaint, Fields, WireError};

/// The word for no reason at all; JSON leaves it out.
pub(super) const NO_REASON: &str = "FINISH_REASON_UNSPECIFIED";

/// Reads why an answer ends. A call that the model got wrong is not a clean end.
pub(super) fn finish_from(word: String, calls: bool) -> Finish {
    match word.as_str() {
        "STOP" if calls => Finish::Tools,
        "STOP" => Finish::Stop,
        "MAX_TOKENS" => Finish::Length,
        "SAFETY"
        | "RECITATION"
        | "BLOCKLIST"
        | "PROHIBITED_CONTENT"
        | "SPII"
        | "MODEL_ARMOR"
        | "IMAGE_SAFETY"
        | "IMAGE_PROHIBITED_CONTENT"
        | "IMAGE_RECITATION" => Finish::Filter,
        _ => Finish::Other(word),
    }
}

/// Reads what was used; nothing if no number is there. Google counts thoughts beside the answer, and
/// what its own tools brought beside the prompt.
pub(super) fn usage(mut usage: Fields) -> Result<Option<Usage>, WireError> {
    let prompt = usage.whole("promptTokenCount")?;
    let answer = usage.whole("candidatesTokenCount")?;
    let total = usage.whole("totalTokenCount")?;
    let tools = usage.whole("toolUsePromptTokenCount")?.unwrap_or(0);
    let thoughts = usage.whole("thoughtsTokenCount")?.unwrap_or(0);
    let cached = usage.whole("cachedContentTokenCount")?.unwrap_or(0);
    if prompt.is_none() && answer.is_none() && total.is_none() {
        return Ok(None);
    }
    let input = prompt.unwrap_or(0).saturating_add(tools);
    let output = match answer {
        Some(answer) => answer.saturating_add(thoughts),
        None => total.unwrap_or(0).saturating_sub(input).max(thoughts),
    };
    Ok(Some(Usage {
        input,
        output,
        cache_read: cached.min(input),
        reasoning: thoughts,
        ..Usage::default()
    }))
}

/// How often Google searched for the answer, which it is paid for beside the tokens.
pub(super) fn searches(extra: &Map<String, Value>) -> u64 {
    let grounding = extra.get("groundingMetadata");
    let queries = grounding.and_then(|grounding| grounding.get("webSearchQueries"));
    queries.and_then(Value::as_array).map_or(0, Vec::len) as u64
}

/// The error of a stream's event or of a body.
pub(super) fn told(error: &Value) -> WireError {
    let complaint = complaint(error);
    WireError::Told {
        kind: complaint
            .as_ref()
            .map_or_else(|| "error".into(), |complaint| complaint.kind.clone()),
        message: complaint.map_or_else(String::new, |complaint| complaint.message),
    }
}

/// What an error's body says. A stream that was not asked for as events is a list.
pub(super) fn complaint(body: &Value) -> Option<Complaint> {
    let body = match body {
        Value::Array(list) => list.iter().find(|item| item.get("error").is_some())?,
        other => other,
    };
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
    let status = error.get("code").and_then(Value::as_u64);
    Some(Complaint {
        status: status
            .and_then(|code| u16::try_from(code).ok())
            .unwrap_or(0),
        kind: text("status").unwrap_or_else(|| "error".into()),
        code: reason(error),
        message: text("message")?,
    })
}

/// The reason among an error's details (`google.rpc.ErrorInfo`), such as `API_KEY_INVALID`.
fn reason(error: &Value) -> Option<String> {
    let details = error.get("details")?.as_array()?;
    let reason = details.iter().find_map(|detail| detail.get("reason"))?;
    reason.as_str().map(str::to_owned)
}
