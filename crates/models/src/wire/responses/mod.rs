//! `OpenAI`'s responses (API reference, "Responses"), without its memory: every request brings the
//! whole conversation, and nothing of it is kept.
//!
//! A conversation is a list of items there. Those of the model that follow one another are one
//! message here, and keep their ids and proofs in what only `OpenAI` understands. What other
//! providers prove their thoughts with travels as a client's `encrypted_content` under a mark of
//! ours, so that clients carry it although they know nothing of it.

mod answer;
mod input;
mod item;
mod output;
mod reader;
mod request;
mod writer;

use serde_json::Value;

use super::openai::{Dialect, OpenaiChat};
use super::{
    Asked, ClientWire, Complaint, Delivery, Encoded, ProviderWire, StreamReader, StreamWriter,
    WireError,
};
use crate::chat::{ChatAnswer, ChatRequest};

/// Errors look as those of chat completions do.
const ERRORS: OpenaiChat = OpenaiChat {
    dialect: Dialect::Openai,
};

/// The responses protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Responses;

impl ProviderWire for Responses {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
        request::encode(request, stream)
    }

    fn decode(&self, body: Value) -> Result<ChatAnswer, WireError> {
        answer::decode(body)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        Box::new(reader::Reader::default())
    }

    fn error(&self, body: &Value) -> Option<Complaint> {
        ERRORS.error(body)
    }
}

impl ClientWire for Responses {
    fn asked(&self, body: Value) -> Result<Asked, WireError> {
        request::decode(body)
    }

    fn answer(&self, answer: &ChatAnswer, created: u64) -> Value {
        output::whole(answer, created)
    }

    fn writer(&self, created: u64, _delivery: Delivery) -> Box<dyn StreamWriter> {
        Box::new(writer::Writer::new(created))
    }

    fn complaint(&self, complaint: &Complaint) -> Value {
        ERRORS.complaint(complaint)
    }
}
