//! The surface a durable function sees.
//!
//! Addresses are fixed when a step is *created*: branch keys, name, occurrence
//! (`verify/lint.base/run#1`). A function must create its steps in an order that depends only on
//! its input and on what earlier steps gave.
//!
//! Here is the run itself with its branches and boundaries; `execute` does a step once, `remote` lets
//! a worker outside do it, `pulse` hears its signs of life, `sleep` and `signal` wait for time and for
//! a value from outside, `approval` asks a person, `child` starts other runs, `choose` takes the first
//! of several branches, `recorded` remembers what replay must find again: times, random numbers, versions.

mod approval;
mod child;
mod choose;
mod execute;
mod pulse;
mod recorded;
mod remote;
mod saga;
mod signal;
mod sleep;

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use matrix_core::{Caller, RunId, Timestamp};
use matrix_store::tables::queue::Placement;
use matrix_store::tables::{runs, step_progress, workers};
use serde_json::Value;
use tokio::sync::watch;

pub use self::approval::{Decision, Verdict, approval_id};
pub use self::child::{Child, NewChild};
pub(crate) use self::pulse::Pulse;
pub use self::pulse::{Progress, SILENT, UNHEARD};
pub use self::saga::Saga;
use crate::engine::Engine;
use crate::entry::{Draft, EntryKind};
use crate::error::{RunError, StepError};
use crate::history::Started;
use crate::journal::{AppendError, BelievedHead, Beside, Fence, Journal};
use crate::lease::{Lease, Sure};
use crate::storage::Purpose;
use crate::tasks::Exchange;
use crate::wait::{Board, UNRECORDED, Waiting};

/// What the parts of one execution share.
#[derive(Debug)]
pub(crate) struct Execution {
    /// Nobody's in a replay.
    pub(crate) engine: Option<Engine>,
    pub(crate) journal: Journal,
    pub(crate) board: Arc<Board>,
    pub(crate) fence: Fence,
    pub(crate) believed: Arc<BelievedHead>,
    pub(crate) lease: Arc<Lease>,
    /// Until when the run is its owner's own for sure.
    pub(crate) sure: Mutex<Option<Sure>>,
    /// Where this owner waits for what workers outside report.
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) actor: String,
    pub(crate) started: Started,
    /// Where it queues.
    pub(crate) placement: Placement,
    pub(crate) cancelled: watch::Sender<bool>,
    /// Raised when the owner wants to let go at the next step boundary.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) occurrences: Mutex<BTreeMap<String, u32>>,
    /// How many signals of each name the function has been given.
    pub(crate) taken: Mutex<BTreeMap<String, usize>>,
    /// The addresses of the steps of which it is written how far they are.
    pub(crate) told: Mutex<BTreeSet<String>>,
    /// Nothing is done or written: what is not recorded ends the execution.
    pub(crate) is_replay: bool,
}

impl Execution {
    /// It is written how far a step is.
    fn say_told(&self, path: &str) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.insert(path.to_owned());
    }

    /// What forgets how far a step was, in the transaction that says how its attempt ended; nothing
    /// if nobody said so.
    fn forget_progress(&self, path: &str) -> Option<Beside> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let path = told.take(path)?;
        let run = self.fence.run;
        Some(Box::new(move |tx| {
            step_progress::remove(tx, run, &path).map(drop)
        }))
    }
}

/// A run, as its durable function sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) execution: Arc<Execution>,
    branch: String,
    shielded: bool,
}

impl Run {
    pub(crate) fn new(execution: Arc<Execution>) -> Self {
        Self {
            execution,
            branch: String::new(),
            shielded: false,
        }
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.execution.fence.run
    }

    /// Who asked for it.
    pub fn caller(&self) -> &Caller {
        &self.execution.started.caller
    }

    /// When it was created.
    pub fn started_at(&self) -> Timestamp {
        self.execution.board.look(|history| history.started_at)
    }

    /// The trace all its log lines carry.
    pub fn trace(&self) -> &str {
        &self.execution.started.trace
    }

    /// Where its journal ends now: position and generation.
    pub fn position(&self) -> (i64, u32) {
        self.execution
            .board
            .look(|history| (history.seq, history.generation))
    }

    /// A part of the run with addresses of its own; keys are unique within their parent.
    #[must_use]
    pub fn branch(&self, key: &str) -> Self {
        let branch = format!("{}{key}/", self.branch);
        Self {
            execution: Arc::clone(&self.execution),
            branch,
            shielded: self.shielded,
        }
    }

