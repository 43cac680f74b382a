//! The engine of one process: claims ready runs, wakes due ones, sweeps dead owners' runs back.
//!
//! Here is what others ask of it. `create` makes runs, `schedule` is the work: from a claim to the
//! moment in which the run is let go of. `sweep` is its heartbeat, and what it takes from owners that have none.

mod claim;
mod create;
mod ended;
mod naming;
mod schedule;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Entropy, RunId};
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::{Blobs, Database, StoreError, Tx};
use tokio::sync::{Notify, broadcast, watch};

pub use self::create::NewRun;
pub(crate) use self::create::{Birth, Functions, Parents};
use crate::error::RequestError;
use crate::journal::Journal;
use crate::lease::Lease;
use crate::meters::Meters;
use crate::queue::{Queue, Rules};
use crate::storage::Storage;
use crate::tasks::{Exchange, WorkerChoice};
use crate::worker::{DurableFunction, is_terminal};

use self::claim::Desk;
pub(crate) use self::claim::standing;
pub(crate) use self::naming::PAUSE_MAX;

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
    /// Whom it takes from the queue.
    pub scheduling: Scheduling,
}

/// Whom an engine takes from the queue; as it is made, everybody who requires nothing.
#[derive(Debug, Clone, Default)]
pub struct Scheduling {
    /// The rules, which are the same for every process of a database.
    pub rules: Rules,
    /// What this process has.
    pub capabilities: BTreeSet<String>,
    /// By what the workers of a queue are chosen that wait for tasks.
    pub workers: WorkerChoice,
    /// The same for queues of these names.
    pub workers_of: BTreeMap<String, WorkerChoice>,
}

impl Scheduling {
    /// By what the workers of a queue are chosen.
    pub(crate) fn choice(&self, queue: &str) -> WorkerChoice {
        self.workers_of.get(queue).copied().unwrap_or(self.workers)
    }
}

/// Whether a host is alone with its database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tenure {
    /// It holds the data directory's lock, so every other owner is dead, and storage that fails
    /// fails for good.
    Sole,
    /// Other hosts work beside it, and the way to the database may be cut for a while.
    Shared,
}

/// How often a run that another host may drive is looked at.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// How many wakes are kept for whoever tells others; more are told as "some".
const NEWS_MAX: usize = 256;

/// What is written in the transaction that creates a run.
pub type Beside = Box<dyn FnOnce(&Tx<'_>, RunId) -> Result<(), StoreError> + Send>;

/// The engine of one process. Cheap to clone.
#[derive(Clone)]
pub struct Engine {
    shared: Arc<Shared>,
}

struct Shared {
    journal: Journal,
    functions: Functions,
    options: EngineOptions,
    tenure: Tenure,
    lease: Arc<Lease>,
    work: Notify,
    desk: Arc<Mutex<Desk>>,
    /// How long the queue was left alone the last time.
    poll: Mutex<Duration>,
    exchange: Arc<Exchange>,
    draining: watch::Sender<bool>,
    stopped: watch::Sender<bool>,
    /// The runs that are driven now, by the epoch they are driven under and their mail.
    driving: Mutex<BTreeMap<RunId, (i64, Arc<Notify>)>>,
    failure: watch::Sender<Option<String>>,
    /// Every run that is woken here, for telling other processes; without them nobody listens.
    news: broadcast::Sender<RunId>,
    /// Who waits for runs to be let go of: the sender is dropped when one is.
    settling: Mutex<BTreeMap<RunId, watch::Sender<()>>>,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("worker", &self.shared.options.worker)
            .finish()
    }
}

impl Engine {
    /// An engine over a journal that it has for itself: whoever else owns a run is dead. Nothing
    /// happens until [`Self::work`] runs.
    pub fn new(
        journal: Journal,
        functions: Vec<Arc<dyn DurableFunction>>,
        options: EngineOptions,
    ) -> Self {
        Self::of_tenure(Tenure::Sole, journal, functions, options)
    }

    /// An engine beside others on one database. It takes nobody's runs at its start, only those of
    /// owners whose heartbeat it saw standing still for a lease; and when the database cannot be
    /// reached for a while, it tries again instead of stopping.
    pub fn beside_others(
        journal: Journal,
        functions: Vec<Arc<dyn DurableFunction>>,
        options: EngineOptions,
    ) -> Self {
        Self::of_tenure(Tenure::Shared, journal, functions, options)
    }

