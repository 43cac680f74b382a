//! Lets a resting run go on.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::tables::runs::WakePaused;
use serde_json::{Value, json};

use super::message::{Mail, send, steering_facts};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;

/// Lets a resting run go on.
#[derive(Debug, Clone)]
pub struct RunResume {
    /// The run.
    pub run: RunId,
    /// Who submitted it, from [`submitter_of`](super::submitter_of).
    pub submitter: String,
    /// Why, in the caller's words.
    pub reason: String,
}

impl Action for RunResume {
    const NAME: &'static str = "run_resume";

    fn facts(&self) -> Value {
        steering_facts(self.run, &self.submitter)
    }
}

/// Accepts the request; the run's owner carries it out at the next step boundary.
pub async fn resume(engine: &Engine, request: &Authorised<RunResume>) -> Result<(), RequestError> {
    let RunResume { run, reason, .. } = request.action();
    let mail = Mail {
        run: *run,
        kind: EntryKind::Resumed,
        path: String::new(),
        payload: json!({ "reason": reason }),
        paused: WakePaused::Yes,
        action: RunResume::NAME,
        letters: Vec::new(),
    };
    send(engine, request.caller(), mail).await
}
