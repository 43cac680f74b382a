//! What a client sends: a body of JSON, and headers that say what the call is for.

use axum::extract::{FromRequest, Request};
use axum::http::HeaderMap;
use matrix_core::{Authorised, Caller, Problem};
use matrix_models::budget::Labels;
use matrix_models::inference::Trace;
use matrix_models::wire::WireError;
use matrix_models::{ModelError, ModelUse};
use serde_json::Value;

use crate::edge::read::json;
use crate::problem::{Failure, TIMEOUT};
use crate::server::Server;

/// The most characters of a label.
const LABEL_MAX: usize = 128;

/// The most bytes of a name that is asked for; models have shorter ones.
const NAME_MAX: usize = 300;

/// The most tags of a call.
const TAGS_MAX: usize = 16;

/// A body of JSON, as large as pictures make it.
pub(crate) struct Conversation(pub(crate) Value);

impl FromRequest<Server> for Conversation {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Server) -> Result<Self, Failure> {
        let limits = server.limits();
        let reading = json(request, limits.model_bytes, Some(server.reading()));
        match tokio::time::timeout(limits.answer, reading).await {
            Ok(read) => read.map(Self),
            Err(_) => Err(Problem::new(TIMEOUT, "the body did not come in time").into()),
        }
    }
}

/// Asks whether a caller may use a model for what its headers say.
pub(super) fn may(
    server: &Server,
    caller: &Caller,
    headers: &HeaderMap,
    model: &str,
) -> Result<Authorised<ModelUse>, ModelError> {
    if model.len() > NAME_MAX {
        return Err(ModelError::NoModel(model.chars().take(80).collect()));
    }
    let action = ModelUse {
        model: model.to_owned(),
        labels: labels(headers)?,
        tags: tags(headers),
        trace: trace(headers),
        journaled: false,
    };
    Ok(Authorised::obtain(
        server.models().authorizer(),
        caller.clone(),
        action,
    )?)
}

/// What a call is for.
pub(super) fn labels(headers: &HeaderMap) -> Result<Labels, ModelError> {
    Ok(Labels {
        project: label(headers, "x-matrix-project")?,
        agent: label(headers, "x-matrix-agent")?,
        run: label(headers, "x-matrix-run")?,
    })
}

/// A label, if there is one. One that is no plain word is refused: ignored, it would slip past the
/// budgets and rules that count by it.
fn label(headers: &HeaderMap, name: &'static str) -> Result<Option<String>, ModelError> {
    let mut values = headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().unwrap_or_default().trim();
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "._-/@".contains(letter);
    let fits = !text.is_empty() && text.len() <= LABEL_MAX && text.chars().all(plain);
    if !fits || values.next().is_some() {
        let why = format!(
            "must be one word of 1 to {LABEL_MAX} letters, digits, `.`, `_`, `-`, `/` or `@`"
        );
        let at = name.to_owned();
        return Err(WireError::Invalid { at, why }.into());
    }
    Ok(Some(text.to_owned()))
}

/// The trace that a client is in (W3C Trace Context, version 00). One that is not as it should be is none.
fn trace(headers: &HeaderMap) -> Option<Trace> {
    let text = headers.get("traceparent")?.to_str().ok()?;
    let mut fields = text.trim().split('-');
    let mut hex = |digits: usize| {
        let field = fields.next()?;
        let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let fits = field.len() == digits && field.bytes().all(lower);
        (fits && (digits == 2 || field.bytes().any(|byte| byte != b'0'))).then_some(field)
    };
    let (version, trace, parent) = (hex(2)?, hex(32)?, hex(16)?);
    let parent = u64::from_str_radix(parent, 16).ok()?;
    (version != "ff").then(|| Trace {
        trace: trace.to_owned(),
        parent: parent.to_be_bytes(),
    })
}

fn tags(headers: &HeaderMap) -> Vec<String> {
    let text = headers.get("x-matrix-tags");
    let text = text
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    tags.take(TAGS_MAX).map(str::to_owned).collect()
}
