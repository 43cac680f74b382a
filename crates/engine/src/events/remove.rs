//! Ends a subscription.

use matrix_core::{Action, Authorised};
use matrix_store::tables::{audit, subscriptions};

use super::Events;
use super::error::EventError;
use crate::engine::Engine;

/// Ends a subscription.
#[derive(Debug, Clone)]
pub struct EventRemove {
    /// Its name.
    pub name: String,
}

impl Action for EventRemove {
    const NAME: &'static str = "event_remove";
}

/// Removes a subscription with its cursor. What is being sent at this moment may still arrive.
pub async fn remove(
    engine: &Engine,
    events: &Events,
    request: &Authorised<EventRemove>,
) -> Result<(), EventError> {
    let (caller, at) = (request.caller().clone(), engine.clock().now());
    let EventRemove { name } = request.action().clone();
    events
        .database
        .write::<_, EventError, _>(move |tx| {
            if !subscriptions::remove(tx, &caller.scope, &name)? {
                return Err(EventError::NoSubscription(name));
            }
            audit::insert(tx, &caller, at, EventRemove::NAME, &name, "")?;
            Ok(())
        })
        .await?;
    events.changed.notify_one();
    Ok(())
}
