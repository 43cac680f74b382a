//! What models of `Anthropic` are told where another protocol carries the request, such as that of
//! Bedrock.

use serde_json::{Map, Value, json};

use super::{request, thinking};
use crate::chat::{ChatRequest, Sampling};
use crate::wire::WireError;

/// What a model is told.
#[derive(Debug)]
pub(crate) struct Carried {
    /// The most tokens of the answer and its thoughts.
    pub(crate) max_tokens: u64,
    /// How the next token is chosen, as far as the model takes it.
    pub(crate) sampling: Sampling,
    /// Fields for which the other protocol has no words.
    pub(crate) fields: Map<String, Value>,
}

/// Writes what a model is told. `fallback` is the most tokens where the asker said none.
pub(crate) fn carried(
    fallback: u64,
    request: &ChatRequest,
    dropped: &mut Vec<&'static str>,
) -> Result<Carried, WireError> {
    let thinking = thinking::encode(fallback, request, dropped)?;
    let sampling = request::sampling(request, &thinking, dropped);
    let mut fields = Map::new();
    if let Some(top_k) = sampling.top_k {
        fields.insert("top_k".into(), top_k.into());
    }
    if let Some(effort) = thinking.effort {
        fields.insert("output_config".into(), json!({ "effort": effort }));
    }
    if let Some(field) = thinking.field {
        fields.insert("thinking".into(), field);
    }
    Ok(Carried {
        max_tokens: thinking.max_tokens,
        sampling,
        fields,
    })
}
