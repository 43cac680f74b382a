//! What is around the words of an answer: why it ends, what it used, what went wrong.

use serde_json::Value;

use crate::chat::Finish;
use crate::usage::Usage;
use crate::wire::{Complaint, Fields, WireError};

/// Reads why an answer ends; older servers do not say. `load` and `unload` come without an answer.
pub(super) fn finish_from(word: Option<String>, calls: bool) -> Finish {
    let word = word.unwrap_or_default();
    match word.as_str() {
        "stop" | "" if calls => Finish::Tools,
        "stop" | "" => Finish::Stop,
        "length" => Finish::Length,
        _ => Finish::Other(word),
    }
}

/// Reads what was used; nothing if no number is there. A prompt that was wholly in the cache is not
/// counted by some versions.
pub(super) fn usage(line: &mut Fields) -> Result<Option<Usage>, WireError> {
    let input = line.whole("prompt_eval_count")?;
    let output = line.whole("eval_count")?;
    if input.is_none() && output.is_none() {
        return Ok(None);
    }
    Ok(Some(Usage {
        input: input.unwrap_or(0),
        output: output.unwrap_or(0),
        ..Usage::default()
    }))
}

/// What an error's body says.
pub(super) fn complaint(body: &Value) -> Option<Complaint> {
    let error = body.get("error")?;
    let message = error.as_str().or_else(|| error.get("message")?.as_str())?;
    Some(Complaint {
        status: 0,
        kind: "error".into(),
        code: None,
        message: message.to_owned(),
    })
}
