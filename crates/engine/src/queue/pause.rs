//! Lets nobody begin under a key until a time, or until somebody says otherwise.
//!
//! It is the same pause that a step asks for when its upstream wants to be left alone; this one has a
//! person behind it, so no step makes it shorter.

use matrix_core::{Action, Authorised, Timestamp};
use matrix_store::StoreError;
use matrix_store::tables::queue::Slot;
use matrix_store::tables::{audit, throttles};

use super::placing::{BadPlacing, is_key};
use crate::engine::Engine;
use crate::error::RequestError;
use crate::storage::Purpose;

/// The end of a pause that has none: the last second that four digits of a year can name.
pub const FOR_GOOD: Timestamp = Timestamp::from_micros(253_402_300_799_000_000);

/// The most characters that say why a key is paused.
const BECAUSE_MAX: usize = 200;

/// Lets no run of the caller's tenant begin under a key.
#[derive(Debug, Clone)]
pub struct QueuePause {
    /// The key.
    pub key: String,
    /// Until when; nothing means until [`resume`].
    pub until: Option<Timestamp>,
    /// Why, in the caller's words.
    pub reason: String,
}

impl Action for QueuePause {
    const NAME: &'static str = "queue_pause";
}

/// Lets runs begin under a key again.
#[derive(Debug, Clone)]
pub struct QueueResume {
    /// The key.
    pub key: String,
}

impl Action for QueueResume {
    const NAME: &'static str = "queue_resume";
}

/// Pauses a key; runs that have begun go on. Gives the end of the pause.
pub async fn pause(
    engine: &Engine,
    request: &Authorised<QueuePause>,
) -> Result<Timestamp, RequestError> {
    let QueuePause { key, until, reason } = request.action().clone();
    let until = until.unwrap_or(FOR_GOOD).min(FOR_GOOD);
    let because = match reason.trim() {
        "" => format!("{} paused it", request.caller().principal),
        reason => format!("{} paused it: {reason}", request.caller().principal),
    };
    let because: String = because.chars().take(BECAUSE_MAX).collect();
    say(engine, request, key, until, because).await?;
    Ok(until)
}

/// Ends a pause, whoever began it. Of a key that is not paused it changes nothing.
pub async fn resume(
    engine: &Engine,
    request: &Authorised<QueueResume>,
) -> Result<(), RequestError> {
    let key = request.action().key.clone();
    say(
        engine,
        request,
        key,
        Timestamp::from_micros(0),
        String::new(),
    )
    .await?;
    engine.look();
    Ok(())
}

async fn say<A: Action>(
    engine: &Engine,
    request: &Authorised<A>,
    key: String,
    until: Timestamp,
    because: String,
) -> Result<(), RequestError> {
    if !is_key(&key) {
        return Err(BadPlacing::Key.into());
    }
    let (caller, at) = (request.caller().clone(), engine.clock().now());
    let scope = caller.scope.clone();
    let slot = Slot::Key(scope.organisation, scope.workspace, key.clone());
    engine
        .storage()
        .write::<_, StoreError, _>(Purpose::Throttle, move |tx| {
            throttles::pause(tx, &slot, until, &because)?;
            audit::insert(tx, &caller, at, A::NAME, &key, &because)
        })
        .await?;
    Ok(())
}
