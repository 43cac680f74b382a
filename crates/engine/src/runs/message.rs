//! A message to a run: accepted means durable, and the run is woken in the same transaction.

use matrix_core::{Caller, RunId};
use matrix_store::tables::inbox::{self, Message};
use matrix_store::tables::queue::{self, Placement};
use matrix_store::tables::runs::{self, WakePaused};
use matrix_store::tables::{audit, journal};
use matrix_store::{Database, StoreError};
use serde_json::{Value, json};

use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;
use crate::storage::Purpose;
use crate::worker::{Letter, is_terminal};

/// What a policy is told about a request to steer a run.
pub(super) fn steering_facts(run: RunId, submitter: &str) -> Value {
    json!({ "run": run, "submitter": submitter })
}

/// Who submitted a run, as `user:name`, for the policy that lets people steer their own; empty for
/// a run that is not there or was removed, so that nobody learns more than that they may not.
pub fn submitter_of(database: &Database, run: RunId) -> Result<String, StoreError> {
    let first = database.read_now(|tx| journal::list(tx, run, -1, 1));
    let first = match first {
        Err(StoreError::Removed { .. }) => Vec::new(),
        first => first?,
    };
    Ok(first
        .into_iter()
        .next()
        .map(|entry| entry.actor)
        .unwrap_or_default())
}

pub(crate) struct Mail {
    pub(crate) run: RunId,
    pub(crate) kind: EntryKind,
    pub(crate) path: String,
    pub(crate) payload: Value,
    pub(crate) paused: WakePaused,
    pub(crate) action: &'static str,
    /// What other runs are told in the same transaction.
    pub(crate) letters: Vec<Letter>,
}

/// Puts a message in a run's inbox, unless the run has ended.
pub(crate) async fn send(engine: &Engine, caller: &Caller, mail: Mail) -> Result<(), RequestError> {
    let Mail {
        run,
        kind,
        path,
        payload,
        paused,
        action,
        letters,
    } = mail;
    let told: Vec<RunId> = letters.iter().map(|letter| letter.to).collect();
    let (caller, at) = (caller.clone(), engine.clock().now());
    engine
        .storage()
        .write::<_, RequestError, _>(Purpose::Message(run), move |tx| {
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
            if kind == EntryKind::CancelRequested {
                // It only ends, so it waits for no slot.
                queue::exempt(tx, run, &Placement::default().flow(&row.scope))?;
            }
            for letter in letters {
                letter.post(tx, run, at)?;
            }
            audit::insert(tx, &caller, at, action, &run.to_string(), "")?;
            Ok(())
        })
        .await?;
    engine.wake(run);
    engine.wake_all(told);
    Ok(())
}
