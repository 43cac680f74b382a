//! Lets a run rest at its next step boundary until it is resumed.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::tables::runs::WakePaused;
use serde_json::{Value, json};

use super::message::{Mail, send, steering_facts};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;

/// Lets a run rest at its next step boundary until it is resumed.
#[derive(Debug, Clone)]
pub struct RunPause {
    /// The run.
    pub run: RunId,
    /// Who submitted it, from [`submitter_of`](super::submitter_of).
    pub submitter: String,
    /// Why, in the caller's words.
    pub reason: String,
}

impl Action for RunPause {
    const NAME: &'static str = "run_pause";

    fn facts(&self) -> Value {
        steering_facts(self.run, &self.submitter)
    }
}

/// Accepts the request; the run's owner carries it out at the next step boundary.
pub async fn pause(engine: &Engine, request: &Authorised<RunPause>) -> Result<(), RequestError> {
    let RunPause { run, reason, .. } = request.action();
    let mail = Mail {
        run: *run,
        kind: EntryKind::Paused,
        path: String::new(),
        payload: json!({ "reason": reason }),
        paused: WakePaused::No,
        action: RunPause::NAME,
        letters: Vec::new(),
    };
    send(engine, request.caller(), mail).await
}
