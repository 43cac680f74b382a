//! `GET /api/v1/events/subscriptions`.

use axum::extract::State;
use matrix_engine::events;

use super::body::{Subscription, reading};
use crate::edge::guard::SignedIn;
use crate::problem::Failure;
use crate::rest::page::Page;
use crate::server::{Server, blocking};

/// Who is told of events, by name.
#[utoipa::path(
    get, path = "/api/v1/events/subscriptions", operation_id = "event_subscriptions",
    tag = "events",
    responses((status = 200, description = "All of them.", body = Page<Subscription>)),
)]
pub(crate) async fn subscriptions(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Page<Subscription>, Failure> {
    let request = server.authorise(caller, reading())?;
    let found = blocking(move || events::list(server.events(), &request)).await?;
    let limit = u32::try_from(found.len()).unwrap_or(u32::MAX);
    Ok(Page::cut(found, limit, |view| view.name.clone()).map(Subscription::from))
}
