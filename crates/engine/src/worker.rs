//! One owner drives one run, from its claim until it ends, waits, rests or is lost.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::FutureExt;
use matrix_core::Timestamp;
use matrix_store::tables::runs::{self, Release};
use matrix_store::tables::{approvals, inbox};
use matrix_store::{StoreError, Tx};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};

use crate::entry::{Draft, EntryKind};
use crate::error::{RunError, StepError};
use crate::history::{Ended, History};
use crate::journal::{AppendError, Beside, Fence, Journal, append_in};
use crate::lease::Lease;
use crate::run::{Execution, Run};
use crate::storage::Purpose;
use crate::wait::{Board, Nudge, Waiting};

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
    pub(crate) journal: Journal,
    pub(crate) lease: Arc<Lease>,
    pub(crate) fence: Fence,
    pub(crate) mail: Arc<Notify>,
    pub(crate) draining: watch::Receiver<bool>,
}

enum Outcome {
    Returned(Result<Value, RunError>),
    Parked(Vec<Waiting>),
    /// The past has changed under the function, so it starts again.
    Again,
}

/// Whether mail that came while a run was let go of makes it ready again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mail {
    Heard,
    /// The mail itself is what cannot be read.
    Unreadable,
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
    /// Drives the run with the function that `find` gives for its kind and version.
    pub(crate) async fn drive(
        &self,
        crashes: i64,
        find: impl Fn(&str, &str) -> Option<Arc<dyn DurableFunction>>,
    ) -> LetGo {
        let driven = AssertUnwindSafe(self.try_drive(crashes, find))
            .catch_unwind()
            .await;
        let driven = match driven {
            // One run's damage is that run's; the others go on.
            Ok(Err(LetGo::Storage(
                error @ (StoreError::Corrupt(_)
                | StoreError::Conflict(_)
                | StoreError::Forbidden(_)),
            ))) => {
                tracing::error!(%error, "the run cannot go on");
                self.rest(&error.to_string(), Mail::Unreadable).await
            }
            Ok(driven) => driven,
            Err(_) => {
                self.pause("its function stopped unexpectedly; the log says where")
                    .await
            }
        };
        driven.err().unwrap_or(LetGo::Settled)
    }

    async fn try_drive(
        &self,
        crashes: i64,
        find: impl Fn(&str, &str) -> Option<Arc<dyn DurableFunction>>,
    ) -> Result<(), LetGo> {
        self.collect_mail().await?;
        let history = self.history().await?;
        if history.ended.is_some() {
            return self.let_go(Vec::new(), state_of(&history), None).await;
        }
        if let Some(reason) = &history.paused {
            return self
                .let_go(Vec::new(), "paused", Some(person(reason)))
                .await;
        }
        let Some(started) = history.started.clone() else {
            return Err(StoreError::corrupt(format_args!("run {}", self.fence.run)).into());
        };
        if crashes >= CRASHES_MAX {
            let reason =
                format!("its host died {crashes} times while it ran; look at the log, then resume");
            return self.pause(&reason).await;
        }
        let Some(function) = find(&started.kind, &started.version) else {
            let reason = format!(
                "it needs version {} of `{}`, which this program does not have",
                started.version, started.kind
            );
            return self.pause_or_end(&reason, &history).await;
        };
        let cancelled = watch::Sender::new(history.cancel.is_some());
        let input = started.input.clone();
        let execution = Arc::new(Execution {
            journal: self.journal.clone(),
            board: Board::new(history),
            fence: self.fence,
            believed: Arc::default(),
            lease: Arc::clone(&self.lease),
            actor: format!("worker:{}", self.lease.worker),
            started,
            cancelled,
            draining: self.draining.clone(),
            occurrences: Mutex::default(),
            is_replay: false,
        });
        let outcome = self.execute(&*function, &execution, input).await?;
        self.finish(outcome, &execution.board).await
    }

    async fn history(&self) -> Result<History, StoreError> {
        let (journal, run) = (self.journal.clone(), self.fence.run);
        let read = self.journal.storage.read(move || journal.read(run, -1));
        let entries = read.await?;
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

    async fn finish(&self, outcome: Outcome, board: &Board) -> Result<(), LetGo> {
        let result = match outcome {
            Outcome::Parked(waits) => return self.park(waits, board).await,
            Outcome::Again => return self.let_go(Vec::new(), "ready", None).await,
            Outcome::Returned(result) => result,
        };
        let (kind, payload, state) = match result {
            Ok(value) => (EntryKind::RunCompleted, value, "succeeded"),
            Err(RunError::Failed(error)) => {
                let payload = serde_json::to_value(&error).unwrap_or_default();
                (EntryKind::RunFailed, payload, "failed")
            }
            Err(RunError::Cancelled(reason)) => (
                EntryKind::RunCancelled,
                json!({ "reason": reason }),
                "cancelled",
            ),
            Err(error @ (RunError::Diverged { .. } | RunError::Unrecorded { .. })) => {
                let history = board.look(History::clone);
                return self.pause_or_end(&error.to_string(), &history).await;
            }
            Err(RunError::NeedsPerson(reason)) => return self.pause(&reason).await,
            Err(RunError::Lost) => return Err(LetGo::Lost),
            Err(RunError::Store(error)) => return Err(LetGo::Storage(error)),
        };
        self.let_go(vec![Draft::new(kind, payload)], state, None)
            .await
    }

    async fn pause(&self, reason: &str) -> Result<(), LetGo> {
        self.rest(reason, Mail::Heard).await
    }

    async fn rest(&self, reason: &str, mail: Mail) -> Result<(), LetGo> {
        let draft = Draft::new(EntryKind::Paused, json!({ "reason": reason }));
        self.give_up(vec![draft], "paused", Some(person(reason)), mail)
            .await
    }

    /// Lets a run rest that cannot be executed. One that a person cancelled while it rested ends
    /// here, or it could never end.
    async fn pause_or_end(&self, reason: &str, history: &History) -> Result<(), LetGo> {
        match &history.cancel {
            Some(cancel) if history.given_up => {
                let payload =
                    json!({ "reason": format!("{cancel} (nothing was undone: {reason})") });
                let draft = Draft::new(EntryKind::RunCancelled, payload);
                self.let_go(vec![draft], "cancelled", None).await
            }
            _ => self.pause(reason).await,
        }
    }

    async fn park(&self, waits: Vec<Waiting>, board: &Board) -> Result<(), LetGo> {
        if let Some(reason) = board.look(|history| history.paused.clone()) {
            return self
                .let_go(Vec::new(), "paused", Some(person(&reason)))
                .await;
        }
        if waits.is_empty() || *self.draining.borrow() {
            return self.let_go(Vec::new(), "ready", None).await;
        }
        let first = waits
            .iter()
            .min_by_key(|w| w.until.unwrap_or(Timestamp::from_micros(i64::MAX)));
        self.let_go(Vec::new(), "waiting", first.cloned()).await
    }

    async fn let_go(
        &self,
        drafts: Vec<Draft>,
        state: &'static str,
        waiting: Option<Waiting>,
    ) -> Result<(), LetGo> {
        self.give_up(drafts, state, waiting, Mail::Heard).await
    }

    /// Gives the run up in one transaction with its last entries. A run that waits and has mail is
    /// ready again, and so is one that rests and has mail that wakes it: its sender saw a run that
    /// was still driven.
    async fn give_up(
        &self,
        drafts: Vec<Draft>,
        state: &'static str,
        waiting: Option<Waiting>,
        mail: Mail,
    ) -> Result<(), LetGo> {
        let Fence { run, epoch } = self.fence;
        let at = self.journal.clock.now();
        let wake_at = waiting.as_ref().and_then(|waiting| waiting.until);
        let text = waiting.map(|waiting| serde_json::to_string(&waiting).unwrap_or_default());
        let beside: Beside = Box::new(move |tx| {
            let woken = match state {
                "waiting" => inbox::waiting(tx, run)?,
                "paused" => mail == Mail::Heard && inbox::steering(tx, run)?,
                _ => false,
            };
            let state = if woken { "ready" } else { state };
            let text = if woken { None } else { text.as_deref() };
            if matches!(state, "succeeded" | "failed" | "cancelled") {
                approvals::close_others(tx, run, None, "closed", at)?;
            }
            runs::release(
                tx,
                run,
                epoch,
                &Release {
                    state,
                    waiting: text,
                    wake_at,
                },
                at,
            )?;
            Ok(())
        });
        let actor = format!("worker:{}", self.lease.worker);
        self.journal
            .append(self.fence, &actor, drafts, Some(beside))
            .await?;
        Ok(())
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

fn person(reason: &str) -> Waiting {
    Waiting {
        what: "person".into(),
        name: "resume".into(),
        because: reason.into(),
        until: None,
    }
}

fn state_of(history: &History) -> &'static str {
    match history.ended {
        Some(Ended::Completed(_)) => "succeeded",
        Some(Ended::Failed(_)) => "failed",
        Some(Ended::Cancelled(_)) => "cancelled",
        None => "ready",
    }
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
