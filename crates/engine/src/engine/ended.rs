//! Waiting for the end of a run.

use std::time::Duration;

use matrix_core::{Authorised, RunId};

use super::{ELSEWHERE, Engine, Tenure, lock};
use crate::error::RequestError;
use crate::runs::{self, RunRead};
use crate::worker::is_terminal;

impl Engine {
    /// Waits until a run has ended, for so long at most.
    pub async fn ended(
        &self,
        request: &Authorised<RunRead>,
        patience: Duration,
    ) -> Result<(), RequestError> {
        let waited = tokio::time::timeout(patience, self.end_of(request)).await;
        let run = request.action().run;
        let mut settling = lock(&self.shared.settling);
        if settling
            .get(&run)
            .is_some_and(|let_go| let_go.receiver_count() == 0)
        {
            settling.remove(&run);
        }
        waited.unwrap_or(Ok(()))
    }

    async fn end_of(&self, request: &Authorised<RunRead>) -> Result<(), RequestError> {
        let mut stopped = self.shared.stopped.subscribe();
        let shared = self.shared.tenure == Tenure::Shared;
        loop {
            // Before anything is kept for a run that may not be there.
            let row = runs::row(self.database(), request)?;
            if is_terminal(&row.state) || *stopped.borrow_and_update() {
                return Ok(());
            }
            let mut let_go = self.when_let_go(row.run);
            let row = runs::row(self.database(), request)?;
            if is_terminal(&row.state) {
                return Ok(());
            }
            tokio::select! {
                biased;
                _ = let_go.changed() => {}
                () = tokio::time::sleep(ELSEWHERE), if shared => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Closes when this host lets go of a run.
    pub(super) fn when_let_go(&self, run: RunId) -> tokio::sync::watch::Receiver<()> {
        lock(&self.shared.settling)
            .entry(run)
            .or_default()
            .subscribe()
    }
}
