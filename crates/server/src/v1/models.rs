//! `GET /v1/models`: the names that a caller may ask for.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use matrix_core::{Caller, Timestamp};
use matrix_models::ModelError;
use matrix_models::registry::{Entry, Snapshot};
use serde_json::{Value, json};

use super::ask::may;
use super::failure::{ANTHROPIC, OPENAI, failed};
use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::server::Server;

/// A name that can be asked for.
struct Offer {
    name: String,
    owner: &'static str,
    at: Timestamp,
}

/// The names that a caller may ask for, models and routes alike, in `OpenAI`'s protocol; in
/// `Anthropic`'s, for clients that send its header `anthropic-version`.
#[utoipa::path(
    get, path = "/v1/models", operation_id = "models", tag = "model protocols",
    responses((status = 200, description = "The names.", body = Value)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
) -> Response {
    let snapshot = match snapshot(&server, &caller).await {
        Ok(snapshot) => snapshot,
        Err(error) => return failed(&OPENAI, &error),
    };
    let offers = snapshot
        .names()
        .filter(|(name, _)| may(&server, &caller, &headers, name).is_ok())
        .map(|(name, entry)| offer(name, entry));
    if !is_anthropic(&headers) {
        let data: Vec<Value> = offers.map(|offer| openai(&offer)).collect();
        return Json(json!({ "object": "list", "data": data })).into_response();
    }
    let data: Vec<Value> = offers.map(|offer| anthropic(&offer)).collect();
    let id = |one: Option<&Value>| one.map(|one| one["id"].clone());
    Json(json!({
        "first_id": id(data.first()),
        "last_id": id(data.last()),
        "has_more": false,
        "data": data,
    }))
    .into_response()
}

/// One of them.
#[utoipa::path(
    get, path = "/v1/models/{*model}", operation_id = "model", tag = "model protocols",
    params(("model" = String, Path, description = "The name.")),
    responses((status = 200, description = "The name, if it can be asked for.", body = Value)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(model): Named<String>,
    headers: HeaderMap,
) -> Response {
    let found: Result<Offer, ModelError> = async {
        let snapshot = snapshot(&server, &caller).await?;
        let none = || ModelError::NoModel(model.clone());
        let entry = snapshot.get(&model).ok_or_else(none)?;
        may(&server, &caller, &headers, &model).map_err(|_| none())?;
        Ok(offer(&model, entry))
    }
    .await;
    match found {
        Ok(offer) if is_anthropic(&headers) => Json(anthropic(&offer)).into_response(),
        Ok(offer) => Json(openai(&offer)).into_response(),
        Err(error) if is_anthropic(&headers) => failed(&ANTHROPIC, &error),
        Err(error) => failed(&OPENAI, &error),
    }
}

async fn snapshot(server: &Server, caller: &Caller) -> Result<Arc<Snapshot>, ModelError> {
    let registry = server.models().registry();
    Ok(registry.snapshot(&caller.scope).await?)
}

fn is_anthropic(headers: &HeaderMap) -> bool {
    headers.contains_key("anthropic-version")
}

fn offer(name: &str, entry: &Entry) -> Offer {
    let (owner, at) = match entry {
        Entry::Model(model) => (model.spec.provider.kind.as_str(), model.created_at),
        Entry::Route(route) => ("matrix", route.created_at),
    };
    Offer {
        name: name.to_owned(),
        owner,
        at,
    }
}

fn openai(offer: &Offer) -> Value {
    json!({
        "id": offer.name,
        "object": "model",
        "created": offer.at.as_micros() / 1_000_000,
        "owned_by": offer.owner,
    })
}

fn anthropic(offer: &Offer) -> Value {
    json!({
        "type": "model",
        "id": offer.name,
        "display_name": offer.name,
        "created_at": offer.at.to_rfc3339_seconds(),
    })
}
