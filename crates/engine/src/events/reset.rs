//! Sets a subscription to another place.

use matrix_core::{Action, Authorised};
use matrix_store::tables::{audit, subscriptions};

use super::Events;
use super::cursor::StartAt;
use super::error::EventError;
use super::subscription::{SubscriptionView, view};
use crate::engine::Engine;

/// Sets a subscription to another place.
#[derive(Debug, Clone)]
pub struct EventReset {
    /// Its name.
    pub name: String,
    /// Where it goes on.
    pub to: StartAt,
}

impl Action for EventReset {
    const NAME: &'static str = "event_reset";
}

/// Sets the cursor, and forgets that attempts failed. What is sent again because of it has other
/// message ids than before, so that brokers do not take it for a duplicate.
pub async fn reset(
    engine: &Engine,
    events: &Events,
    request: &Authorised<EventReset>,
) -> Result<SubscriptionView, EventError> {
    let (caller, at) = (request.caller().clone(), engine.clock().now());
    let EventReset { name, to } = request.action().clone();
    let source = events.clone();
    let set = events
        .database
        .write::<_, EventError, _>(move |tx| {
            let cursor = source.start(tx, &to)?.to_string();
            let missing = || EventError::NoSubscription(name.clone());
            if !subscriptions::reset(tx, &caller.scope, &name, &cursor)? {
                return Err(missing());
            }
            audit::insert(tx, &caller, at, EventReset::NAME, &name, &cursor)?;
            let row = subscriptions::get(tx, &caller.scope, &name)?.ok_or_else(missing)?;
            view(tx, row).map_err(EventError::from)
        })
        .await?;
    events.changed.notify_one();
    Ok(set)
}
