//! Texts as vectors, as clients of `OpenAI`'s protocol ask for them (API reference, "Embeddings").

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::embed::{EmbedAnswer, EmbedRequest, TEXTS_MAX};
use crate::wire::WireError;

/// What a client asks.
#[derive(Debug, Clone, PartialEq)]
pub struct EmbedAsked {
    /// The texts.
    pub request: EmbedRequest,
    /// How the vectors are wanted.
    pub encoding: Encoding,
}

/// How vectors are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Encoding {
    /// As numbers.
    #[default]
    Float,
    /// As their bytes, as `OpenAI`'s own clients ask for them: single precision, little-endian.
    Base64,
}

#[derive(Deserialize)]
struct Body {
    model: String,
    input: Input,
    #[serde(default)]
    dimensions: Option<u32>,
    #[serde(default)]
    encoding_format: Option<Encoding>,
    #[serde(default)]
    user: Option<String>,
    /// What the texts are, in Cohere's and others' words.
    #[serde(default)]
    input_type: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Input {
    One(String),
    Many(Vec<String>),
    /// Numbers of tokens, in one list or several.
    Tokens(Vec<Value>),
}

/// What a client asks.
pub fn asked(body: Value) -> Result<EmbedAsked, WireError> {
    let body: Body = serde_json::from_value(body)
        .map_err(|error| WireError::invalid("body", error.to_string()))?;
    let texts = match body.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Tokens(tokens) if tokens.is_empty() => Vec::new(),
        Input::Tokens(_) => {
            let why = "must be texts: tokens of one model mean nothing to another. With LangChain, \
                       say `check_embedding_ctx_length=False`";
            return Err(WireError::invalid("input", why));
        }
    };
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        let why = format!("must be 1 to {TEXTS_MAX} texts");
        return Err(WireError::invalid("input", why));
    }
    Ok(EmbedAsked {
        request: EmbedRequest {
            model: body.model,
            texts,
            dimensions: body.dimensions,
            purpose: body.input_type,
            user: body.user,
        },
        encoding: body.encoding_format.unwrap_or_default(),
    })
}

/// The vectors in a client's words; `tokens` were read for them.
pub fn answer(answer: &EmbedAnswer, tokens: u64, encoding: Encoding) -> Value {
    let data = answer.vectors.iter().enumerate().map(|(index, vector)| {
        json!({ "object": "embedding", "index": index, "embedding": written(vector, encoding) })
    });
    json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": answer.model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    })
}

fn written(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let numbers = vector.iter().flat_map(|number| number.to_le_bytes());
            BASE64_STANDARD.encode(numbers.collect::<Vec<u8>>()).into()
        }
    }
}
