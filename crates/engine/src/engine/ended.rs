//! Waiting for the end of a run.

use std::time::Duration;

use matrix_core::{Authorised, RunId};
use tokio::sync::watch;

use super::{ELSEWHERE, Engine, Tenure, lock};
use crate::error::RequestError;
use crate::runs::{self, RunRead};
use crate::worker::is_terminal;

/// A wait for this host to let go of one run, which leaves nothing behind however it ends.
pub(super) struct LetGo<'a> {
    engine: &'a Engine,
    run: RunId,
    heard: Option<watch::Receiver<()>>,
}

impl LetGo<'_> {
    /// Ready when this host let go of the run after the wait began.
    pub(super) async fn changed(&mut self) {
        if let Some(heard) = &mut self.heard {
            drop(heard.changed().await);
        }
    }
}

impl Drop for LetGo<'_> {
    fn drop(&mut self) {
        let mut settling = lock(&self.engine.shared.settling);
        self.heard = None;
        let alone = |let_go: &watch::Sender<()>| let_go.receiver_count() == 0;
        if settling.get(&self.run).is_some_and(alone) {
            settling.remove(&self.run);
        }
    }
}

impl Engine {
    /// Waits until a run has ended, for so long at most.
    pub async fn ended(
        &self,
        request: &Authorised<RunRead>,
        patience: Duration,
    ) -> Result<(), RequestError> {
        let waited = tokio::time::timeout(patience, self.end_of(request)).await;
        waited.unwrap_or(Ok(()))
    }

    async fn end_of(&self, request: &Authorised<RunRead>) -> Result<(), RequestError> {
        let mut stopped = self.shared.stopped.subscribe();
        let shared = self.shared.tenure == Tenure::Shared;
        loop {
            let mut let_go = self.when_let_go(request.action().run);
            let row = runs::row(self.database(), request)?;
            if is_terminal(&row.state) || *stopped.borrow_and_update() {
                return Ok(());
            }
            tokio::select! {
                biased;
                () = let_go.changed() => {}
                () = tokio::time::sleep(ELSEWHERE), if shared => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Begins to listen for this host to let go of a run.
    pub(super) fn when_let_go(&self, run: RunId) -> LetGo<'_> {
        let heard = lock(&self.shared.settling)
            .entry(run)
            .or_default()
            .subscribe();
        LetGo {
            engine: self,
            run,
            heard: Some(heard),
        }
    }
}
