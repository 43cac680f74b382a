//! Amazon Bedrock's `Converse` and `ConverseStream` ("Amazon Bedrock API reference"): one protocol
//! for the models of many makers.
//!
//! The model and whether the answer is streamed are said in the address, so a body holds neither,
//! and an answer names no model. What only one maker's models take goes beside the rest, in
//! `additionalModelRequestFields`. A signature of thoughts is kept as the maker's: `Anthropic`'s
//! models know theirs again wherever they are asked.

mod answer;
mod message;
mod request;
mod stream;

use serde_json::Value;

use super::{Complaint, Encoded, ProviderWire, StreamReader, WireError};
use crate::chat::{ChatAnswer, ChatRequest};

/// The family of what only Bedrock understands.
const FAMILY: &str = "bedrock";

/// What proves thoughts.
const SIGNATURE: &str = "signature";

/// Thoughts that are not to be read.
const REDACTED: &str = "redacted";

/// A conversation at Amazon Bedrock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converse {
    /// The model, as Bedrock names it.
    pub model: String,
    /// The most tokens of an answer, where the asker did not say and the model's maker wants a
    /// number.
    pub max_tokens: u64,
    /// Whether the model keeps what it read where it is told to.
    pub caches: bool,
}

/// Whether a model is one of `Anthropic`'s.
fn is_claude(model: &str) -> bool {
    model.contains("claude")
}

/// Under which name the proofs of a model's thoughts are kept.
fn family(model: &str) -> &'static str {
    if is_claude(model) {
        "anthropic"
    } else {
        FAMILY
    }
}

impl ProviderWire for Converse {
    fn encode(&self, request: &ChatRequest, _stream: bool) -> Result<Encoded, WireError> {
        request::encode(self, request)
    }

    fn decode(&self, body: Value) -> Result<ChatAnswer, WireError> {
        answer::decode(&self.model, body)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::new(&self.model))
    }

    fn error(&self, body: &Value) -> Option<Complaint> {
        answer::complaint(body)
    }
}
