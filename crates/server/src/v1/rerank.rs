//! `POST /v1/rerank`: texts in order of relevance, in the protocol that Cohere began.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use matrix_models::rerank::{RerankRequest, TEXTS_MAX};
use serde::Deserialize;
use serde_json::json;

use super::answer::{label, refused};
use super::ask::{Conversation, may};
use super::failure::{OPENAI, failed};
use crate::edge::guard::SignedIn;
use crate::server::{Outliving, Server};

#[derive(Deserialize)]
struct Asked {
    model: String,
    query: String,
    documents: Vec<Document>,
    #[serde(default)]
    top_n: Option<u32>,
    #[serde(default)]
    return_documents: bool,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Document {
    Text(String),
    Object { text: String },
}

/// Texts in order of their relevance for a question, the most relevant first.
#[utoipa::path(
    post, path = "/v1/rerank", operation_id = "rerank", tag = "model protocols",
    request_body(content = Value, description = "`model`, `query`, `documents`, `top_n`, `return_documents`."),
    responses((status = 200, description = "`results`: `index` and `relevance_score`.", body = Value)),
)]
pub(crate) async fn rerank(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    let asked: Asked = match serde_json::from_value(body) {
        Ok(asked) => asked,
        Err(error) => return refused(&OPENAI, "body", error.to_string()),
    };
    let texts: Vec<String> = asked
        .documents
        .into_iter()
        .map(|document| match document {
            Document::Text(text) | Document::Object { text } => text,
        })
        .collect();
    if texts.is_empty() || texts.len() > TEXTS_MAX {
        return refused(
            &OPENAI,
            "documents",
            format!("must be 1 to {TEXTS_MAX} texts"),
        );
    }
    let request = RerankRequest {
        model: asked.model,
        query: asked.query,
        texts: texts.clone(),
        top: asked.top_n,
    };
    let allowed = match may(&server, &caller, &headers, &request.model) {
        Ok(allowed) => allowed,
        Err(error) => return failed(&OPENAI, &error),
    };
    let gateway = server.models().clone();
    let call = Outliving::new(async move { gateway.rerank(&allowed, request).await });
    let (answer, receipt) = match call.await {
        Ok(answered) => answered,
        Err(error) => return failed(&OPENAI, &error),
    };
    let results = answer.ranks.iter().map(|rank| {
        let mut result = json!({ "index": rank.index, "relevance_score": rank.score });
        if let (true, Some(text)) = (asked.return_documents, texts.get(rank.index)) {
            result["document"] = json!({ "text": text });
        }
        result
    });
    let mut response = Json(json!({
        "id": answer.id,
        "object": "list",
        "model": answer.model,
        "results": results.collect::<Vec<_>>(),
        "usage": { "total_tokens": receipt.usage.input },
        "meta": { "billed_units": { "search_units": answer.queries } },
    }))
    .into_response();
    label(response.headers_mut(), &receipt);
    response
}
