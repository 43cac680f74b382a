//! The engine of one process: claims ready runs, wakes due ones, sweeps dead owners' runs back.
//!
//! Idle costs nothing: the scheduler sleeps until it is notified or the next timer is due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::{Caller, Clock, Entropy, RunId, Timestamp};
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::tables::{audit, workers};
use matrix_store::{Blobs, Database, StoreError, Tx};
use serde_json::Value;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tracing::Instrument;

use crate::entry::{Draft, EntryKind, genesis};
use crate::error::RequestError;
use crate::history::Started;
use crate::journal::{AppendError, Fence, Journal, append_in};
use crate::worker::{Drive, DurableFunction, LetGo, is_terminal};

/// The longest time the scheduler sleeps, so that a clock that was set is noticed.
const SLEEP_MAX: Duration = Duration::from_mins(1);

/// How long a run waits after storage failed before it is tried again.
const STORAGE_RETRY: Duration = Duration::from_secs(1);

/// The runs that are driven now, and those that rest after storage failed.
type Driven = JoinSet<(Fence, LetGo)>;

/// What to do when the disk is full.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFullDisk {
    /// Stop; the command ends with an error and the run is resumed later.
    Stop,
    /// Try again until there is space.
    Retry,
}

/// How an engine behaves.
#[derive(Debug, Clone)]
pub struct EngineOptions {
    /// This process's name among owners; never used by another.
    pub worker: String,
    /// The most runs driven at once.
    pub concurrency: usize,
    /// How long an owner may show no heartbeat before its runs are taken.
    pub lease: Duration,
    /// What to do when the disk is full.
    pub on_full_disk: OnFullDisk,
}

/// A run to be created.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// The durable function's kind.
    pub kind: String,
    /// One line for people.
    pub title: String,
    /// What it is given.
    pub input: Value,
    /// Who asks for it.
    pub caller: Caller,
}

/// What is written in the transaction that creates a run.
pub type Beside = Box<dyn FnOnce(&Tx<'_>, RunId) -> Result<(), StoreError> + Send>;

/// The engine of one process. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    functions: Vec<Arc<dyn DurableFunction>>,
    options: EngineOptions,
    work: Notify,
    draining: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    /// The runs that are driven now, by the epoch they are driven under and their mail.
    driving: Mutex<HashMap<RunId, (i64, Arc<Notify>)>>,
    failure: watch::Sender<Option<String>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("worker", &self.shared.options.worker)
            .finish()
    }
}

