//! Where a provider is asked for what, and how we say who we are.

use std::borrow::Cow;
use std::fmt::Write as _;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::identity::Identity;
use super::vertex::{self, Speaks};
use super::{ProviderError, Reason, bedrock};
use crate::estimate;
use crate::registry::{Api, Model, ProviderKind};
use crate::wire::ProviderWire;
use crate::wire::anthropic::{Anthropic, OnVertex};
use crate::wire::bedrock::Converse;
use crate::wire::gemini::Gemini;
use crate::wire::ollama::Ollama;
use crate::wire::openai::{Dialect, OpenaiChat};
use crate::wire::responses::Responses;

/// What is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ask {
    Chat,
    Stream,
    Embed,
    Rerank,
    List,
}

/// How a stream is cut into events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Server-sent events.
    Events,
    /// A JSON value in each line.
    Lines,
    /// Amazon's event streams.
    Frames,
}

/// The words that a model's provider understands.
pub(super) fn wire(model: &Model) -> Result<Box<dyn ProviderWire>, ProviderError> {
    let provider = &model.spec.provider;
    Ok(match (provider.kind, provider.api) {
        (ProviderKind::Openai | ProviderKind::Azure, Api::Chat) => Box::new(OpenaiChat {
            dialect: Dialect::Openai,
        }),
        (
            ProviderKind::Openai | ProviderKind::Azure | ProviderKind::OpenaiCompatible,
            Api::Responses,
        ) => Box::new(Responses),
        (ProviderKind::OpenaiCompatible, Api::Chat) => Box::new(OpenaiChat {
            dialect: Dialect::Compatible,
        }),
        (ProviderKind::Gemini, _) => Box::new(Gemini),
        (ProviderKind::Vertex, _) => match vertex::speaks(model)? {
            Speaks::Gemini => Box::new(Gemini),
            Speaks::Anthropic => Box::new(OnVertex(anthropic(model))),
        },
        (ProviderKind::Anthropic, _) => Box::new(anthropic(model)),
        (ProviderKind::Bedrock, _) => Box::new(Converse {
            model: model.spec.model.clone(),
            max_tokens: anthropic(model).max_tokens,
            caches: model.capabilities.iter().any(|it| it == "prompt_cache"),
        }),
        (ProviderKind::Ollama, _) => Box::new(Ollama),
        (kind, _) => return Err(no_chat(kind)),
    })
}

fn anthropic(model: &Model) -> Anthropic {
    let most = model.max_output.unwrap_or(estimate::ANSWER);
    Anthropic {
        max_tokens: most.min(estimate::ANSWER),
        marks: model.spec.prompt_cache,
    }
}

fn no_chat(kind: ProviderKind) -> ProviderError {
    ProviderError::new(
        Reason::Unsupported,
        format!("models of {kind} do not hold conversations here"),
    )
}

/// How its streams are cut.
pub(super) fn framing(kind: ProviderKind) -> Framing {
    match kind {
        ProviderKind::Ollama => Framing::Lines,
        ProviderKind::Bedrock => Framing::Frames,
        _ => Framing::Events,
    }
}

/// The address to ask.
pub(super) fn address(model: &Model, ask: Ask) -> Result<String, ProviderError> {
    let kind = model.spec.provider.kind;
    let name = encoded(&model.spec.model);
    let unsupported = || {
        let what = match ask {
            Ask::Chat | Ask::Stream => "conversations",
            Ask::Embed => "vectors",
            Ask::Rerank => "ranking",
            Ask::List => "a list of models",
        };
        ProviderError::new(Reason::Unsupported, format!("{kind} has no {what}"))
    };
    match kind {
        ProviderKind::Vertex => return vertex::address(model, ask)?.ok_or_else(unsupported),
        ProviderKind::Bedrock => return bedrock::address(model, ask).ok_or_else(unsupported),
        _ => {}
    }
    let base = model.spec.base_url().ok_or_else(|| {
        ProviderError::new(Reason::Invalid, "nobody said where this model is asked")
    })?;
    Ok(match (kind, ask) {
        (ProviderKind::Openai | ProviderKind::OpenaiCompatible, _) => {
            let path = match (ask, model.spec.provider.api) {
                (Ask::Chat | Ask::Stream, Api::Chat) => "chat/completions",
                (Ask::Chat | Ask::Stream, Api::Responses) => "responses",
                (Ask::Embed, _) => "embeddings",
                (Ask::Rerank, _) => "rerank",
                (Ask::List, _) => "models",
            };
            format!("{base}/{path}")
        }
        (ProviderKind::Azure, _) => azure(model, &base, &name, ask).ok_or_else(unsupported)?,
        (ProviderKind::Anthropic, Ask::Chat | Ask::Stream) => format!("{base}/messages"),
        (ProviderKind::Gemini, Ask::Chat) => {
            format!("{base}/models/{name}:generateContent")
        }
        (ProviderKind::Gemini, Ask::Stream) => {
            format!("{base}/models/{name}:streamGenerateContent?alt=sse")
        }
        (ProviderKind::Gemini, Ask::Embed) => format!("{base}/models/{name}:batchEmbedContents"),
        (ProviderKind::Anthropic | ProviderKind::Gemini, Ask::List) => format!("{base}/models"),
        (ProviderKind::Ollama, Ask::Chat | Ask::Stream) => format!("{base}/api/chat"),
        (ProviderKind::Ollama, Ask::Embed) => format!("{base}/api/embed"),
        (ProviderKind::Ollama, Ask::List) => format!("{base}/api/tags"),
        (ProviderKind::Cohere, Ask::Embed) => format!("{base}/v2/embed"),
        (ProviderKind::Cohere, Ask::Rerank) => format!("{base}/v2/rerank"),
        (ProviderKind::Cohere, Ask::List) => format!("{base}/v1/models"),
        (ProviderKind::HuggingFace, Ask::Embed | Ask::Rerank) => {
            hugging_face(model, &base, &name, ask).ok_or_else(unsupported)?
        }
        _ => return Err(unsupported()),
    })
}

