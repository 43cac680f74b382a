//! A message to a run: accepted means durable, and the run is woken in the same transaction.

use matrix_core::{Caller, RunId};
use matrix_store::StoreError;
use matrix_store::tables::audit;
use matrix_store::tables::inbox::{self, Message};
use matrix_store::tables::runs::{self, WakePaused};
use serde_json::Value;

use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;
use crate::worker::is_terminal;

pub(super) struct Mail {
    pub(super) run: RunId,
    pub(super) kind: EntryKind,
    pub(super) path: String,
    pub(super) payload: Value,
    pub(super) paused: WakePaused,
    pub(super) action: &'static str,
}

/// Puts a message in a run's inbox, unless the run has ended.
pub(super) async fn send(engine: &Engine, caller: &Caller, mail: Mail) -> Result<(), RequestError> {
    let Mail {
        run,
        kind,
        path,
        payload,
        paused,
        action,
    } = mail;
    let (caller, at) = (caller.clone(), engine.clock().now());
    engine
        .database()
        .write::<_, RequestError, _>(move |tx| {
            let row = runs::get(tx, run)?
                .filter(|row| row.scope == caller.scope)
                .ok_or(RequestError::NotFound(run))?;
            if is_terminal(&row.state) {
                return Err(RequestError::Ended {
                    run,
                    state: row.state,
                });
            }
            let message = Message {
                id: 0,
                run,
                kind: kind.as_str().into(),
                path,
                payload: serde_json::to_vec(&payload).map_err(StoreError::corrupt)?,
                actor: caller.principal.to_string(),
                at,
            };
            inbox::insert(tx, &message)?;
            runs::wake(tx, run, paused, at)?;
            audit::insert(tx, &caller, at, action, &run.to_string(), "")?;
            Ok(())
        })
        .await?;
    engine.wake(run);
    Ok(())
}
