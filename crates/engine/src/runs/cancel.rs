//! Ends a run at its next step boundary.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::tables::runs::WakePaused;
use serde_json::{Value, json};

use super::message::{Mail, send, steering_facts};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;

/// Ends a run at its next step boundary.
#[derive(Debug, Clone)]
pub struct RunCancel {
    /// The run.
    pub run: RunId,
    /// Who submitted it, from [`submitter_of`](super::submitter_of).
    pub submitter: String,
    /// Why, in the caller's words.
    pub reason: String,
}

impl Action for RunCancel {
    const NAME: &'static str = "run_cancel";

    fn facts(&self) -> Value {
        steering_facts(self.run, &self.submitter)
    }
}

/// Accepts the request; the run's owner carries it out at the next step boundary.
pub async fn cancel(engine: &Engine, request: &Authorised<RunCancel>) -> Result<(), RequestError> {
    let RunCancel { run, reason, .. } = request.action();
    let mail = Mail {
        run: *run,
        kind: EntryKind::CancelRequested,
        path: String::new(),
        payload: json!({ "reason": reason }),
        paused: WakePaused::Yes,
        action: RunCancel::NAME,
        letters: Vec::new(),
    };
    send(engine, request.caller(), mail).await
}