    fn of_tenure(
        tenure: Tenure,
        journal: Journal,
        functions: Vec<Arc<dyn DurableFunction>>,
        options: EngineOptions,
    ) -> Self {
        let Scheduling {
            rules,
            capabilities,
            ..
        } = options.scheduling.clone();
        let queue = Queue::new(rules, capabilities);
        let shared = Shared {
            tenure,
            lease: Arc::new(Lease::new(options.worker.clone(), options.lease)),
            journal,
            functions: Functions::new(functions),
            desk: Arc::new(Mutex::new(Desk::new(queue))),
            poll: Mutex::default(),
            options,
            work: Notify::new(),
            exchange: Arc::default(),
            draining: watch::Sender::new(false),
            stopped: watch::Sender::new(false),
            driving: Mutex::default(),
            failure: watch::Sender::new(None),
            settling: Mutex::default(),
            news: broadcast::Sender::new(NEWS_MAX),
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
        &self.shared.journal.storage.database
    }

    /// The way to it.
    pub(crate) fn storage(&self) -> &Storage {
        &self.shared.journal.storage
    }

    /// Where owners of runs wait for what workers outside report.
    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        &self.shared.exchange
    }

    /// Whether other hosts work on the same database.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared.tenure == Tenure::Shared
    }

    /// Ready when the engine is told to let go of its runs.
    pub(crate) async fn draining(&self) {
        let mut draining = self.shared.draining.subscribe();
        // The sender lives as long as this engine.
        drop(draining.wait_for(|draining| *draining).await);
    }

    /// What it counts of itself.
    pub fn meters(&self) -> &Meters {
        &self.shared.journal.meters
    }

    /// How many runs it drives now, and how many it may drive at once.
    pub fn load(&self) -> (usize, usize) {
        let driven = lock(&self.shared.driving).len();
        (driven, self.shared.options.concurrency)
    }

    /// This process's name among owners.
    pub(crate) fn worker(&self) -> &str {
        &self.shared.options.worker
    }

    /// How long an owner may show no heartbeat.
    pub(crate) fn lease_length(&self) -> Duration {
        self.shared.options.lease
    }

    /// Whether no other process works on the database.
    pub(crate) fn is_alone(&self) -> bool {
        !self.is_shared()
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

    /// The functions that it executes.
    pub(crate) fn functions(&self) -> &Functions {
        &self.shared.functions
    }

    /// What it takes from the queue.
    pub fn scheduling(&self) -> &Scheduling {
        &self.shared.options.scheduling
    }

    /// Tells the engine that there is a new run.
    pub(crate) fn new_work(&self, run: RunId) {
        self.wake(run);
    }

    /// Tells the engine that a run has mail or became ready.
    pub fn wake(&self, run: RunId) {
        // Nobody may listen.
        drop(self.shared.news.send(run));
        self.hear(Some(run));
    }

    /// [`Self::wake`] for what another process has told: this run, or some. It is told no further.
    pub fn hear(&self, run: Option<RunId>) {
        let driving = lock(&self.shared.driving);
        let driven = driving
            .iter()
            .filter(|(driven, _)| run.is_none_or(|run| run == **driven));
        for (_, (_, mail)) in driven {
            mail.notify_one();
        }
        drop(driving);
        self.shared.work.notify_one();
    }

    /// [`Self::wake`] for several runs.
    pub(crate) fn wake_all(&self, runs: Vec<RunId>) {
        for run in runs {
            self.wake(run);
        }
    }

    /// Looks for work that nobody has told of.
    pub fn look(&self) {
        self.shared.work.notify_one();
    }

    /// Every run that is woken here from now on, for whoever tells other processes.
    pub fn news(&self) -> broadcast::Receiver<RunId> {
        self.shared.news.subscribe()
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
        let mut stopped = self.shared.stopped.subscribe();
        let shared = self.shared.tenure == Tenure::Shared;
        loop {
            let mut let_go = self.when_let_go(run);
            let row = self
                .database()
                .read_now::<_, StoreError, _>(|tx| runs::get(tx, run))?
                .ok_or(RequestError::NotFound(run))?;
            let settled = is_terminal(&row.state) || matches!(&*row.state, "waiting" | "paused");
            if settled || *stopped.borrow_and_update() {
                return Ok(row);
            }
            tokio::select! {
                biased;
                () = let_go.changed() => {}
                () = tokio::time::sleep(ELSEWHERE), if shared => {}
                _ = stopped.changed() => {}
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
