//! How an owner lets go of a run: it ended, it waits, it rests, or it starts again.
//!
//! Whatever it is, it is one transaction: the last entries, the run's row, and what others are to
//! hear of it (the run that started this one, and the runs that this one started).

use std::sync::{Arc, Mutex, PoisonError};

use matrix_core::{RunId, Timestamp};
use matrix_store::tables::inbox::{self, Message};
use matrix_store::tables::runs::{self, Release, WakePaused};
use matrix_store::tables::{approvals, step_progress, tasks};
use matrix_store::{StoreError, Tx};
use serde::Serialize;
use serde_json::{Value, json};

use super::unheard::unheard;
use super::{Drive, LetGo, is_terminal};
use crate::entry::{Draft, EntryKind};
use crate::error::RunError;
use crate::history::{ChildEnd, Continued, Ended, History, Origin};
use crate::journal::{Beside, Fence};
use crate::run::Execution;
use crate::stopped::{Cause, Stopped};
use crate::wait::{TASK, Waiting};

/// How an execution of the function came to its end.
pub(super) enum Outcome {
    Returned(Result<Value, RunError>),
    Parked(Vec<Waiting>),
    /// The past has changed under the function, so it starts again.
    Again,
}

/// Whether mail that came while a run was let go of makes it ready again.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mail {
    Heard,
    /// The mail itself is what cannot be read.
    Unreadable,
}

/// What a run is left with.
struct Farewell {
    drafts: Vec<Draft>,
    state: &'static str,
    waiting: Option<Waiting>,
    mail: Mail,
    /// To other runs.
    letters: Vec<Letter>,
    /// The runs that it started, as far as its owner knows.
    known: Vec<RunId>,
    /// The version that it goes on with from its newest entry on, if it continues as new.
    continues_with: Option<String>,
    /// The addresses of the tasks that it waits for.
    awaited: Vec<String>,
}

impl Farewell {
    fn new(state: &'static str, waiting: Option<Waiting>) -> Self {
        Self {
            drafts: Vec::new(),
            state,
            waiting,
            mail: Mail::Heard,
            letters: Vec::new(),
            known: Vec::new(),
            continues_with: None,
            awaited: Vec::new(),
        }
    }
}

/// A message from one run to another.
#[derive(Debug, Clone)]
pub(crate) struct Letter {
    pub(crate) to: RunId,
    kind: EntryKind,
    path: String,
    payload: Vec<u8>,
    paused: WakePaused,
}

impl Letter {
    /// The run that started this one hears that it ended.
    fn ended(to: RunId, path: &str, end: &ChildEnd) -> Result<Self, StoreError> {
        Ok(Self {
            to,
            kind: EntryKind::ChildEnded,
            path: path.to_owned(),
            payload: bytes(end)?,
            paused: WakePaused::No,
        })
    }

    /// A run is asked to end because the one that started it has.
    fn parent_ended(to: RunId, parent: RunId) -> Result<Self, StoreError> {
        Self::cancel(to, &format!("run {parent}, which started it, has ended"))
    }

    /// A run that this one started is asked to end.
    pub(crate) fn cancel(to: RunId, reason: &str) -> Result<Self, StoreError> {
        Ok(Self {
            to,
            kind: EntryKind::CancelRequested,
            path: String::new(),
            payload: bytes(&json!({ "reason": reason }))?,
            paused: WakePaused::Yes,
        })
    }

    /// Puts it in the other run's inbox, unless that one has ended or is another tenant's.
    pub(crate) fn post(self, tx: &Tx<'_>, from: RunId, at: Timestamp) -> Result<(), StoreError> {
        let (Some(row), Some(sender)) = (runs::get(tx, self.to)?, runs::get(tx, from)?) else {
            return Ok(());
        };
        if is_terminal(&row.state) || row.scope != sender.scope {
            return Ok(());
        }
        let message = Message {
            id: 0,
            run: self.to,
            kind: self.kind.as_str().into(),
            path: self.path,
            payload: self.payload,
            actor: format!("run:{from}"),
            at,
        };
        inbox::insert(tx, &message)?;
        runs::wake(tx, self.to, self.paused, at).map(drop)
    }
}

fn bytes(value: &impl Serialize) -> Result<Vec<u8>, StoreError> {
    serde_json::to_vec(value).map_err(StoreError::corrupt)
}

