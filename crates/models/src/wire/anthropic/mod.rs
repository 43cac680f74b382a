//! `Anthropic`'s messages (API reference, "Messages"), as its own service and servers like it speak
//! them.
//!
//! What the service gives a client to keep, such as the signature of a thought or where a cache is
//! to break, lies in [`Opaque`](crate::chat::Opaque) under `anthropic`. A client of this protocol
//! may be answered by somebody else: what that one gives to keep travels as the signature of a
//! thinking block (`proof.rs`), or in the field `extra_content` of any other block. Neither is ever
//! sent to `Anthropic`.

mod answer;
mod block;
mod carried;
mod marks;
mod message;
mod model;
mod proof;
mod request;
mod source;
mod stream;
mod thinking;
mod tools;
mod vertex;
mod writer;

use serde_json::Value;

pub(crate) use self::carried::carried;
pub(crate) use self::proof::own as signature;
pub(crate) use self::request::close as close_schema;
pub(crate) use self::tools::schema as object_schema;
pub use self::vertex::OnVertex;
use super::{
    Asked, ClientWire, Complaint, Delivery, Encoded, ProviderWire, StreamReader, StreamWriter,
    WireError,
};
use crate::chat::{ChatAnswer, ChatRequest};

/// Under which name [`Opaque`](crate::chat::Opaque) keeps what this provider alone understands.
const FAMILY: &str = "anthropic";

/// `Anthropic`'s messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Anthropic {
    /// The most tokens of an answer, where the asker did not say: the provider must be told a
    /// number. Thoughts come on top.
    pub max_tokens: u64,
    /// Whether the provider's cache is told where to break, where the asker did not say.
    pub marks: bool,
}

impl ProviderWire for Anthropic {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
        let marked = self.marks.then(|| marks::placed(request)).flatten();
        request::encode(self.max_tokens, marked.as_ref().unwrap_or(request), stream)
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

impl ClientWire for Anthropic {
    fn asked(&self, body: Value) -> Result<Asked, WireError> {
        request::decode(body)
    }

    fn answer(&self, answer: &ChatAnswer, _created: u64) -> Value {
        answer::encode(answer)
    }

    fn writer(&self, _created: u64, _delivery: Delivery) -> Box<dyn StreamWriter> {
        // Its streams always say what was used.
        Box::new(writer::Writer::default())
    }

    fn complaint(&self, complaint: &Complaint) -> Value {
        answer::complaint_of(complaint)
    }
}