impl Engine {
    /// An engine over a journal; nothing happens until [`Self::work`] runs.
    pub fn new(
        journal: Journal,
        functions: Vec<Arc<dyn DurableFunction>>,
        options: EngineOptions,
    ) -> Self {
        let shared = Shared {
            journal,
            functions,
            options,
            work: Notify::new(),
            draining: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
            driving: Mutex::default(),
            failure: watch::Sender::new(None),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// The journal it writes.
    pub fn journal(&self) -> &Journal {
        &self.shared.journal
    }

    /// The database under it.
    pub fn database(&self) -> &Database {
        &self.shared.journal.database
    }

    /// The blobs under it.
    pub fn blobs(&self) -> &Blobs {
        &self.shared.journal.blobs
    }

    /// The clock it was given.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.shared.journal.clock
    }

    /// The random source it was given.
    pub fn entropy(&self) -> &Arc<dyn Entropy> {
        &self.shared.journal.entropy
    }

    /// Creates a run with its first entry and audit row; it is durable when this returns.
    pub async fn create_run(&self, new: NewRun) -> Result<RunId, RequestError> {
        self.create_run_beside(new, Box::new(|_, _| Ok(()))).await
    }

    /// [`Self::create_run`] with something that stands exactly if the run does: it is written in
    /// the run's own transaction, and its error is the run's end before it began.
    pub async fn create_run_beside(
        &self,
        new: NewRun,
        beside: Beside,
    ) -> Result<RunId, RequestError> {
        let journal = &self.shared.journal;
        let run = RunId::generate(&*journal.clock, &*journal.entropy);
        let mut trace = [0_u8; 16];
        journal.entropy.fill(&mut trace);
        let trace = format!("{:032x}", u128::from_be_bytes(trace));
        let version = self.version_of(&new.kind);
        let at = journal.clock.now();
        let row = RunRow {
            run,
            scope: new.caller.scope.clone(),
            kind: new.kind.clone(),
            version: version.clone(),
            title: new.title.clone(),
            trace: trace.clone(),
            state: "ready".into(),
            waiting: None,
            wake_at: None,
            owner: None,
            epoch: 0,
            crashes: 0,
            head_seq: -1,
            head_hash: genesis(run, &new.caller.scope, "").map_err(StoreError::corrupt)?,
            created_at: at,
            updated_at: at,
        };
        let caller = new.caller.clone();
        let started = Started {
            kind: new.kind,
            version,
            title: new.title,
            input: new.input,
            caller: new.caller,
            trace,
        };
        let payload = serde_json::to_value(started).map_err(StoreError::corrupt)?;
        let actor = caller.principal.to_string();
        let first = journal.seal(Draft::new(EntryKind::RunStarted, payload), &actor, at)?;
        journal
            .database
            .write::<_, StoreError, _>(move |tx| {
                runs::insert(tx, &row)?;
                match append_in(tx, Fence { run, epoch: 0 }, vec![first], at) {
                    Ok(_) => {}
                    Err(AppendError::Store(error)) => return Err(error),
                    Err(AppendError::Refused) => return Err(StoreError::corrupt("a new run")),
                }
                audit::insert(tx, &caller, at, "run_create", &run.to_string(), &row.kind)?;
                beside(tx, run)
            })
            .await?;
        #[cfg(debug_assertions)]
        journal.crash_if(crate::journal::CrashPoint::After(0));
        journal.announce();
        self.shared.work.notify_one();
        Ok(run)
    }

    fn version_of(&self, kind: &str) -> String {
        let function = self
            .shared
            .functions
            .iter()
            .rev()
            .find(|function| function.kind() == kind);
        function.map_or_else(String::new, |function| function.version().to_owned())
    }

    /// Tells the engine that a run has mail or became ready.
    pub fn wake(&self, run: RunId) {
        let driving = self
            .shared
            .driving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, mail)) = driving.get(&run) {
            mail.notify_one();
        }
        drop(driving);
        self.shared.work.notify_one();
    }

    /// Lets go of every run at its next step boundary; [`Self::work`] returns when all are let go.
    pub fn drain(&self) {
        self.shared.draining.send_replace(true);
        self.shared.work.notify_one();
    }

    /// Whether every run was let go of after [`Self::drain`], or storage failed for good.
    pub async fn stopped(&self) {
        let mut stopped = self.shared.stopped.subscribe();
        // The sender lives as long as this engine.
        drop(stopped.wait_for(|stopped| *stopped).await);
    }

    /// Why the engine stopped by itself, if it did.
    pub fn failure(&self) -> Option<String> {
        self.shared.failure.borrow().clone()
    }

    /// Waits until a run ended, waits or rests, and gives its row.
    pub async fn settled(&self, run: RunId) -> Result<RunRow, RequestError> {
        let mut changes = self.shared.journal.subscribe();
        let mut stopped = self.shared.stopped.subscribe();
        loop {
            changes.borrow_and_update();
            let row = self
                .database()
                .read_now::<_, StoreError, _>(|tx| runs::get(tx, run))?
                .ok_or(RequestError::NotFound(run))?;
            let settled = is_terminal(&row.state) || matches!(&*row.state, "waiting" | "paused");
            if settled || *stopped.borrow_and_update() {
                return Ok(row);
            }
            tokio::select! {
                _ = changes.changed() => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Does the engine's work until it is drained. Runs of owners that are known to be dead (this
    /// process holds the data directory's lock) are returned to the queue first.
    pub async fn work(&self) {
        let mut driven = Driven::new();
        let mut sweep = tokio::time::interval(self.shared.options.lease / 3);
        sweep.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut seen = HashMap::new();
        if let Err(error) = self.adopt_orphans().await {
            self.storage_failed(&error);
        }
        while !(self.is_draining() && driven.is_empty()) {
            let next = match self.claim(&mut driven).await {
                Ok(next) => next,
                Err(error) => {
                    self.storage_failed(&error);
                    STORAGE_RETRY
                }
            };
            tokio::select! {
                () = self.shared.work.notified() => {}
                () = tokio::time::sleep(next) => {}
                _ = sweep.tick() => self.sweep(&mut seen, !driven.is_empty()).await,
                Some(ended) = driven.join_next(), if !driven.is_empty() => {
                    self.let_go(ended, &mut driven).await;
                }
            }
        }
        let own = self.shared.options.worker.clone();
        let forgotten = self
            .database()
            .write::<_, StoreError, _>(move |tx| workers::remove(tx, &own))
            .await;
        if let Err(error) = forgotten {
            tracing::warn!(%error, "this worker's heartbeat stays behind");
        }
        self.shared.stopped.send_replace(true);
    }

    fn is_draining(&self) -> bool {
        *self.shared.draining.borrow()
    }

    fn storage_failed(&self, error: &StoreError) {
        tracing::error!(%error, "storage failed");
        let full = matches!(error, StoreError::Full(_));
        if self.shared.options.on_full_disk == OnFullDisk::Stop || !full {
            self.shared.failure.send_replace(Some(error.to_string()));
            self.drain();
        }
    }

    /// Everything still marked as running belongs to a dead process, or to this one before. So
    /// does every heartbeat.
    async fn adopt_orphans(&self) -> Result<(), StoreError> {
        let at = self.shared.journal.clock.now();
        self.database()
            .write::<_, StoreError, _>(move |tx| {
                for owner in runs::owners(tx)? {
                    let count = runs::orphan(tx, &owner, at)?;
                    tracing::info!(
                        owner,
                        count,
                        "runs of an owner that is gone are ready again"
                    );
                }
                for (worker, _) in workers::list(tx)? {
                    workers::remove(tx, &worker)?;
                }
                Ok(())
            })
            .await
    }

    /// Claims what can be claimed and gives the time until the next timer.
    async fn claim(&self, driven: &mut Driven) -> Result<Duration, StoreError> {
        let free = self.shared.options.concurrency.saturating_sub(driven.len());
        if self.is_draining() || free == 0 {
            // Whoever ends makes room and wakes us; a timer that is due cannot be served before.
            return Ok(SLEEP_MAX);
        }
        let limit = i64::try_from(free).unwrap_or(i64::MAX);
        let (now, worker) = (
            self.shared.journal.clock.now(),
            self.shared.options.worker.clone(),
        );
        let nothing = self.database().read_now::<_, StoreError, _>(|tx| {
            let due = runs::next_wake(tx)?.is_some_and(|due| due <= now);
            Ok(!due && runs::claimable(tx, 1)?.is_empty())
        })?;
        let (claimed, next): (Vec<RunRow>, Option<Timestamp>) = if nothing {
            (
                Vec::new(),
                self.database()
                    .read_now::<_, StoreError, _>(runs::next_wake)?,
            )
        } else {
            self.database()
                .write::<_, StoreError, _>(move |tx| {
                    runs::wake_due(tx, now)?;
                    let mut claimed = Vec::new();
                    for row in runs::claimable(tx, limit)? {
                        if runs::claim(tx, row.run, &worker, now)? {
                            claimed.push(row);
                        }
                    }
                    Ok((claimed, runs::next_wake(tx)?))
                })
                .await?
        };
        for row in claimed {
            self.drive(&row, driven);
        }
        Ok(next.map_or(SLEEP_MAX, |due| due.since(now).min(SLEEP_MAX)))
    }

    fn drive(&self, row: &RunRow, driven: &mut Driven) {
        let mail = Arc::new(Notify::new());
        let fence = Fence {
            run: row.run,
            epoch: row.epoch + 1,
        };
        let drive = Drive {
            journal: self.shared.journal.clone(),
            worker: self.shared.options.worker.clone(),
            fence,
            mail: Arc::clone(&mail),
            draining: self.shared.draining.subscribe(),
        };
        let mut driving = self
            .shared
            .driving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        driving.insert(row.run, (fence.epoch, mail));
        drop(driving);
        let engine = self.clone();
        let span = tracing::info_span!("run", run = %row.run, trace = %row.trace);
        let crashes = row.crashes;
        driven.spawn(
            async move {
                let find = |kind: &str, version: &str| {
                    let found =
                        engine.shared.functions.iter().find(|function| {
                            function.kind() == kind && function.version() == version
                        });
                    found.cloned()
                };
                let letgo = drive.drive(crashes, find).await;
                if let LetGo::Storage(error) = &letgo {
                    engine.storage_failed(error);
                    engine.rest().await;
                }
                (fence, letgo)
            }
            .instrument(span),
        );
    }

    /// Rests a while after storage failed, unless the engine is to stop.
    async fn rest(&self) {
        let mut draining = self.shared.draining.subscribe();
        tokio::select! {
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
        match letgo {
            LetGo::Settled => {}
            LetGo::Lost => tracing::info!(%run, "another owner has the run"),
            LetGo::Storage(_) => match self.requeue(fence).await {
                Ok(()) => self.shared.work.notify_one(),
                Err(error) => {
                    self.storage_failed(&error);
                    // Without a host that goes on, the next one adopts it.
                    if !self.is_draining() {
                        let engine = self.clone();
                        driven.spawn(async move {
                            engine.rest().await;
                            (fence, LetGo::Storage(error))
                        });
                    }
                }
            },
        }
    }

    /// The run has no task of this epoch any more; one of a later epoch keeps its mail.
    fn forget(&self, fence: Fence) {
        let mut driving = self
            .shared
            .driving
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if driving
            .get(&fence.run)
            .is_some_and(|(epoch, _)| *epoch == fence.epoch)
        {
            driving.remove(&fence.run);
        }
    }

    /// Returns a run that storage failed under to the queue.
    async fn requeue(&self, fence: Fence) -> Result<(), StoreError> {
        let at = self.shared.journal.clock.now();
        self.database()
            .write::<_, StoreError, _>(move |tx| {
                runs::requeue(tx, fence.run, fence.epoch, at).map(drop)
            })
            .await
    }

    /// Counts this worker's heartbeat up while it owns runs, and takes the runs of owners whose
    /// counter stood still for a lease on *our* monotonic clock.
    async fn sweep(&self, seen: &mut HashMap<String, (i64, Duration)>, owning: bool) {
        if let Err(error) = self.try_sweep(seen, owning).await {
            tracing::warn!(%error, "the sweep failed and is made again");
        }
    }

    async fn try_sweep(
        &self,
        seen: &mut HashMap<String, (i64, Duration)>,
        owning: bool,
    ) -> Result<(), StoreError> {
        let (own, lease) = (&self.shared.options.worker, self.shared.options.lease);
        if owning {
            let own = own.clone();
            self.database()
                .write::<_, StoreError, _>(move |tx| workers::beat(tx, &own))
                .await?;
        }
        let (owners, beats) = self
            .database()
            .read_now::<_, StoreError, _>(|tx| Ok((runs::owners(tx)?, workers::list(tx)?)))?;
        let beats: HashMap<_, _> = beats.into_iter().collect();
        let now = self.shared.journal.clock.monotonic();
        seen.retain(|owner, _| owners.contains(owner));
        for owner in owners.iter().filter(|owner| *owner != own) {
            let beat = beats.get(owner).copied().unwrap_or(0);
            let (last, since) = *seen.entry(owner.clone()).or_insert((beat, now));
            if last != beat {
                seen.insert(owner.clone(), (beat, now));
            } else if now.saturating_sub(since) >= lease {
                let (owner, at) = (owner.clone(), self.shared.journal.clock.now());
                tracing::warn!(
                    owner,
                    "an owner shows no heartbeat; its runs are ready again"
                );
                self.database()
                    .write::<_, StoreError, _>(move |tx| runs::orphan(tx, &owner, at).map(drop))
                    .await?;
                self.shared.work.notify_one();
            }
        }
        Ok(())
    }
}
