//! What goes wrong, in the words of the client's protocol.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use matrix_core::Problem;
use matrix_models::ModelError;
use matrix_models::wire::anthropic::Anthropic;
use matrix_models::wire::openai::{Dialect, OpenaiChat};
use matrix_models::wire::{ClientWire, Complaint};
use serde_json::Value;

use super::PREFIX;
use crate::problem::Failure;

/// `Anthropic`'s protocol, for clients.
pub(super) const ANTHROPIC: Anthropic = Anthropic {
    max_tokens: 4_096,
    marks: false,
};

/// `OpenAI`'s chat completions, for clients.
pub(super) const OPENAI: OpenaiChat = OpenaiChat {
    dialect: Dialect::Openai,
};

/// Whether a path belongs to a model protocol.
pub(crate) fn is_ours(path: &str) -> bool {
    path.starts_with(PREFIX)
}

/// The protocol by whose words a path's errors are told.
fn wire_of(path: &str) -> &'static dyn ClientWire {
    if path.starts_with("/v1/messages") {
        &ANTHROPIC
    } else {
        &OPENAI
    }
}

/// A problem of the edge, for a client of a path's protocol.
pub(crate) fn problem(path: &str, problem: &Problem) -> Value {
    let status = problem.code.status;
    let kind = match status {
        401 => "authentication_error",
        403 => "permission_error",
        429 => "rate_limit_error",
        500.. => "server_error",
        _ => "invalid_request_error",
    };
    let message = match &problem.help {
        Some(help) => format!("{}; {help}", problem.detail),
        None => problem.detail.clone(),
    };
    wire_of(path).complaint(&Complaint {
        status,
        kind: kind.into(),
        code: Some(problem.code.text.into()),
        message,
    })
}

/// Why a model was not asked, or did not answer, for a client of a protocol.
pub(super) fn failed(wire: &dyn ClientWire, error: &ModelError) -> Response {
    let complaint = error.complaint();
    if complaint.status >= 500 {
        tracing::warn!(%error, "a model did not answer");
    }
    let status = StatusCode::from_u16(complaint.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let mut response = (status, Json(wire.complaint(&complaint))).into_response();
    if let Some(wait) = error.retry_after() {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        response
            .headers_mut()
            .insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    response
}

/// Why a client of `OpenAI`'s protocol is refused: by the gateway, or by the edge, whose problems the frame
/// puts into the protocol's words.
pub(crate) enum Refused {
    /// By the gateway.
    Model(ModelError),
    /// By the edge.
    Edge(Failure),
}

impl From<ModelError> for Refused {
    fn from(error: ModelError) -> Self {
        Self::Model(error)
    }
}

impl From<Failure> for Refused {
    fn from(failure: Failure) -> Self {
        Self::Edge(failure)
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        match self {
            Self::Model(error) => failed(&OPENAI, &error),
            Self::Edge(failure) => failure.into_response(),
        }
    }
}
