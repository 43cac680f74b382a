//! `POST /v1/messages`: `Anthropic`'s messages, and how many tokens one has.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use matrix_models::wire::ClientWire;
use serde_json::json;

use super::answer::converse;
use super::ask::{Conversation, may};
use super::failure::{ANTHROPIC, failed};
use crate::edge::guard::SignedIn;
use crate::server::Server;

/// `Anthropic`'s messages. Bodies, streams and errors are those of the protocol; the token may come
/// in the header `x-api-key`.
#[utoipa::path(
    post, path = "/v1/messages", operation_id = "messages", tag = "model protocols",
    request_body(content = Value, description = "As the protocol says."),
    responses((status = 200, description = "The answer, or a stream of its events.", body = Value)),
)]
pub(crate) async fn messages(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    converse(&server, (caller, headers), &ANTHROPIC, body).await
}

/// About how many tokens a message has. It is estimated here: no provider is asked.
#[utoipa::path(
    post, path = "/v1/messages/count_tokens", operation_id = "messages_count", tag = "model protocols",
    request_body(content = Value, description = "As the protocol says."),
    responses((status = 200, description = "The number.", body = Value)),
)]
pub(crate) async fn count(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    let asked = ANTHROPIC.asked(body).map_err(Into::into);
    let counted = asked.and_then(|asked| {
        may(&server, &caller, &headers, &asked.request.model)?;
        Ok(matrix_models::estimate::request(&asked.request))
    });
    match counted {
        Ok(tokens) => Json(json!({ "input_tokens": tokens })).into_response(),
        Err(error) => failed(&ANTHROPIC, &error),
    }
}