    /// The same part of the run, but a request to cancel is not heard: what has begun to change
    /// the world is brought to its end.
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self {
            shielded: true,
            ..self.clone()
        }
    }

    /// Whether this is a replay, in which nothing may be done outside of steps either.
    pub fn is_replay(&self) -> bool {
        self.execution.is_replay
    }

    /// How often each address was asked for.
    fn occurrences(&self) -> MutexGuard<'_, BTreeMap<String, u32>> {
        let seen = self.execution.occurrences.lock();
        seen.unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, name: &str) -> String {
        let base = format!("{}{name}", self.branch);
        let mut seen = self.occurrences();
        let count = seen.entry(base.clone()).or_insert(0);
        *count += 1;
        format!("{base}#{count}")
    }

    /// What the branches of one place are in. Which addresses a branch has come to when another one
    /// ends it is chance, so the branches of the next place of this name count from the beginning,
    /// in a part of their own: `name`, `name#2`, and so on.
    fn branches(&self, name: &str) -> Self {
        let place = self.address(&format!("{name}/branches"));
        match place.rsplit_once('#') {
            Some((_, number)) if number != "1" => self.branch(&format!("{name}#{number}")),
            _ => self.branch(name),
        }
    }

    /// Runs branches side by side, at most `limit` at once, and gives their results in the order
    /// of their keys. The first error ends the others.
    pub async fn join<T, I, F, Fut>(
        &self,
        name: &str,
        limit: usize,
        items: Vec<(String, I)>,
        work: F,
    ) -> Result<Vec<T>, RunError>
    where
        F: Fn(Self, I) -> Fut,
        Fut: Future<Output = Result<T, RunError>>,
    {
        let keys: BTreeSet<_> = items.iter().map(|(key, _)| key.clone()).collect();
        if keys.len() != items.len() {
            return Err(same_keys(name).into());
        }
        let parent = self.branches(name);
        let mut waiting = items.into_iter().enumerate();
        let start = |(index, (key, item)): (usize, (String, I))| {
            let future = work(parent.branch(&key), item);
            async move { (index, future.await) }
        };
        let mut running: FuturesUnordered<_> =
            waiting.by_ref().take(limit.max(1)).map(start).collect();
        let mut results = BTreeMap::new();
        while let Some((index, result)) = running.next().await {
            results.insert(index, result?);
            if let Some(next) = waiting.next() {
                running.push(start(next));
            }
        }
        Ok(results.into_values().collect())
    }

    /// Ends this execution: the run goes on as the same run with this input and nothing else, under
    /// the newest version of its function. Its journal stays, but what is before does not count any
    /// more and is not read again, so a run that never ends does not grow its replay. Signals that it
    /// has not taken yet are kept; runs that it started go on without it. To be returned at once:
    /// `return Err(run.continue_as_new(next))`.
    pub fn continue_as_new(&self, input: Value) -> RunError {
        RunError::ContinueAsNew(Box::new(input))
    }

    fn cancellation(&self) -> RunError {
        let reason = self.execution.board.look(|history| history.cancel.clone());
        RunError::Cancelled(reason.unwrap_or_default())
    }

    /// The place where a run lets go, rests or ends by request: before a new effect, never in one.
    async fn boundary(&self, path: &str) -> Result<(), RunError> {
        if !self.shielded
            && self
                .execution
                .board
                .look(|history| history.cancel.is_some())
        {
            return Err(self.cancellation());
        }
        if self.execution.is_replay {
            return Err(self.unrecorded(path).await);
        }
        let draining = self.execution.draining.clone();
        let wait = waiting("host", path, "the run moves to another host", None);
        self.execution
            .board
            .wait(wait, move |history| {
                let rests = history.paused.is_some() || *draining.borrow();
                (!rests).then_some(())
            })
            .await;
        Ok(())
    }

    /// In a replay, what is not recorded never comes. That is no error of this part: it may be one
    /// that another part's error ended, and then that is what the run ended with.
    async fn unrecorded(&self, path: &str) -> RunError {
        let wait = waiting(UNRECORDED, path, "the journal does not have it", None);
        let never = self.execution.board.wait(wait, |_| None::<()>);
        never.await;
        RunError::Unrecorded { path: path.into() }
    }

    async fn record(
        &self,
        kind: EntryKind,
        path: &str,
        fingerprint: &str,
        payload: Value,
    ) -> Result<(), RunError> {
        let draft = Draft {
            kind,
            path: path.into(),
            fingerprint: fingerprint.into(),
            payload,
        };
        self.append(draft, None).await
    }

    /// Makes sure that nobody can believe this owner dead while it begins something that reaches
    /// the outside world. In the last third of its lease, and after a lapse, it beats first and
    /// learns whether the run is still its own.
    async fn hold(&self) -> Result<(), RunError> {
        let Execution {
            journal,
            fence,
            lease,
            sure,
            ..
        } = &*self.execution;
        let fence = *fence;
        loop {
            let asked = journal.clock.monotonic();
            let known = *sure.lock().unwrap_or_else(PoisonError::into_inner);
            if lease.is_fresh(asked, known) {
                return Ok(());
            }
            let worker = lease.worker.clone();
            journal
                .storage
                .write::<_, AppendError, _>(Purpose::Beat, move |tx| {
                    let head = runs::head(tx, fence.run)?;
                    if head.is_none_or(|head| head.epoch != fence.epoch) {
                        return Err(AppendError::Refused);
                    }
                    Ok(workers::beat(tx, &worker)?)
                })
                .await?;
            let confirmed = lease.confirm(asked, journal.clock.monotonic());
            *sure.lock().unwrap_or_else(PoisonError::into_inner) = confirmed;
        }
    }

    async fn append(&self, draft: Draft, beside: Option<Beside>) -> Result<(), RunError> {
        self.append_as(&self.execution.actor, draft, beside).await
    }

    /// Appends what somebody else is the author of.
    async fn append_as(
        &self,
        actor: &str,
        draft: Draft,
        beside: Option<Beside>,
    ) -> Result<(), RunError> {
        let Execution {
            journal,
            fence,
            believed,
            board,
            ..
        } = &*self.execution;
        if self.execution.is_replay {
            return Err(self.unrecorded(&draft.path).await);
        }
        // What is being recorded changes what the run waits for, so it cannot be parked now.
        let flight = board.in_flight();
        let entry = journal.extend(*fence, actor, draft, believed, beside);
        let entry = entry.await?;
        board.change(|history| history.apply(&entry));
        drop(flight);
        Ok(())
    }
}

fn same_keys(name: &str) -> StepError {
    let what = format!("the branches of `{name}` do not have keys of their own");
    StepError::permanent("branch_keys", what)
}

fn waiting(what: &str, name: &str, because: &str, until: Option<Timestamp>) -> Waiting {
    Waiting {
        what: what.into(),
        name: name.into(),
        because: because.into(),
        until,
        stopped: None,
    }
}
