//! `OpenAI`'s chat completions (API reference, "Chat"), which many servers and clients speak.
//!
//! Beyond what `OpenAI` documents, `reasoning_content` (as `DeepSeek`, vLLM and others name thoughts)
//! is read and written, and `extra_content` (as Google's compatible endpoint names it) carries what
//! only providers understand, so that it comes back with the client's next request.

mod answer;
pub mod embeddings;
mod message;
mod request;
mod stream;

use serde_json::{Value, json};

pub(in crate::wire) use self::message::source;
pub(in crate::wire) use self::request::effort;
use super::{
    Asked, ClientWire, Complaint, Delivery, Encoded, ProviderWire, StreamReader, StreamWriter,
    WireError,
};
use crate::chat::{ChatAnswer, ChatRequest};

/// Where thoughts, their proofs and the like travel beside a message or a call.
pub(crate) const EXTRA: &str = "extra_content";

/// Chat completions, as `OpenAI` itself or as servers like it understand them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpenaiChat {
    /// Which words it has.
    pub dialect: Dialect,
}

/// What differs between those who speak it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// `OpenAI` and Azure: `max_completion_tokens`, `developer`, `reasoning_effort`.
    Openai,
    /// Servers like it: `max_tokens`, `system`, thoughts in messages, `top_k`.
    Compatible,
}

impl ProviderWire for OpenaiChat {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
        request::encode(self.dialect, request, stream)
    }

    fn decode(&self, body: Value) -> Result<ChatAnswer, WireError> {
        answer::decode(body)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::default())
    }

    fn error(&self, body: &Value) -> Option<Complaint> {
        answer::complaint(body)
    }
}

impl ClientWire for OpenaiChat {
    fn asked(&self, body: Value) -> Result<Asked, WireError> {
        request::decode(body)
    }

    fn answer(&self, answer: &ChatAnswer, created: u64) -> Value {
        answer::encode(answer, created)
    }

    fn writer(&self, created: u64, delivery: Delivery) -> Box<dyn StreamWriter> {
        Box::new(stream::Writer::new(created, delivery))
    }

    fn complaint(&self, complaint: &Complaint) -> Value {
        json!({ "error": {
            "message": complaint.message,
            "type": complaint.kind,
            "param": null,
            "code": complaint.code,
        } })
    }
}