impl Drive {
    pub(super) async fn finish(
        &self,
        outcome: Outcome,
        execution: &Execution,
    ) -> Result<(), LetGo> {
        let result = match outcome {
            Outcome::Parked(waits) => return self.park(waits, execution).await,
            Outcome::Again => return self.let_go("ready", None).await,
            Outcome::Returned(result) => result,
        };
        // The function has returned, so nobody looks at it any more.
        let history = || execution.board.change(std::mem::take);
        match result {
            Ok(value) => self.end(Ended::Completed(value), &history()).await,
            Err(RunError::Failed(error)) => self.end(Ended::Failed(*error), &history()).await,
            Err(RunError::Cancelled(reason)) => {
                self.end(Ended::Cancelled(reason), &history()).await
            }
            Err(RunError::ContinueAsNew(input)) => self.continue_as_new(*input, execution).await,
            Err(
                ref
                error @ (RunError::Diverged { ref path, .. } | RunError::Unrecorded { ref path }),
            ) => {
                let stopped = Stopped::at(Cause::Divergence, path, 0);
                self.pause_or_end(stopped, &error.to_string(), &history())
                    .await
            }
            Err(RunError::NeedsPerson { stopped, reason }) => self.pause(*stopped, &reason).await,
            Err(RunError::Lost) => Err(LetGo::Lost),
            Err(RunError::Store(error)) => Err(LetGo::Storage(error)),
        }
    }

    /// Ends the run. Whoever started it hears so, and what it started and did not detach is asked to
    /// end as well.
    async fn end(&self, ended: Ended, history: &History) -> Result<(), LetGo> {
        let (kind, payload) = match &ended {
            Ended::Completed(value) => (EntryKind::RunCompleted, value.clone()),
            Ended::Failed(error) => {
                let payload = serde_json::to_value(error).unwrap_or_default();
                (EntryKind::RunFailed, payload)
            }
            Ended::Cancelled(reason) => (EntryKind::RunCancelled, json!({ "reason": reason })),
        };
        let state = ended.state();
        let mut letters = Vec::new();
        for (_, child) in history.live_children() {
            if !child.spawned.detached {
                letters.push(Letter::parent_ended(child.spawned.run, self.fence.run)?);
            }
        }
        let origin = history.started.as_ref().map(|started| &started.origin);
        if let Some(Origin::ChildOf { run, path, .. }) = origin {
            let end = ChildEnd {
                run: self.fence.run,
                ended,
            };
            letters.push(Letter::ended(*run, path, &end)?);
        }
        let farewell = Farewell {
            drafts: vec![Draft::new(kind, payload)],
            letters,
            known: known(history),
            ..Farewell::new(state, None)
        };
        self.give_up(farewell).await
    }

    /// Lets the function start again, from nothing but its new input.
    async fn continue_as_new(&self, input: Value, execution: &Execution) -> Result<(), LetGo> {
        let history = execution.board.look(History::clone);
        let version = self.engine.functions().version_of(&execution.started.kind);
        let mut started = execution.started.clone();
        (started.input, started.version) = (input, version.clone());
        let taken = execution
            .taken
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let signals = history.signals_after(|name| taken.get(name).copied().unwrap_or(0));
        let continued = Continued {
            started,
            started_at: history.started_at,
            signals,
            cancel: history.cancel.clone(),
            paused: history.paused.clone(),
            generation: history.generation + 1,
        };
        let payload = serde_json::to_value(continued).map_err(StoreError::corrupt)?;
        let farewell = match &history.paused {
            Some(reason) => Farewell::new("paused", Some(person(reason, None))),
            None => Farewell::new("ready", None),
        };
        let farewell = Farewell {
            drafts: vec![Draft::new(EntryKind::Continued, payload)],
            continues_with: Some(version),
            ..farewell
        };
        self.give_up(farewell).await
    }

    pub(super) async fn pause(&self, stopped: Stopped, reason: &str) -> Result<(), LetGo> {
        self.rest(stopped, reason, Mail::Heard).await
    }

    /// Lets a run rest until a person looks at it.
    pub(super) async fn rest(
        &self,
        stopped: Stopped,
        reason: &str,
        mail: Mail,
    ) -> Result<(), LetGo> {
        let payload = json!({
            "reason": reason, "cause": stopped.cause, "step": stopped.step, "tries": stopped.tries,
        });
        let stopped = Stopped {
            since: self.journal.clock.now(),
            ..stopped
        };
        let farewell = Farewell {
            drafts: vec![Draft::new(EntryKind::Paused, payload)],
            mail,
            ..Farewell::new("paused", Some(person(reason, Some(stopped))))
        };
        self.give_up(farewell).await
    }

    /// Lets a run rest that cannot be executed. One that a person cancelled while it rested ends
    /// here, or it could never end.
    pub(super) async fn pause_or_end(
        &self,
        stopped: Stopped,
        reason: &str,
        history: &History,
    ) -> Result<(), LetGo> {
        match &history.cancel {
            Some(cancel) if history.given_up => {
                let reason = format!("{cancel} (nothing was undone: {reason})");
                self.end(Ended::Cancelled(reason), history).await
            }
            _ => self.pause(stopped, reason).await,
        }
    }

