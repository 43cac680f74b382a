//! The lines of a batch, and what became of each.

use std::collections::HashSet;

use matrix_core::Money;
use matrix_store::StoreError;
use matrix_store::tables::model_batches::Done;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::names::Made;
use crate::chat::ChatRequest;
use crate::gateway::Needs;
use crate::registry::Task;
use crate::wire::anthropic::Anthropic;
use crate::wire::openai::embeddings::{self, EmbedAsked};
use crate::wire::openai::{Dialect, OpenaiChat};
use crate::wire::responses::Responses;
use crate::wire::{ClientWire, Delivery, WireError};

/// The most requests of a batch.
pub const LINES_MAX: usize = 10_000;

/// The most characters of the name that a request has.
const NAME_MAX: usize = 512;

/// What the requests of a batch are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Endpoint {
    /// `OpenAI`'s chat completions.
    #[serde(rename = "/v1/chat/completions")]
    Chat,
    /// `OpenAI`'s responses.
    #[serde(rename = "/v1/responses")]
    Responses,
    /// `Anthropic`'s messages.
    #[serde(rename = "/v1/messages")]
    Messages,
    /// `OpenAI`'s embeddings.
    #[serde(rename = "/v1/embeddings")]
    Embeddings,
}

impl Endpoint {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Chat => "/v1/chat/completions",
            Self::Responses => "/v1/responses",
            Self::Messages => "/v1/messages",
            Self::Embeddings => "/v1/embeddings",
        }
    }

    /// The words of its requests and answers.
    pub(super) fn wire(self) -> &'static dyn ClientWire {
        const OPENAI: OpenaiChat = OpenaiChat {
            dialect: Dialect::Openai,
        };
        const ANTHROPIC: Anthropic = Anthropic {
            max_tokens: crate::estimate::ANSWER,
            marks: false,
        };
        match self {
            Self::Chat | Self::Embeddings => &OPENAI,
            Self::Responses => &Responses,
            Self::Messages => &ANTHROPIC,
        }
    }
}

impl std::str::FromStr for Endpoint {
    type Err = StoreError;

    /// Reads what was written by [`Endpoint::as_str`].
    fn from_str(text: &str) -> Result<Self, StoreError> {
        let all = [
            Self::Chat,
            Self::Responses,
            Self::Messages,
            Self::Embeddings,
        ];
        let found = all.into_iter().find(|endpoint| endpoint.as_str() == text);
        found.ok_or_else(|| StoreError::corrupt(format_args!("the endpoint `{text}`")))
    }
}

/// One request.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Line {
    /// Its name in the batch.
    pub(super) name: String,
    pub(super) call: Call,
}

/// What it asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Call {
    Chat(Box<ChatRequest>),
    Embed(EmbedAsked),
}

impl Call {
    /// What it needs of a model.
    pub(super) fn needs(&self) -> Needs {
        match self {
            Self::Chat(request) => Needs::of_chat(request),
            Self::Embed(asked) => Needs::of_texts(&asked.request.texts, Task::Embed),
        }
    }

    pub(super) fn model(&self) -> &str {
        match self {
            Self::Chat(request) => &request.model,
            Self::Embed(asked) => &asked.request.model,
        }
    }
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Outcome {
    /// The request's name in the batch.
    pub(super) name: String,
    /// The HTTP status that a client would have been answered.
    pub(super) status: u16,
    /// The body.
    pub(super) body: Value,
    /// What it cost.
    pub(super) cost: Money,
}

impl Outcome {
    pub(super) fn is_good(&self) -> bool {
        self.status < 400
    }

    /// In which of its batch's files it is.
    pub(super) fn made(&self) -> Made {
        if self.is_good() {
            Made::Output
        } else {
            Made::Errors
        }
    }

    /// A line of that file, as `OpenAI` writes it.
    pub(super) fn line(&self, id: &str) -> String {
        let line = json!({
            "id": id,
            "custom_id": self.name,
            "response": { "status_code": self.status, "request_id": id, "body": self.body },
            "error": null,
        });
        format!("{line}\n")
    }

