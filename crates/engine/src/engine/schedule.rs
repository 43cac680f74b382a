//! From the queue to a run's owner, and back.
//!
//! Idle costs nothing: the scheduler sleeps until it is notified or the next timer is due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matrix_core::Timestamp;
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::tables::workers;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::claim::Claimed;
use super::{Engine, OnFullDisk, Tenure, lock};
use crate::journal::Fence;
use crate::lease::Sure;
use crate::spans::{Span, SpanKind, drive_id};
use crate::storage::Purpose;
use crate::tasks::Watched;
use crate::worker::{Drive, LetGo};

/// The longest time the scheduler sleeps, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// How often tasks that workers outside have are looked after.
const WATCH: Duration = Duration::from_secs(1);

/// How long a run waits after storage failed before it is tried again.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

/// How soon the queue is looked at again where others fill it, too: after a claim at the earliest,
/// and ever later while there is nothing.
const POLL_MIN: Duration = Duration::from_millis(50);
/// The latest.
const POLL_MAX: Duration = Duration::from_secs(1);

/// The runs that are driven now, and those that rest after storage failed.
type Driven = JoinSet<(Fence, LetGo)>;

impl Engine {
    /// Does the engine's work until it is drained. Runs of owners that are known to be dead (this
    /// process holds the data directory's lock) are returned to the queue first.
    pub async fn work(&self) {
        let mut driven = Driven::new();
        let mut sweep = tokio::time::interval(self.shared.options.lease / 3);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = HashMap::new();
        let (mut watch, mut watched) = (tokio::time::interval(WATCH), Watched::new());
        watch.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        self.begin().await;
        while !(self.is_draining() && driven.is_empty()) {
            let next = self.claim(&mut driven).await;
            // The heartbeat comes first, whatever else there is to do.
            tokio::select! {
                biased;
                _ = sweep.tick() => self.sweep(&mut seen, !driven.is_empty()).await,
                _ = watch.tick() => self.watch_tasks(&mut watched).await,
                Some(ended) = driven.join_next(), if !driven.is_empty() => {
                    self.let_go(ended, &mut driven).await;
                }
                () = self.shared.work.notified() => {}
                () = tokio::time::sleep(next) => {}
            }
        }
        let own = self.shared.options.worker.clone();
        let forgotten = self
            .storage()
            .write::<_, StoreError, _>(Purpose::Leave, move |tx| workers::remove(tx, &own))
            .await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "this worker's heartbeat stays behind");
        }
        self.shared.stopped.send_replace(true);
    }

    pub(super) fn is_draining(&self) -> bool {
        *self.shared.draining.borrow()
    }

    pub(super) fn storage_failed(&self, error: &StoreError) {
        tracing::error!(%error, "storage failed");
        let passes = match error {
            StoreError::Full(_) => self.shared.options.on_full_disk == OnFullDisk::Retry,
            StoreError::Unavailable(_) => self.shared.tenure == Tenure::Shared,
            // The journal is not in it, so it takes nothing that others could lose.
            StoreError::Unreachable(_) => {
                self.shared.tenure == Tenure::Shared
                    || self.shared.options.on_full_disk == OnFullDisk::Retry
            }
            StoreError::Conflict(_)
            | StoreError::Corrupt(_)
            | StoreError::Forbidden(_)
            | StoreError::Removed { .. }
            | StoreError::Unfit(_) => false,
        };
        if !passes {
            self.shared.failure.send_replace(Some(error.to_string()));
            self.drain();
        }
    }

    /// Claims what can be claimed and gives the time until there may be more.
    async fn claim(&self, driven: &mut Driven) -> Duration {
        let free = self.shared.options.concurrency.saturating_sub(driven.len());
        if self.is_draining() || free == 0 {
            // Whoever ends makes room and wakes us; a timer that is due cannot be served before.
            return SLEEP_MAX;
        }
        let now = self.shared.journal.clock.now();
        let tried = Arc::new(Mutex::new(Vec::new()));
        match self.try_claim(free, now, &tried).await {
            Ok(Claimed { rows, next, sure }) => {
                let longest = self.idle(rows.is_empty());
                for row in rows {
                    self.drive(&row, sure, driven);
                }
                next.map_or(longest, |due| due.since(now).min(longest))
            }
            Err(error) => {
                self.storage_failed(&error);
                // Nobody knows whether these are ours now, and nobody drives them: they are given
                // back once storage works. Without a host that goes on, the next one adopts them.
                let tried = std::mem::take(&mut *lock(&tried));
                for fence in tried {
                    self.give_back(fence, error.clone(), driven);
                }
                STORAGE_RETRY
            }
        }
    }

    /// How long to wait at most for runs that nobody tells us of. Alone, whoever makes a run ready
    /// tells us.
    fn idle(&self, nothing: bool) -> Duration {
        if self.shared.tenure == Tenure::Sole {
            return SLEEP_MAX;
        }
        let mut poll = lock(&self.shared.poll);
        *poll = if nothing {
            poll.saturating_mul(2).clamp(POLL_MIN, POLL_MAX)
        } else {
            POLL_MIN
        };
        *poll
    }

    /// Gives a run back to the queue after a rest, and again until storage lets it happen.
    fn give_back(&self, fence: Fence, error: StoreError, driven: &mut Driven) {
        if self.is_draining() {
            return;
        }
        let engine = self.clone();
        driven.spawn(async move {
            engine.rest().await;
            (fence, LetGo::Storage(error))
        });
    }

    fn drive(&self, row: &RunRow, sure: Option<Sure>, driven: &mut Driven) {
        let mail = Arc::new(Notify::new());
        let fence = Fence {
            run: row.run,
            epoch: row.epoch,
        };
        let drive = Drive {
            engine: self.clone(),
            journal: self.shared.journal.clone(),
            lease: Arc::clone(&self.shared.lease),
            row: row.clone(),
            sure,
            exchange: Arc::clone(&self.shared.exchange),
            fence,
            mail: Arc::clone(&mail),
            draining: self.shared.draining.subscribe(),
        };
        let mut driving = lock(&self.shared.driving);
        driving.insert(row.run, (fence.epoch, mail));
        drop(driving);
        self.meters().drive(row.run, &row.kind);
        let engine = self.clone();
        let span = tracing::info_span!("run", run = %row.run, trace = %row.trace);
        let about = (row.kind.clone(), row.trace.clone());
        driven.spawn(
            async move {
                let began = engine.clock().now();
                let letgo = drive.drive().await;
                engine.tell_drive(fence, &about, began, &letgo);
                if let LetGo::Storage(error) = &letgo {
                    engine.storage_failed(error);
                    engine.rest().await;
                }
                (fence, letgo)
            }
            .instrument(span),
        );
    }

    /// Tells that a run of a kind and a trace was driven.
    fn tell_drive(
        &self,
        Fence { run, epoch }: Fence,
        (kind, trace): &(String, String),
        began: Timestamp,
        letgo: &LetGo,
    ) {
        let (outcome, error) = match letgo {
            LetGo::Settled => ("settled", None),
            LetGo::Lost => ("lost", None),
            LetGo::Storage(_) => ("storage", Some("storage")),
        };
        let before = self.meters().before(run);
        self.shared.journal.tell(|| Span {
            kind: SpanKind::Internal,
            trace: trace.clone(),
            id: drive_id(run, epoch),
            parent: None,
            continues: before.map(|epoch| drive_id(run, epoch)),
            name: format!("run {kind}"),
            began,
            ended: self.clock().now(),
            attributes: vec![
                ("matrix.run", run.to_string().into()),
                ("matrix.run.kind", kind.clone().into()),
                ("matrix.run.epoch", epoch.to_string().into()),
                ("matrix.run.let_go", outcome.into()),
                ("matrix.worker", self.worker().into()),
            ],
            error: error.map(str::to_owned),
        });
    }

    /// Rests a while after storage failed, unless the engine is to stop.
    pub(super) async fn rest(&self) {
        let mut draining = self.shared.draining.subscribe();
        tokio::select! {
            biased;
            () = tokio::time::sleep(STORAGE_RETRY) => {}
            _ = draining.wait_for(|draining| *draining) => {}
        }
    }

    async fn let_go(
        &self,
        ended: Result<(Fence, LetGo), tokio::task::JoinError>,
        driven: &mut Driven,
    ) {
        let (fence, letgo) = match ended {
            Ok(ended) => ended,
            Err(error) => {
                // The run is still ours by name, so the next host adopts it.
                tracing::error!(%error, "a run's task was stopped");
                return;
            }
        };
        let run = fence.run;
        self.forget(fence);
        lock(&self.shared.settling).remove(&run);
        match letgo {
            LetGo::Settled => {}
            LetGo::Lost => tracing::info!(%run, "another owner has the run"),
            LetGo::Storage(_) => match self.requeue(fence).await {
                Ok(()) => self.shared.work.notify_one(),
                Err(error) => {
                    self.storage_failed(&error);
                    // Without a host that goes on, the next one adopts it.
                    self.give_back(fence, error, driven);
                }
            },
        }
    }

    /// The run has no task of this epoch any more; one of a later epoch keeps its mail.
    fn forget(&self, fence: Fence) {
        let mut driving = lock(&self.shared.driving);
        if driving
            .get(&fence.run)
            .is_some_and(|(epoch, _)| *epoch == fence.epoch)
        {
            driving.remove(&fence.run);
            self.meters().let_go(fence.run);
        }
    }

    /// Returns a run that storage failed under to the queue.
    async fn requeue(&self, fence: Fence) -> Result<(), StoreError> {
        let (own, at) = (
            self.shared.options.worker.clone(),
            self.shared.journal.clock.now(),
        );
        self.storage()
            .write::<_, StoreError, _>(Purpose::Requeue(fence), move |tx| {
                // After a claim of unknown outcome, the epoch may be somebody else's.
                let ours = runs::get(tx, fence.run)?.is_some_and(|row| row.owner == Some(own));
                if ours {
                    runs::requeue(tx, fence.run, fence.epoch, at)?;
                }
                Ok(())
            })
            .await
    }
}
