//! Waiting for a time.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use matrix_core::Timestamp;
use serde_json::json;

use super::{Run, waiting};
use crate::entry::EntryKind;
use crate::error::RunError;
use crate::wait::Waiting;

/// A delay up to this long is slept through; a longer one parks the run.
const SLEEP_IN_PLACE: Duration = Duration::from_secs(2);

impl Run {
    /// Waits for a time. A short wait is slept through; a longer one ends at once when the run is
    /// cancelled.
    pub(super) async fn wait_until(&self, due: Timestamp, wait: Waiting) -> Result<(), RunError> {
        let clock = Arc::clone(&self.execution.journal.clock);
        let left = due.since(clock.now());
        if left <= SLEEP_IN_PLACE {
            let flight = self.execution.board.in_flight();
            tokio::time::sleep(left).await;
            drop(flight);
            return Ok(());
        }
        let shielded = self.shielded;
        self.execution
            .board
            .wait(wait, move |history| {
                let cancelled = history.cancel.clone().filter(|_| !shielded);
                match cancelled {
                    Some(reason) => Some(Err(RunError::Cancelled(reason))),
                    None => (clock.now() >= due).then_some(Ok(())),
                }
            })
            .await
    }

    /// Waits so long; a crash, a restart and a clock set back do not change when it ends.
    pub fn sleep(
        &self,
        name: &str,
        duration: Duration,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<> {
        let clock = Arc::clone(&self.execution.journal.clock);
        self.timer(name, move || clock.now().plus(duration))
    }

    /// Waits for a time. Where it is past, the run goes on at once.
    pub fn sleep_until(
        &self,
        name: &str,
        due: Timestamp,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<> {
        self.timer(name, move || due)
    }

    fn timer<F>(
        &self,
        name: &str,
        due: F,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<F>
    where
        F: FnOnce() -> Timestamp + Send,
    {
        let path = self.address(name);
        let run = self.clone();
        async move {
            let board = Arc::clone(&run.execution.board);
            if board.look(|history| history.timer(&path).is_some_and(|(_, fired)| fired)) {
                return Ok(());
            }
            run.boundary(&path).await?;
            if board.look(|history| history.timer(&path).is_none()) {
                let payload = json!({ "due": due() });
                run.record(EntryKind::TimerSet, &path, "", payload).await?;
            }
            let (due, _) = board
                .look(|history| history.timer(&path))
                .unwrap_or_default();
            let wait = waiting("timer", &path, "the function sleeps", Some(due));
            run.wait_until(due, wait).await?;
            run.record(EntryKind::TimerFired, &path, "", json!({}))
                .await
        }
    }
}
