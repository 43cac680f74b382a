//! What a client sends: a body of JSON, and headers that say what the call is for.

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use matrix_core::{Authorised, Caller};
use matrix_models::budget::Labels;
use matrix_models::{ModelError, ModelUse};
use serde_json::Value;

use crate::edge::read::json;
use crate::problem::Failure;
use crate::server::Server;

/// The most characters of a label.
const LABEL_MAX: usize = 128;

/// The most tags of a call.
const TAGS_MAX: usize = 16;

/// A body of JSON, as large as pictures make it.
pub(crate) struct Conversation(pub(crate) Value);

impl FromRequest<Server> for Conversation {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Server) -> Result<Self, Failure> {
        json(request, server.limits().model_bytes).await.map(Self)
    }
}

/// Asks whether a caller may use a model for what its headers say.
pub(super) fn may(
    server: &Server,
    caller: &Caller,
    headers: &HeaderMap,
    model: &str,
) -> Result<Authorised<ModelUse>, ModelError> {
    let action = ModelUse {
        model: model.to_owned(),
        labels: Labels {
            project: label(headers, "x-matrix-project"),
            agent: label(headers, "x-matrix-agent"),
            run: label(headers, "x-matrix-run"),
        },
        tags: tags(headers),
    };
    Ok(Authorised::obtain(
        server.authorizer(),
        caller.clone(),
        action,
    )?)
}

/// A label, if it is a plain word.
fn label(headers: &HeaderMap, name: &str) -> Option<String> {
    let text = headers.get(name)?.to_str().ok()?.trim();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/@".contains(letter);
    let fits = !text.is_empty() && text.len() <= LABEL_MAX && text.chars().all(plain);
    fits.then(|| text.to_owned())
}

fn tags(headers: &HeaderMap) -> Vec<String> {
    let text = headers.get("x-matrix-tags");
    let text = text
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    tags.take(TAGS_MAX).map(str::to_owned).collect()
}
