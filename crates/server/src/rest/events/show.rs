//! `GET /api/v1/events/subscriptions/{subscription}`.

use axum::Json;
use axum::extract::State;
use matrix_engine::events;

use super::body::{Subscription, reading};
use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// A subscription: how far it has come, and what is in its way.
#[utoipa::path(
    get, path = "/api/v1/events/subscriptions/{subscription}", operation_id = "event_subscription",
    tag = "events", params(("subscription" = String, Path, description = "The subscription's name.")),
    responses((status = 200, description = "The subscription.", body = Subscription)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<Subscription>, Failure> {
    let request = server.authorise(caller, reading())?;
    let found = blocking(move || events::show(server.events(), &request, &name)).await?;
    Ok(Json(found.into()))
}
