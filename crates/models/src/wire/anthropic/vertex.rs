//! `Anthropic`'s messages as Vertex AI hands them on ("Claude on Vertex AI"): the address names the
//! model, and the body the version.

use serde_json::Value;

use super::Anthropic;
use crate::chat::{ChatAnswer, ChatRequest};
use crate::wire::gemini::Gemini;
use crate::wire::{Complaint, Encoded, ProviderWire, StreamReader, WireError};

/// The one version there is.
const VERSION: &str = "vertex-2023-10-16";

/// `Anthropic`'s messages at Vertex AI.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnVertex(pub Anthropic);

impl ProviderWire for OnVertex {
    fn encode(&self, request: &ChatRequest, stream: bool) -> Result<Encoded, WireError> {
        let mut encoded = self.0.encode(request, stream)?;
        if let Value::Object(body) = &mut encoded.body {
            body.shift_remove("model");
            body.insert("anthropic_version".into(), VERSION.into());
        }
        Ok(encoded)
    }

    fn decode(&self, body: Value) -> Result<ChatAnswer, WireError> {
        self.0.decode(body)
    }

    fn reader(&self) -> Box<dyn StreamReader> {
        self.0.reader()
    }

    /// Google complains in its own words, and hands on those of Anthropic.
    fn error(&self, body: &Value) -> Option<Complaint> {
        let ours = body
            .get("error")
            .is_some_and(|error| error.get("type").is_some());
        if ours {
            return self.0.error(body);
        }
        Gemini.error(body)
    }
}
