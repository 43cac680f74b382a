//! Protocols: JSON in, words in common out, and back.
//!
//! A protocol has two sides. [`ProviderWire`] is what we say to a provider and hear from it;
//! [`ClientWire`] is what clients say to us and hear from us. Both are pure: bytes come and go
//! elsewhere. Where a protocol has no word for something that was asked, the encoder says so in
//! [`Encoded::dropped`] if an answer without it is still one, and refuses otherwise.

pub mod anthropic;
mod arguments;
pub mod bedrock;
mod fields;
pub mod frames;
pub mod gemini;
pub mod ollama;
pub mod openai;
pub(crate) mod ranks;
pub mod responses;
pub mod sse;
pub(crate) mod vectors;

use serde_json::Value;

pub use self::fields::WireError;
pub(crate) use self::fields::{Fields, fields};
use crate::chat::{ChatAnswer, ChatRequest};
use crate::delta::Delta;
use crate::wire::sse::Event;

/// A request in a provider's words.
#[derive(Debug, Clone, PartialEq)]
pub struct Encoded {
    /// The body.
    pub body: Value,
    /// What was asked and cannot be said to this provider.
    pub dropped: Vec<&'static str>,
}

/// What we say to a provider, and hear from it.
pub trait ProviderWire: Send + Sync {
    /// A request in its words.
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Encoded, WireError>;

    /// Its answer.
    fn decode(&self, body: Value) -> Result<ChatAnswer, WireError>;

    /// Its answer as it is being written.
    fn reader(&self) -> Box<dyn StreamReader>;

    /// What its error says.
    fn error(&self, body: &Value) -> Option<Complaint>;
}

/// Reads a provider's stream.
pub trait StreamReader: Send {
    /// Takes the next event.
    fn read(&mut self, event: &Event, out: &mut Vec<Delta>) -> Result<(), WireError>;

    /// The connection was closed: gives what was still to come of a stream that is whole, and an
    /// error if it is not.
    fn close(&mut self, out: &mut Vec<Delta>) -> Result<(), WireError>;
}

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    /// The conversation.
    pub request: ChatRequest,
    /// How the answer is wanted.
    pub delivery: Delivery,
}

/// How a client wants its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// As a whole.
    Whole,
    /// As it is being written; the number of tokens at the end.
    Stream,
    /// As it is being written, without that number.
    StreamWithoutUsage,
}

/// What clients say to us, and hear from us.
pub trait ClientWire: Send + Sync {
    /// What a client asks.
    fn asked(&self, body: Value) -> Result<Asked, WireError>;

    /// An answer in its words. `created` is in seconds since 1970.
    fn answer(&self, answer: &ChatAnswer, created: u64) -> Value;

    /// The same as it is being written.
    fn writer(&self, created: u64, delivery: Delivery) -> Box<dyn StreamWriter>;

    /// A complaint in its words, with what it calls the kind of it.
    fn complaint(&self, complaint: &Complaint) -> Value;
}

/// Writes a stream to a client.
pub trait StreamWriter: Send {
    /// Writes what is new as server-sent events.
    fn write(&mut self, delta: &Delta, out: &mut Vec<u8>);

    /// Writes that the stream broke.
    fn fail(&mut self, complaint: &Complaint, out: &mut Vec<u8>);
}

/// Why something is not answered, between a provider, us and a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Complaint {
    /// The HTTP status.
    pub status: u16,
    /// What sort, in the provider's or our words.
    pub kind: String,
    /// A code that a program can tell apart.
    pub code: Option<String>,
    /// What happened, in words.
    pub message: String,
}
