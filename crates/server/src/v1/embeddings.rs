//! `POST /v1/embeddings`: texts as vectors, in `OpenAI`'s protocol.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use matrix_models::wire::openai::embeddings::{self, EmbedAsked};

use super::answer::label;
use super::ask::{Conversation, may};
use super::failure::{OPENAI, failed};
use crate::edge::guard::SignedIn;
use crate::server::{Outliving, Server};

/// Texts as vectors, in `OpenAI`'s protocol.
#[utoipa::path(
    post, path = "/v1/embeddings", operation_id = "embeddings", tag = "model protocols",
    request_body(content = serde_json::Value, description = "As the protocol says."),
    responses((status = 200, description = "A vector for each text.", body = serde_json::Value)),
)]
pub(crate) async fn embeddings(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    let EmbedAsked { request, encoding } = match embeddings::asked(body) {
        Ok(asked) => asked,
        Err(error) => return failed(&OPENAI, &error.into()),
    };
    let allowed = match may(&server, &caller, &headers, &request.model) {
        Ok(allowed) => allowed,
        Err(error) => return failed(&OPENAI, &error),
    };
    let gateway = server.models().clone();
    let call = Outliving::new(async move { gateway.embed(&allowed, request).await });
    let (answer, receipt) = match call.await {
        Ok(answered) => answered,
        Err(error) => return failed(&OPENAI, &error),
    };
    let body = embeddings::answer(&answer, receipt.usage.input, encoding);
    let mut response = Json(body).into_response();
    label(response.headers_mut(), &receipt);
    response
}
