//! `Google`'s `generateContent` and `streamGenerateContent`, as the Gemini API (`v1beta`) and Vertex AI
//! speak it.
//!
//! The model and whether the answer is streamed are said in the address, so a body holds neither. A
//! stream is asked for with `alt=sse`; each event is an answer in itself that holds what is new, and
//! a whole answer is read as a stream of one.
//!
//! Parts of an answer carry signatures of the thoughts behind them ("Thought signatures" in the
//! Gemini API's guide). They are kept as [`Opaque`](crate::chat::Opaque) with the part, and go back
//! with the same part.

mod answer;
mod message;
mod request;
mod stream;
mod thinking;

use serde_json::Value;

pub(crate) use self::message::fetches;
use super::{Complaint, Encoded, ProviderWire, StreamReader, WireError};
use crate::chat::{ChatAnswer, ChatRequest};

/// The family of what only Google understands.
const FAMILY: &str = "google";

/// What proves the thoughts behind a part.
const SIGNATURE: &str = "thought_signature";

/// How the ids begin that we give to calls, where Google gave none.
const OWN_ID: &str = "gemini_call_";

/// Gemini, at the Gemini API or at Vertex AI.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Gemini;

impl ProviderWire for Gemini {
    fn encode(&self, request: &ChatRequest, _stream: bool) -> Result<Encoded, WireError> {
        request::encode(request)
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
