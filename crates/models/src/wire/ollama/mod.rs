//! `Ollama`'s own protocol, `/api/chat`.
//!
//! A stream is JSON line by line; each line is given to the reader as the data of an event. A whole
//! answer is a stream of one line.

mod answer;
mod message;
mod request;
mod stream;

use serde_json::Value;

use super::{Complaint, Encoded, ProviderWire, StreamReader, WireError};
use crate::chat::{ChatAnswer, ChatRequest};

/// Ollama's chat.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ollama;

impl ProviderWire for Ollama {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
        request::encode(request, stream)
    }

    fn decode(&self, body: Value) -> Result<ChatAnswer, WireError> {
        stream::decode(body)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(stream::Reader::default())
    }

    fn error(&self, body: &Value) -> Option<Complaint> {
        answer::complaint(body)
    }
}
