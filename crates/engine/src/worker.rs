//! One owner drives one run, from its claim until it ends, waits, rests or is lost.

mod settle;
mod unheard;

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use matrix_core::{RunId, Timestamp};
use matrix_store::tables::runs::RunRow;
use matrix_store::tables::{inbox, tasks};
use matrix_store::{StoreError, Tx};
use serde_json::Value;
use tokio::sync::{Notify, watch};

pub(crate) use self::settle::Letter;
use self::settle::{Mail, Outcome, known, resting, state_of};
use self::unheard::unheard;
use crate::engine::Engine;
use crate::entry::{Draft, EntryKind};
use crate::error::{RunError, StepError};
use crate::history::{Ended, History};
use crate::journal::{AppendError, Fence, Journal, append_in};
use crate::lease::{Lease, Sure};
use crate::lineage;
use crate::run::{Execution, Run};
use crate::stopped::{Cause, Stopped};
use crate::storage::Purpose;
use crate::tasks::Exchange;
use crate::wait::{Board, Nudge};

/// A run whose owners died this often without coming to rest is left to a person.
const CRASHES_MAX: i64 = 5;

/// The longest time slept for a timer beside a step in flight, so that a clock that was set is
/// noticed.
const TIMER_SLEEP_MAX: Duration = Duration::from_mins(1);

/// A function that survives its process.
#[async_trait]
pub trait DurableFunction: Send + Sync {
    /// The kind of run it executes: `change`.
    fn kind(&self) -> &'static str;

    /// The version that runs started with it are pinned to.
    fn version(&self) -> &'static str;

    /// Executes the run. It is called again after every interruption, from the beginning.
    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError>;

    /// Whether a fork of its runs may be given this input as it stands. A function whose input is
    /// checked and completed where a run is asked for says no.
    fn takes(&self, _input: &Value) -> bool {
        false
    }

    /// Whether a fork of its runs may share what the step at this address gave. From the first step
    /// on that it may not, the fork does everything itself: what was decided for one run, or made for
    /// it alone, says nothing about another.
    fn shares(&self, _path: &str) -> bool {
        true
    }
}

/// How an owner let go of a run.
#[derive(Debug)]
pub(crate) enum LetGo {
    /// It ended, waits or rests; the state is in its row.
    Settled,
    /// Somebody else owns it.
    Lost,
    /// Storage failed; the run is still marked as ours.
    Storage(StoreError),
}

/// What a worker needs to drive a run.
#[derive(Debug)]
pub(crate) struct Drive {
    pub(crate) engine: Engine,
    pub(crate) journal: Journal,
    pub(crate) lease: Arc<Lease>,
    /// The run's row, as it was claimed.
    pub(crate) row: RunRow,
    /// Until when it is the worker's own for sure.
    pub(crate) sure: Option<Sure>,
    pub(crate) exchange: Arc<Exchange>,
    pub(crate) fence: Fence,
    pub(crate) mail: Arc<Notify>,
    pub(crate) draining: watch::Receiver<bool>,
}

impl From<AppendError> for LetGo {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused => Self::Lost,
            AppendError::Store(error) => Self::Storage(error),
        }
    }
}

impl From<StoreError> for LetGo {
    fn from(error: StoreError) -> Self {
        Self::Storage(error)
    }
}

impl Drive {
    /// Drives the run with the function of its kind and version.
    pub(crate) async fn drive(&self) -> LetGo {
        let driven = AssertUnwindSafe(self.try_drive()).catch_unwind().await;
        let driven = match driven {
            // One run's damage is that run's; the others go on.
            Ok(Err(LetGo::Storage(
                error @ (StoreError::Corrupt(_)
                | StoreError::Conflict(_)
                | StoreError::Forbidden(_)
                | StoreError::Removed { .. }),
            ))) => {
                tracing::error!(%error, "the run cannot go on");
                let stopped = Stopped::new(Cause::Damage);
                self.rest(stopped, &error.to_string(), Mail::Unreadable)
                    .await
            }
            Ok(driven) => driven,
            Err(_) => {
                let reason = "its function stopped unexpectedly; the log says where";
                self.pause(Stopped::new(Cause::Panic), reason).await
            }
        };
        driven.err().unwrap_or(LetGo::Settled)
    }

