//! `POST /api/v1/events/subscriptions/{subscription}/reset`.

use axum::Json;
use axum::extract::State;
use matrix_engine::events::{self, EventError, EventReset};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Subscription;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::server::Server;

/// Where a subscription goes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reset {
    /// `beginning`, `now`, or a place.
    pub after: String,
}

/// Sets a subscription to another place. What is sent again because of it has other message ids
/// than before.
#[utoipa::path(
    post, path = "/api/v1/events/subscriptions/{subscription}/reset", operation_id = "event_reset",
    tag = "events", params(("subscription" = String, Path, description = "The subscription's name.")),
    request_body = Reset,
    responses((status = 200, description = "It goes on from there.", body = Subscription)),
)]
pub(crate) async fn reset(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
    Body(Reset { after }): Body<Reset>,
) -> Result<Json<Subscription>, Failure> {
    let to = after.parse().map_err(EventError::Cursor)?;
    let request = server.authorise(caller, EventReset { name, to })?;
    let set = events::reset(server.engine(), server.events(), &request).await?;
    Ok(Json(set.into()))
}
