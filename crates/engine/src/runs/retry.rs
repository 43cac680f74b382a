//! Does a step, and everything after it, again. Nothing is deleted: the journal gets a `reset`.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, WakePaused};
use serde_json::{Value, json};

use super::message::{Mail, send, steering_facts};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;
use crate::lineage;
use crate::worker::{Letter, is_terminal};

/// Does a step, and everything after it, again.
#[derive(Debug, Clone)]
pub struct RunRetry {
    /// The run.
    pub run: RunId,
    /// Who submitted it, from [`submitter_of`](super::submitter_of).
    pub submitter: String,
    /// The step's address; nothing means the last one that failed or was interrupted.
    pub step: Option<String>,
}

impl Action for RunRetry {
    const NAME: &'static str = "run_retry";

    fn facts(&self) -> Value {
        steering_facts(self.run, &self.submitter)
    }
}

/// Accepts the request for a run that rests, waits or failed without having ended.
pub async fn retry(engine: &Engine, request: &Authorised<RunRetry>) -> Result<(), RequestError> {
    let RunRetry { run, step, .. } = request.action().clone();
    let row = engine
        .storage()
        .look::<_, StoreError, _>(move |tx| runs::get(tx, run))
        .await?
        .filter(|row| row.scope == request.caller().scope)
        .ok_or(RequestError::NotFound(run))?;
    if is_terminal(&row.state) {
        return Err(RequestError::Ended {
            run,
            state: row.state,
        });
    }
    let (database, blobs) = (engine.database().clone(), engine.blobs().clone());
    let read = move || lineage::history(&database, &blobs, &row);
    let history = engine.storage().read::<_, StoreError, _>(read).await?;
    let steps = history.steps();
    let chosen = match &step {
        Some(path) => steps.iter().find(|(known, _)| known == path),
        None => steps
            .iter()
            .rev()
            .find(|(_, record)| record.outcome.is_none()),
    };
    let from_seq = chosen.map(|(_, record)| record.first_seq).ok_or_else(|| {
        let path = step.unwrap_or_else(|| "(one that failed or was interrupted)".into());
        RequestError::NoStep { run, path }
    })?;
    // What was started from there on is started again.
    let voided = history
        .live_children()
        .into_iter()
        .filter(|(_, child)| child.seq >= from_seq);
    let reason = format!("run {run}, which started it, does that part again");
    let letters = voided
        .map(|(_, child)| Letter::cancel(child.spawned.run, &reason))
        .collect::<Result<Vec<_>, _>>()?;
    let mail = Mail {
        run,
        kind: EntryKind::Reset,
        path: String::new(),
        payload: json!({ "from_seq": from_seq }),
        paused: WakePaused::Yes,
        action: RunRetry::NAME,
        letters,
    };
    send(engine, request.caller(), mail).await
}
