//! `POST /v1/embeddings`: texts as vectors, in `OpenAI`'s protocol.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use matrix_models::embed::{EmbedRequest, TEXTS_MAX};
use serde::Deserialize;
use serde_json::{Value, json};

use super::answer::{ended, label, refused};
use super::ask::{Conversation, may};
use super::failure::{OPENAI, failed};
use crate::edge::guard::SignedIn;
use crate::server::Server;

#[derive(Deserialize)]
struct Asked {
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

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Encoding {
    Float,
    Base64,
}

/// Texts as vectors, in `OpenAI`'s protocol.
#[utoipa::path(
    post, path = "/v1/embeddings", operation_id = "embeddings", tag = "model protocols",
    request_body(content = Value, description = "As the protocol says."),
    responses((status = 200, description = "A vector for each text.", body = Value)),
)]
pub(crate) async fn embeddings(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    let asked: Asked = match serde_json::from_value(body) {
        Ok(asked) => asked,
        Err(error) => return refused(&OPENAI, "body", error.to_string()),
    };
    let texts = match asked.input {
        Input::One(text) => vec![text],
        Input::Many(texts) => texts,
        Input::Tokens(tokens) => {
            let why = "must be texts: tokens of one model mean nothing to another. With LangChain, \
                       say `check_embedding_ctx_length=False`";
            let why = if tokens.is_empty() {
                "must not be empty"
            } else {
                why
            };
            return refused(&OPENAI, "input", why);
        }
    };
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        return refused(&OPENAI, "input", format!("must be 1 to {TEXTS_MAX} texts"));
    }
    let request = EmbedRequest {
        model: asked.model,
        texts,
        dimensions: asked.dimensions,
        purpose: asked.input_type,
        user: asked.user,
    };
    let allowed = match may(&server, &caller, &headers, &request.model) {
        Ok(allowed) => allowed,
        Err(error) => return failed(&OPENAI, &error),
    };
    let gateway = server.models().clone();
    let (answer, receipt) = match ended(async move { gateway.embed(&allowed, request).await }).await
    {
        Ok(Ok(answered)) => answered,
        Ok(Err(error)) => return failed(&OPENAI, &error),
        Err(failure) => return failure.into_response(),
    };
    let encoding = asked.encoding_format.unwrap_or(Encoding::Float);
    let data = answer.vectors.iter().enumerate().map(|(index, vector)| {
        json!({ "object": "embedding", "index": index, "embedding": written(vector, encoding) })
    });
    let tokens = receipt.usage.input;
    let mut response = Json(json!({
        "object": "list",
        "data": data.collect::<Vec<_>>(),
        "model": answer.model,
        "usage": { "prompt_tokens": tokens, "total_tokens": tokens },
    }))
    .into_response();
    label(response.headers_mut(), &receipt);
    response
}

/// Numbers, or their bytes as `OpenAI`'s own clients ask for them: single precision, little-endian.
fn written(vector: &[f32], encoding: Encoding) -> Value {
    match encoding {
        Encoding::Float => json!(vector),
        Encoding::Base64 => {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            BASE64_STANDARD.encode(bytes).into()
        }
    }
}