    /// What it adds to its batch.
    pub(super) fn done(&self, id: &str) -> Done {
        let bytes = i64::try_from(self.line(id).len()).unwrap_or(i64::MAX);
        match self.made() {
            Made::Output => Done {
                completed: 1,
                output_bytes: bytes,
                ..Done::default()
            },
            Made::Errors => Done {
                failed: 1,
                error_bytes: bytes,
                ..Done::default()
            },
        }
    }
}

#[derive(Deserialize)]
struct Written {
    custom_id: String,
    method: String,
    url: String,
    body: Map<String, Value>,
}

/// Reads the lines of a batch.
pub(super) fn lines(text: &str, endpoint: Endpoint) -> Result<Vec<Line>, WireError> {
    let mut names = HashSet::new();
    let mut lines = Vec::new();
    let written = text.lines().enumerate();
    for (number, text) in written.filter(|(_, text)| !text.trim().is_empty()) {
        let at = format!("line {}", number + 1);
        let refuse = |why: String| WireError::Invalid {
            at: at.clone(),
            why,
        };
        let line: Written =
            serde_json::from_str(text).map_err(|error| refuse(error.to_string()))?;
        if line.method != "POST" || line.url != endpoint.as_str() {
            let why = format!("must be `POST` to `{}`, as its batch is", endpoint.as_str());
            return Err(refuse(why));
        }
        let name = line.custom_id;
        if name.is_empty() || name.chars().count() > NAME_MAX || !names.insert(name.clone()) {
            let why = format!("must have a `custom_id` of its own, of 1 to {NAME_MAX} characters");
            return Err(refuse(why));
        }
        let call = call(endpoint, line.body.into()).map_err(|error| refuse(error.to_string()))?;
        lines.push(Line { name, call });
        if lines.len() > LINES_MAX {
            return Err(refuse(format!("is one more than {LINES_MAX} requests")));
        }
    }
    if lines.is_empty() {
        return Err(WireError::invalid("input_file_id", "has no requests"));
    }
    Ok(lines)
}

fn call(endpoint: Endpoint, body: Value) -> Result<Call, WireError> {
    if endpoint == Endpoint::Embeddings {
        return embeddings::asked(body).map(Call::Embed);
    }
    let asked = endpoint.wire().asked(body)?;
    if asked.delivery != Delivery::Whole {
        return Err(WireError::invalid("stream", "is not possible in a batch"));
    }
    Ok(Call::Chat(Box::new(asked.request)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, more: &str) -> String {
        format!(
            r#"{{"custom_id":"{name}","method":"POST","url":"/v1/chat/completions",
               "body":{{"model":"m","messages":[{{"role":"user","content":"Hi"}}]{more}}}}}"#
        )
        .replace('\n', " ")
    }

    #[test]
    fn requests_are_read_line_by_line() {
        let text = format!("{}\n\n{}\r\n", line("a", ""), line("b", ""));
        let lines = lines(&text, Endpoint::Chat).unwrap();
        let names: Vec<&str> = lines.iter().map(|line| line.name.as_str()).collect();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(lines[0].call.model(), "m");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = line("a", "");
        for (bad, why) in [
            ("{".to_owned(), "EOF"),
            (line("a", ""), "of its own"),
            (line("", ""), "of its own"),
            (line("b", r#","stream":true"#), "stream"),
            (
                good.replace("POST", "GET").replace("\"a\"", "\"b\""),
                "POST",
            ),
            (good.replace("chat/completions", "embeddings"), "POST"),
        ] {
            let error = lines(&format!("{good}\n{bad}"), Endpoint::Chat).unwrap_err();
            let text = error.to_string();
            assert!(text.contains("line 2") && text.contains(why), "{text}");
        }
        assert!(lines("\n \n", Endpoint::Chat).is_err());
    }
}