/// Azure's older addresses name the deployment and a version; the newer ones are `OpenAI`'s.
fn azure(model: &Model, base: &str, name: &str, ask: Ask) -> Option<String> {
    let path = match ask {
        Ask::Chat | Ask::Stream => match model.spec.provider.api {
            Api::Chat => "chat/completions",
            Api::Responses => return Some(format!("{base}/openai/v1/responses")),
        },
        Ask::Embed => "embeddings",
        Ask::List => "models",
        Ask::Rerank => return None,
    };
    Some(match &model.spec.provider.api_version {
        Some(version) if ask != Ask::List => format!(
            "{base}/openai/deployments/{name}/{path}?api-version={}",
            encoded(version)
        ),
        _ => format!("{base}/openai/v1/{path}"),
    })
}

/// Hugging Face's router knows models by their names; a server of text-embeddings-inference, which
/// is what an address of one's own leads to, has one model.
fn hugging_face(model: &Model, base: &str, name: &str, ask: Ask) -> Option<String> {
    match (&model.spec.provider.base_url, ask) {
        (Some(_), Ask::Rerank) => Some(format!("{base}/rerank")),
        (Some(_), _) => Some(format!("{base}/embed")),
        (None, Ask::Rerank) => None,
        (None, _) => {
            let place = format!("hf-inference/models/{name}");
            Some(format!("{base}/{place}/pipeline/feature-extraction"))
        }
    }
}

/// A name as a piece of a path; slashes stay, because names of some providers have them.
pub(super) fn encoded(name: &str) -> Cow<'_, str> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/:@".contains(&byte);
    if name.bytes().all(plain) && !name.contains("..") {
        return Cow::Borrowed(name);
    }
    Cow::Owned(percent(name, b"-_~/:@"))
}

/// A text as a part of an address: what is no letter, no digit and not among these is written with `%`
/// (RFC 3986).
pub(super) fn percent(text: &str, plain: &[u8]) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || plain.contains(&byte) {
            out.push(char::from(byte));
        } else {
            // Writing to a text cannot fail.
            let _written = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// The headers of a request.
pub(super) fn headers(model: &Model, identity: &Identity) -> Result<HeaderMap, ProviderError> {
    let provider = &model.spec.provider;
    let mut headers = HeaderMap::new();
    for (name, value) in &provider.headers {
        let wrong = || {
            let text = format!("the header `{name}` of this model cannot be sent");
            ProviderError::new(Reason::Invalid, text)
        };
        let value = HeaderValue::from_str(value).map_err(|_| wrong())?;
        let name = HeaderName::from_bytes(name.as_bytes()).map_err(|_| wrong())?;
        headers.insert(name, value);
    }
    if provider.kind == ProviderKind::Anthropic {
        let version = HeaderName::from_static("anthropic-version");
        headers
            .entry(version)
            .or_insert(HeaderValue::from_static("2023-06-01"));
    }
    if let Some((name, text)) = identity.header(provider.kind) {
        let mut value = HeaderValue::from_str(&text).map_err(|_| {
            ProviderError::new(Reason::Key, "the key has characters that cannot be sent")
        })?;
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::registry::ModelSpec;

    /// Where a model is asked that was described so.
    fn asked(spec: serde_json::Value, ask: Ask) -> Result<String, Reason> {
        let spec: ModelSpec = serde_json::from_value(spec).unwrap();
        let model = Model {
            name: "m".into(),
            version: "1".into(),
            price: None,
            context: None,
            max_output: None,
            capabilities: Vec::new(),
            created_at: matrix_core::Timestamp::from_micros(0),
            spec,
        };
        address(&model, ask).map_err(|error| error.reason)
    }

    #[test]
    fn providers_are_asked_at_home() {
        let vertex = json!({ "kind": "vertex", "project": "p", "region": "global" });
        let bedrock = json!({ "kind": "bedrock", "region": "eu-central-1" });
        for (provider, model, ask, expected) in [
            (
                json!({ "kind": "hugging_face" }),
                "BAAI/bge-m3",
                Ask::Embed,
                "https://router.huggingface.co/hf-inference/models/BAAI/bge-m3/pipeline/\
                 feature-extraction",
            ),
            (
                json!({ "kind": "cohere" }),
                "embed-v4.0",
                Ask::Embed,
                "https://api.cohere.com/v2/embed",
            ),
            (
                vertex,
                "gemini-2.5-pro",
                Ask::Chat,
                "https://aiplatform.googleapis.com/v1/projects/p/locations/global/publishers/\
                 google/models/gemini-2.5-pro:generateContent",
            ),
            (
                bedrock.clone(),
                "eu.amazon.nova-pro-v1:0",
                Ask::Stream,
                "https://bedrock-runtime.eu-central-1.amazonaws.com/model/\
                 eu.amazon.nova-pro-v1%3A0/converse-stream",
            ),
            (
                bedrock,
                "eu.amazon.nova-pro-v1:0",
                Ask::List,
                "https://bedrock.eu-central-1.amazonaws.com/foundation-models",
            ),
        ] {
            let spec = json!({ "provider": provider, "model": model });
            assert_eq!(asked(spec, ask).as_deref(), Ok(expected));
        }
        let spec = json!({ "provider": { "kind": "hugging_face" }, "model": "BAAI/bge-m3" });
        assert_eq!(asked(spec, Ask::Rerank), Err(Reason::Unsupported));
    }
}
