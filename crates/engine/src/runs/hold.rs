//! Holds a run, so that retention does not remove it, or lets go of it.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::StoreError;
use matrix_store::tables::{audit, runs};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::error::RequestError;
use crate::storage::Purpose;

/// Holds a run, or lets go of it.
#[derive(Debug, Clone)]
pub struct RunHold {
    /// The run.
    pub run: RunId,
    /// Why it is held, in the caller's words; nothing lets go of it.
    pub reason: Option<String>,
}

impl Action for RunHold {
    const NAME: &'static str = "run_hold";

    fn facts(&self) -> Value {
        json!({})
    }
}

/// Holds a run of whatever state until somebody lets go of it; a run has one hold, and the newest
/// reason counts. It is durable when this returns.
///
/// # Errors
/// When there is no such run, or its journal was removed before.
pub async fn hold(engine: &Engine, request: &Authorised<RunHold>) -> Result<(), RequestError> {
    let RunHold { run, reason } = request.action().clone();
    let (caller, at) = (request.caller().clone(), engine.clock().now());
    engine
        .storage()
        .write::<_, RequestError, _>(Purpose::Message(run), move |tx| {
            let row = runs::get(tx, run)?
                .filter(|row| row.scope == caller.scope)
                .ok_or(RequestError::NotFound(run))?;
            let reason = reason.as_deref().unwrap_or_default();
            if !runs::hold(tx, run, reason)? {
                let at = row.removed_at.unwrap_or_default();
                return Err(StoreError::Removed { run, at }.into());
            }
            audit::insert(tx, &caller, at, RunHold::NAME, &run.to_string(), reason)?;
            Ok(())
        })
        .await
}