    async fn try_drive(&self) -> Result<(), LetGo> {
        self.collect_mail().await?;
        let history = self.history().await?;
        if history.generation > 0 {
            self.withdraw_stale(&history).await?;
        }
        if history.ended.is_some() {
            return self.let_go(state_of(&history), None).await;
        }
        if let Some(wait) = resting(&history) {
            return self.let_go("paused", Some(wait)).await;
        }
        let Some(started) = history.started.clone() else {
            return Err(StoreError::corrupt(format_args!("run {}", self.fence.run)).into());
        };
        let crashes = self.row.crashes;
        if crashes >= CRASHES_MAX {
            let reason =
                format!("its host died {crashes} times while it ran; look at the log, then resume");
            let stopped = Stopped {
                tries: u32::try_from(crashes).unwrap_or(u32::MAX),
                ..Stopped::new(Cause::Crashes)
            };
            return self.pause(stopped, &reason).await;
        }
        let functions = self.engine.functions();
        let Some(function) = functions.find(&started.kind, &started.version) else {
            let reason = format!(
                "it needs version {} of `{}`, which this program does not have",
                started.version, started.kind
            );
            let stopped = Stopped::new(Cause::Function);
            return self.pause_or_end(stopped, &reason, &history).await;
        };
        let cancelled = watch::Sender::new(history.cancel.is_some());
        let input = started.input.clone();
        let execution = Arc::new(Execution {
            engine: Some(self.engine.clone()),
            journal: self.journal.clone(),
            board: Board::new(history),
            fence: self.fence,
            believed: Arc::default(),
            lease: Arc::clone(&self.lease),
            sure: Mutex::new(self.sure),
            exchange: Arc::clone(&self.exchange),
            actor: format!("worker:{}", self.lease.worker),
            started,
            placement: self.row.placement.clone(),
            cancelled,
            draining: self.draining.clone(),
            occurrences: Mutex::default(),
            taken: Mutex::default(),
            told: Mutex::default(),
            is_replay: false,
        });
        let outcome = self.execute(&*function, &execution, input).await?;
        self.finish(outcome, &execution).await
    }

