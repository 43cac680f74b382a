//! Sends a named value to a run.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::tables::runs::WakePaused;
use serde_json::Value;

use super::message::{Mail, send, steering_facts};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;

/// Sends a named value to a run.
#[derive(Debug, Clone)]
pub struct RunSignal {
    /// The run.
    pub run: RunId,
    /// Who submitted it, from [`submitter_of`](super::submitter_of).
    pub submitter: String,
    /// The signal's name.
    pub name: String,
    /// The value.
    pub value: Value,
}

impl Action for RunSignal {
    const NAME: &'static str = "run_signal";

    fn facts(&self) -> Value {
        steering_facts(self.run, &self.submitter)
    }
}

/// Accepts the signal; a run that does not wait for it yet finds it later.
pub async fn signal(engine: &Engine, request: &Authorised<RunSignal>) -> Result<(), RequestError> {
    let RunSignal {
        run, name, value, ..
    } = request.action().clone();
    let mail = Mail {
        run,
        kind: EntryKind::SignalReceived,
        path: name,
        payload: value,
        paused: WakePaused::No,
        action: RunSignal::NAME,
        letters: Vec::new(),
    };
    send(engine, request.caller(), mail).await
}
