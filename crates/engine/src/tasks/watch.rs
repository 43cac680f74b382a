//! Tasks whose worker is silent, or takes too long.

use std::collections::HashMap;
use std::time::Duration;

use matrix_core::id::TaskId;
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, WakePaused};
use matrix_store::tables::tasks::{self, Held};

use super::{Delivery, Report, actor};
use crate::engine::Engine;
use crate::error::StepError;
use crate::storage::Purpose;

/// The most tasks that are watched in one round; the oldest first.
const WATCHED_MAX: i64 = 100_000;

/// So many workers may be lost over a task that may be repeated; then a person looks at it.
pub(crate) const LOSSES_MAX: u32 = 5;

/// The code of the error that stands for a worker that took too long.
pub(super) const TIMED_OUT: &str = "task_timed_out";

/// Which heartbeat of a task was seen first when, on the watcher's monotonic clock.
pub(crate) type Watched = HashMap<TaskId, (String, i64, Duration)>;

/// What is done about a task.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// Its worker lives.
    Leave,
    /// Another worker may have it.
    OfferAgain,
    /// Its run has to decide, for its worker took too long.
    TooLate,
    /// Its run has to decide, for its worker is gone.
    Lost,
}

/// What is to be done about a worker that was silent for so long.
fn judge(held: &Held, silent: Duration, late: bool) -> Verdict {
    let lease = Duration::from_millis(u64::try_from(held.lease_ms).unwrap_or(0));
    let repeatable = matches!(&*held.class, "read" | "idempotent");
    if held.state != "leased" {
        Verdict::Leave
    } else if late {
        Verdict::TooLate
    } else if silent < lease {
        Verdict::Leave
    } else if repeatable && !held.cancelled && held.losses + 1 < i64::from(LOSSES_MAX) {
        Verdict::OfferAgain
    } else {
        Verdict::Lost
    }
}

impl Engine {
    /// Looks after every task that a worker has, once.
    pub(crate) async fn watch_tasks(&self, watched: &mut Watched) {
        if let Err(error) = self.try_watch(watched).await {
            tracing::warn!(%error, "tasks could not be looked after; it is tried again");
        }
    }

    async fn try_watch(&self, watched: &mut Watched) -> Result<(), StoreError> {
        let held = self
            .storage()
            .read_now::<_, StoreError, _>(|tx| tasks::held(tx, WATCHED_MAX))?;
        if held.is_empty() {
            watched.clear();
            return Ok(());
        }
        let (now, at) = (self.clock().monotonic(), self.clock().now());
        let mut seen = Watched::with_capacity(held.len());
        for task in held {
            let (token, beat) = (task.token.clone(), task.beat);
            let before = watched.remove(&task.task);
            let since = match before {
                Some((known, count, since)) if known == token && count == beat => since,
                _ => now,
            };
            seen.insert(task.task, (token, beat, since));
            let late = task.due_at.is_some_and(|due| due <= at);
            match judge(&task, now.saturating_sub(since), late) {
                Verdict::Leave if task.state == "reported" => self.hand_over(task.task)?,
                Verdict::Leave => {}
                Verdict::OfferAgain => self.offer_again(task).await?,
                Verdict::TooLate => {
                    let text = "its worker took longer than it may";
                    let error = StepError::transient(TIMED_OUT, text);
                    self.report_for(task, Report::Failed(error)).await?;
                }
                Verdict::Lost => self.report_for(task, Report::Lost).await?,
            }
        }
        *watched = seen;
        Ok(())
    }

    /// A report that another process took, for an owner that waits in this one.
    fn hand_over(&self, task: TaskId) -> Result<(), StoreError> {
        if !self.exchange().has(task) {
            return Ok(());
        }
        let row = self
            .storage()
            .read_now::<_, StoreError, _>(|tx| tasks::get(tx, task))?;
        if let Some(row) = row
            && let Some(delivery) = Delivery::of(&row)?
        {
            self.exchange().hand(task, delivery);
        }
        Ok(())
    }

    async fn offer_again(&self, lost: Held) -> Result<(), StoreError> {
        let at = self.clock().now();
        tracing::warn!(task = %lost.task, run = %lost.run, "a worker is lost; its task is offered again");
        self.storage()
            .write::<_, StoreError, _>(Purpose::Task, move |tx| tasks::lose(tx, &lost, at))
            .await?;
        self.exchange().announce();
        Ok(())
    }

    /// Reports in place of a worker, unless it was heard of meanwhile.
    async fn report_for(&self, lost: Held, report: Report) -> Result<(), StoreError> {
        let (task, run, at) = (lost.task, lost.run, self.clock().now());
        tracing::warn!(%task, %run, "a worker is lost");
        let bytes = serde_json::to_vec(&report).map_err(StoreError::corrupt)?;
        let reported = self
            .storage()
            .write::<_, StoreError, _>(Purpose::Task, move |tx| {
                let reported = tasks::expire(tx, &lost, &bytes, at)?;
                if reported {
                    runs::wake(tx, run, WakePaused::No, at)?;
                }
                Ok(reported)
            })
            .await?;
        if reported {
            self.hand_over(task)?;
            self.wake(run);
        }
        Ok(())
    }
}

impl Delivery {
    /// What stands in a task's row, if anything was reported.
    pub(crate) fn of(row: &tasks::TaskRow) -> Result<Option<Self>, StoreError> {
        let Some(bytes) = row.report.as_deref().filter(|_| row.state == "reported") else {
            return Ok(None);
        };
        let report = serde_json::from_slice(bytes)
            .map_err(|_| StoreError::corrupt(format_args!("the report of {}", row.task)))?;
        let worker = row.worker.as_deref().unwrap_or_default();
        let actor = actor(worker, row.token.as_deref().unwrap_or_default());
        Ok(Some(Self {
            report,
            actor,
            kept: None,
        }))
    }
}

#[cfg(test)]
mod tests {
    use matrix_core::{RunId, Scope};

    use super::*;

    fn held(class: &str, losses: i64) -> Held {
        Held {
            task: TaskId::from_bytes([1; 16]),
            run: RunId::from_bytes([1; 16]),
            scope: Scope::local(),
            class: class.into(),
            state: "leased".into(),
            lease_ms: 5_000,
            cancelled: false,
            losses,
            token: "t".into(),
            beat: 1,
            due_at: None,
        }
    }

    #[test]
    fn what_a_silent_worker_means_is_the_effect_class() {
        let (short, long) = (Duration::from_secs(4), Duration::from_secs(5));
        for class in ["read", "idempotent", "metered", "external"] {
            assert_eq!(judge(&held(class, 0), short, false), Verdict::Leave);
            assert_eq!(judge(&held(class, 0), short, true), Verdict::TooLate);
        }
        assert_eq!(judge(&held("read", 0), long, false), Verdict::OfferAgain);
        assert_eq!(
            judge(&held("idempotent", 3), long, false),
            Verdict::OfferAgain
        );
        assert_eq!(judge(&held("idempotent", 4), long, false), Verdict::Lost);
        assert_eq!(judge(&held("metered", 0), long, false), Verdict::Lost);
        assert_eq!(judge(&held("external", 0), long, false), Verdict::Lost);
        let cancelled = Held {
            cancelled: true,
            ..held("read", 0)
        };
        assert_eq!(judge(&cancelled, long, false), Verdict::Lost);
        let reported = Held {
            state: "reported".into(),
            ..held("read", 0)
        };
        assert_eq!(judge(&reported, long, true), Verdict::Leave);
    }
}