    /// Takes back what was offered of steps that a reset made undone, and asks runs to end that were
    /// started by what it made undone. What is still at work on such a step works for nothing, and is
    /// told so at its next heartbeat.
    async fn withdraw_stale(&self, history: &History) -> Result<(), StoreError> {
        let run = self.fence.run;
        let offered = self.journal.storage.look(move |tx| tasks::of_run(tx, run));
        let stale: Vec<_> = offered
            .await?
            .into_iter()
            .filter(|row| !history.step(&row.path).is_some_and(|step| step.open))
            .map(|row| row.task)
            .collect();
        let known: Vec<RunId> = known(history);
        let forgotten = known.clone();
        let children = self
            .journal
            .storage
            .look(move |tx| unheard(tx, run, &forgotten))
            .await?;
        if stale.is_empty() && children.is_empty() {
            return Ok(());
        }
        let (at, reason) = (
            self.journal.clock.now(),
            format!("run {run}, which started it, does that part again"),
        );
        let work = move |tx: &Tx<'_>| {
            for task in stale {
                tasks::remove(tx, task)?;
            }
            for child in unheard(tx, run, &known)? {
                Letter::cancel(child, &reason)?.post(tx, run, at)?;
            }
            Ok(())
        };
        let written: Result<(), StoreError> = self.journal.storage.write(Purpose::Task, work).await;
        self.engine.wake_all(children);
        written
    }

    async fn history(&self) -> Result<History, StoreError> {
        let (journal, row) = (self.journal.clone(), self.row.clone());
        let read =
            move || lineage::entries(&journal.storage.database, &journal.blobs, &row, i64::MAX);
        let entries = self.journal.storage.read(read).await?;
        let Fence { run, epoch } = self.fence;
        self.journal.meters.replay(run, epoch, &entries);
        Ok(History::replay(&entries))
    }

    /// Polls the function until it returns or can do nothing by itself, taking mail in between.
    async fn execute(
        &self,
        function: &dyn DurableFunction,
        execution: &Arc<Execution>,
        input: Value,
    ) -> Result<Outcome, LetGo> {
        let mut body = pin!(function.execute(Run::new(Arc::clone(execution)), input));
        let board = &execution.board;
        let mut draining = self.draining.clone();
        let nudge = Arc::new(Nudge::default());
        let mut heard: Option<Timestamp> = None;
        loop {
            // After a clock was set back, what was due is due again.
            let now = self.journal.clock.now();
            heard = heard.filter(|heard| *heard <= now);
            // In this order, so that two executions differ only by what happens to them.
            tokio::select! {
                biased;
                outcome = board.advance(&nudge, body.as_mut()) => {
                    return Ok(outcome.map_or_else(Outcome::Parked, Outcome::Returned));
                }
                () = self.timer(board.next_due(heard)) => {
                    heard = Some(self.journal.clock.now());
                    board.change(|_| ());
                }
                () = board.timed.notified() => {}
                () = self.mail.notified() => {
                    let arrived = self.collect_mail().await?;
                    if arrived.iter().any(|entry| entry.kind == EntryKind::Reset) {
                        return Ok(Outcome::Again);
                    }
                    board.change(|history| arrived.iter().for_each(|e| history.apply(e)));
                    if board.look(|history| history.cancel.is_some()) {
                        execution.cancelled.send_replace(true);
                    }
                }
                _ = draining.changed() => board.change(|_| ()),
            }
        }
    }

    /// Waits for the next timer beside a step in flight.
    async fn timer(&self, due: Option<Timestamp>) {
        match due {
            Some(due) => {
                let left = due.since(self.journal.clock.now());
                tokio::time::sleep(left.min(TIMER_SLEEP_MAX)).await;
            }
            None => std::future::pending().await,
        }
    }

    /// Moves the inbox into the journal, deleting it in the same transaction.
    async fn collect_mail(&self) -> Result<Vec<crate::entry::Entry>, LetGo> {
        let fence = self.fence;
        let mut arrived = Vec::new();
        loop {
            let waiting = self
                .journal
                .storage
                .read_now::<_, StoreError, _>(|tx| inbox::waiting(tx, fence.run))?;
            if !waiting {
                return Ok(arrived);
            }
            let (journal, now) = (self.journal.clone(), self.journal.clock.now());
            let entries = self
                .journal
                .storage
                .write::<_, AppendError, _>(Purpose::Mail(fence), move |tx| {
                    move_mail(tx, &journal, fence, now)
                })
                .await?;
            self.journal.announce();
            arrived.extend(entries);
        }
    }
}

fn move_mail(
    tx: &Tx<'_>,
    journal: &Journal,
    fence: Fence,
    now: Timestamp,
) -> Result<Vec<crate::entry::Entry>, AppendError> {
    let mut sealed = Vec::new();
    for message in inbox::list(tx, fence.run)? {
        inbox::delete(tx, message.id)?;
        let kind = EntryKind::parse(&message.kind)
            .ok_or_else(|| StoreError::corrupt(format_args!("inbox row {}", message.id)))?;
        let payload = serde_json::from_slice(&message.payload)
            .map_err(|_| StoreError::corrupt(format_args!("inbox row {}", message.id)))?;
        let draft = Draft::at(kind, message.path, payload);
        sealed.push(journal.seal(draft, &message.actor, message.at)?);
    }
    append_in(tx, fence, sealed, now)
}

/// Whether a state is one that a run does not leave again.
pub fn is_terminal(state: &str) -> bool {
    matches!(state, "succeeded" | "failed" | "cancelled")
}

/// The error a failed run ended with, from its history.
pub fn failure(history: &History) -> Option<&StepError> {
    match &history.ended {
        Some(Ended::Failed(error)) => Some(error),
        _ => None,
    }
}
