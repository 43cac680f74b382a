//! `POST /v1/chat/completions`: `OpenAI`'s chat completions.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::answer::converse;
use super::ask::Conversation;
use super::failure::OPENAI;
use crate::edge::guard::SignedIn;
use crate::server::Server;

/// `OpenAI`'s chat completions. Bodies, streams and errors are those of the protocol.
#[utoipa::path(
    post, path = "/v1/chat/completions", operation_id = "chat_completions", tag = "model protocols",
    request_body(content = Value, description = "As the protocol says."),
    responses((status = 200, description = "The answer, or a stream of its events.", body = Value)),
)]
pub(crate) async fn chat(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    converse(&server, (caller, headers), &OPENAI, body).await
}