    async fn park(&self, waits: Vec<Waiting>, execution: &Execution) -> Result<(), LetGo> {
        if let Some(wait) = execution.board.look(resting) {
            return self.let_go("paused", Some(wait)).await;
        }
        if waits.is_empty() || *self.draining.borrow() {
            return self.let_go("ready", None).await;
        }
        let first = waits
            .iter()
            .min_by_key(|w| w.until.unwrap_or(Timestamp::from_micros(i64::MAX)));
        let tasks = waits.iter().filter(|wait| wait.what == TASK);
        let awaited = tasks.map(|wait| wait.name.clone()).collect();
        let farewell = Farewell::new("waiting", first.cloned());
        self.give_up(Farewell {
            awaited,
            ..farewell
        })
        .await
    }

    pub(super) async fn let_go(
        &self,
        state: &'static str,
        waiting: Option<Waiting>,
    ) -> Result<(), LetGo> {
        self.give_up(Farewell::new(state, waiting)).await
    }

    /// Gives the run up in one transaction with its last entries. A run that waits and has mail is
    /// ready again, and so is one that rests and has mail that wakes it: its sender saw a run that
    /// was still driven.
    async fn give_up(&self, farewell: Farewell) -> Result<(), LetGo> {
        let Farewell {
            drafts,
            state,
            waiting,
            mail,
            mut letters,
            known,
            continues_with,
            awaited,
        } = farewell;
        let Fence { run, epoch } = self.fence;
        let at = self.journal.clock.now();
        let wake_at = waiting.as_ref().and_then(|waiting| waiting.until);
        let stopped = waiting
            .as_ref()
            .and_then(|waiting| waiting.stopped.as_ref());
        let stopped = stopped.map_or("", |stopped| stopped.cause.as_str());
        let text = waiting.map(|waiting| serde_json::to_string(&waiting).unwrap_or_default());
        let told: Arc<Mutex<Vec<RunId>>> = Arc::default();
        let telling = Arc::clone(&told);
        let beside: Beside = Box::new(move |tx| {
            if let Some(version) = continues_with {
                runs::continue_as_new(tx, run, &version, epoch)?;
            }
            let woken = match state {
                "waiting" => part_with_tasks(tx, run, &awaited)? || inbox::waiting(tx, run)?,
                "paused" => mail == Mail::Heard && inbox::steering(tx, run)?,
                _ => false,
            };
            let state = if woken { "ready" } else { state };
            let text = if woken { None } else { text.as_deref() };
            if is_terminal(state) {
                approvals::close_others(tx, run, None, "closed", at)?;
                tasks::withdraw(tx, run)?;
                for child in unheard(tx, run, &known)? {
                    letters.push(Letter::parent_ended(child, run)?);
                }
            }
            // What an owner said before it died is said of nothing that goes on.
            step_progress::clear(tx, run)?;
            for letter in letters {
                let mut telling = telling.lock().unwrap_or_else(PoisonError::into_inner);
                telling.push(letter.to);
                letter.post(tx, run, at)?;
            }
            let release = Release {
                state,
                waiting: text,
                wake_at,
                stopped: if woken { "" } else { stopped },
            };
            runs::release(tx, run, epoch, &release, at).map(drop)
        });
        let actor = format!("worker:{}", self.lease.worker);
        self.journal
            .append(self.fence, &actor, drafts, Some(beside))
            .await?;
        let told = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
        self.engine.wake_all(told);
        Ok(())
    }
}

/// The runs that a run started, as its history tells.
pub(super) fn known(history: &History) -> Vec<RunId> {
    let children = history.children().into_iter();
    children.map(|(_, child)| child.spawned.run).collect()
}

/// Whether a worker has reported a task that a run waits for. Tasks of branches that it waits for no
/// more are taken back, or their workers asked to stop.
fn part_with_tasks(tx: &Tx<'_>, run: RunId, awaited: &[String]) -> Result<bool, StoreError> {
    let mut reported = false;
    for row in tasks::of_run(tx, run)? {
        match (awaited.contains(&row.path), &*row.state) {
            (true, state) => reported |= state == "reported",
            (false, "offered") => drop(tasks::remove(tx, row.task)?),
            (false, _) => drop(tasks::cancel(tx, row.task)?),
        }
    }
    Ok(reported)
}

fn person(reason: &str, stopped: Option<Stopped>) -> Waiting {
    Waiting {
        what: "person".into(),
        name: "resume".into(),
        because: reason.into(),
        until: None,
        stopped,
    }
}

/// What a run that rests waits for; nothing if it does not rest.
pub(super) fn resting(history: &History) -> Option<Waiting> {
    let reason = history.paused.as_ref()?;
    Some(person(reason, history.stopped.clone()))
}

pub(super) fn state_of(history: &History) -> &'static str {
    history.ended.as_ref().map_or("ready", Ended::state)
}
