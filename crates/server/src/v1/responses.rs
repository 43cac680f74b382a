//! `POST /v1/responses`: `OpenAI`'s responses, without a memory of earlier ones.

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::Response;

use super::answer::converse;
use super::ask::Conversation;
use crate::edge::guard::SignedIn;
use crate::server::Server;
use matrix_models::wire::responses::Responses;

/// `OpenAI`'s responses, without a memory of earlier ones. Bodies, streams and errors are those of the protocol.
#[utoipa::path(
    post, path = "/v1/responses", operation_id = "responses", tag = "model protocols",
    request_body(content = Value, description = "As the protocol says."),
    responses((status = 200, description = "The answer, or a stream of its events.", body = Value)),
)]
pub(crate) async fn responses(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Response {
    converse(&server, (caller, headers), &Responses, body).await
}
