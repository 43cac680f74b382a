//! `POST /api/v1/events/subscriptions/{subscription}/remove`.

use axum::Json;
use axum::extract::State;
use matrix_engine::events::{self, EventRemove};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::Server;

/// A subscription that is no more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Removed {
    /// Its name.
    pub removed: String,
}

/// Ends a subscription and forgets how far it had come.
#[utoipa::path(
    post, path = "/api/v1/events/subscriptions/{subscription}/remove", operation_id = "event_remove",
    tag = "events", params(("subscription" = String, Path, description = "The subscription's name.")),
    responses((status = 200, description = "It is gone.", body = Removed)),
)]
pub(crate) async fn remove(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<Removed>, Failure> {
    let removed = name.clone();
    let request = server.authorise(caller, EventRemove { name })?;
    events::remove(server.engine(), server.events(), &request).await?;
    Ok(Json(Removed { removed }))
}
