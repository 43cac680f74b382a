//! A step that a worker outside does: offered, waited for, recorded as every other step.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use matrix_core::id::TaskId;
use matrix_store::tables::tasks::{self, TaskRow};
use matrix_store::{StoreError, Tx};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::execute::{decode, known};
use super::{Run, waiting};
use crate::entry::{Draft, EntryKind};
use crate::error::RunError;
use crate::journal::Beside;
use crate::step::{EffectClass, StepContext};
use crate::stopped::{Cause, Stopped};
use crate::storage::Purpose;
use crate::tasks::{Delivery, LOSSES_MAX, Report, Task};
use crate::wait::TASK;

/// For how long an owner waits in memory for what a worker reports; then the run is parked.
const IN_PLACE: Duration = Duration::from_secs(2);

/// A step, and its place in the run.
struct Remote {
    run: Run,
    path: String,
    print: String,
    task: Task,
}

impl Run {
    /// Lets a worker outside do a step, and gives its result as every later execution of the
    /// function gets it. What a worker that is lost means is the step's effect class.
    pub fn remote<T: DeserializeOwned + Send>(
        &self,
        task: Task,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T> {
        let path = self.address(&task.step.name);
        let run = self.clone();
        async move {
            let task = task.checked()?;
            let print = task.step.fingerprint()?;
            let remote = Remote {
                run,
                path,
                print,
                task,
            };
            let value = remote.done().await?;
            decode(&remote.path, value, &remote.print)
        }
    }
}

impl Remote {
    /// The step's result, or its final error.
    async fn done(&self) -> Result<Value, RunError> {
        let (run, path) = (&self.run, &*self.path);
        let board = Arc::clone(&run.execution.board);
        loop {
            let record = board
                .look(|history| history.step(path).cloned())
                .unwrap_or_default();
            if let Some(outcome) = known(path, &record, &self.print, &self.task.step)? {
                return Ok(outcome?);
            }
            if let Some(due) = record.retry_at {
                let wait = waiting("retry", path, "an attempt failed", Some(due));
                run.wait_until(due, wait).await?;
            }
            if record.open && !run.execution.is_replay {
                let found = self.look().await?;
                if let Some(row) = found {
                    self.follow(row, record.failures).await?;
                    continue;
                }
            }
            run.boundary(path).await?;
            let flight = board.in_flight();
            let context = run.context(path, &record);
            if let Some(found) = run.settle_doubt(&self.task.step, &record, &context).await? {
                let actor = &run.execution.actor;
                self.complete(found, actor, None).await?;
                continue;
            }
            if matches!(
                self.task.step.class,
                EffectClass::External | EffectClass::Metered
            ) {
                run.hold().await?;
            }
            let row = self.offer(&context).await?;
            drop(flight);
            self.follow(row, record.failures).await?;
        }
    }

    /// What is offered of this step, or was reported.
    async fn look(&self) -> Result<Option<TaskRow>, StoreError> {
        let (run, path) = (self.run.id(), self.path.clone());
        let storage = &self.run.execution.journal.storage;
        storage.look(move |tx| tasks::of_step(tx, run, &path)).await
    }

    /// Journals the beginning and offers the step, as one.
    async fn offer(&self, context: &StepContext) -> Result<TaskRow, RunError> {
        let execution = &self.run.execution;
        let (journal, task) = (&execution.journal, &self.task);
        let id = TaskId::generate(&*journal.clock, &*journal.entropy);
        let millis = |time: Duration| i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        let row = TaskRow {
            task: id,
            run: context.run,
            scope: execution.started.caller.scope.clone(),
            path: self.path.clone(),
            queue: task.queue.clone(),
            name: task.name.clone(),
            class: task.step.class.as_str().into(),
            state: "offered".into(),
            offer: task.offer(context),
            lease_ms: millis(task.lease),
            timeout_ms: task.timeout.map(millis),
            cancelled: false,
            losses: 0,
            worker: None,
            token: None,
            beat: 0,
            since: journal.clock.now(),
            due_at: None,
            progress: None,
            report: None,
        };
        let payload = json!({ "class": row.class, "attempt": context.attempt, "key": context.key,
            "task": id, "queue": row.queue });
        let offered = row.clone();
        let beside: Beside = Box::new(move |tx| tasks::offer(tx, &offered));
        let draft = self.draft(EntryKind::StepBegun, payload);
        self.run.append(draft, Some(beside)).await?;
        Ok(row)
    }

    /// Waits for what becomes of an offer, and records it.
    async fn follow(&self, row: TaskRow, failures: u32) -> Result<(), RunError> {
        let run = &self.run;
        let delivery = self.delivery(&row).await?;
        // Nothing may come between a report and its entry.
        let _flight = run.execution.board.in_flight();
        let remove: Beside = {
            let task = row.task;
            Box::new(move |tx: &Tx<'_>| tasks::remove(tx, task).map(drop))
        };
        let mut fails = false;
        let recorded = match delivery.report {
            Report::Done(value) => self.complete(value, &delivery.actor, Some(remove)).await,
            Report::Failed(error) => {
                fails = true;
                let failed = run.failed(
                    (&self.path, &self.print, &self.task.step),
                    failures + 1,
                    error,
                    (&delivery.actor, Some(remove)),
                );
                failed.await
            }
            Report::Lost => {
                return self.lost(remove).await;
            }
        };
        if recorded_here(&recorded)
            && let Some(kept) = delivery.kept
        {
            // A worker that hung up reports again, and is told that it was heard.
            let _: Result<(), ()> = kept.send(());
        }
        // A run that is to end does not ask what an error means, nor try again.
        if fails && recorded_here(&recorded) && self.is_to_end() {
            return Err(run.cancellation());
        }
        recorded
    }

    /// Whether the run was cancelled, and this part of it hears of it.
    fn is_to_end(&self) -> bool {
        let board = &self.run.execution.board;
        !self.run.shielded && board.look(|history| history.cancel.is_some())
    }

    /// A worker was lost. Of what has a beginning that counts, the effect class says what follows;
    /// the others were offered again and again before.
    async fn lost(&self, remove: Beside) -> Result<(), RunError> {
        self.write(move |tx| remove(tx)).await?;
        if self.task.step.class.begins() || self.is_to_end() {
            return Ok(());
        }
        Err(RunError::needs_person(
            Stopped::at(Cause::Crashes, &self.path, LOSSES_MAX),
            format!(
                "one worker after the other was lost over step `{}`; look at what it does to \
                 them, then resume",
                self.path
            ),
        ))
    }

    /// What is reported of a task. A request to cancel is heard meanwhile: what can be taken back
    /// is, and whoever is at work on what cannot is asked to stop.
    async fn delivery(&self, row: &TaskRow) -> Result<Delivery, RunError> {
        let execution = &self.run.execution;
        let mut seat = execution.exchange.sit(row.task);
        execution.exchange.announce();
        // What was reported before this one sat down stands in the row.
        let newest = match &*row.state {
            "offered" => None,
            _ => self.look().await?,
        };
        if let Some(delivery) = newest.as_ref().map(Delivery::of).transpose()?.flatten() {
            return Ok(delivery);
        }
        let mut deaf = self.run.shielded || newest.is_some_and(|row| row.cancelled);
        loop {
            let because = format!("a worker of the queue `{}` does it", row.queue);
            let wait = waiting(TASK, &self.path, &because, None);
            let cancelled = execution.board.wait(wait, move |history| {
                history.cancel.clone().filter(|_| !deaf)
            });
            tokio::select! {
                biased;
                delivery = seat.delivery() => return Ok(delivery),
                reason = cancelled => {
                    if self.take_back(row.task).await? {
                        return Err(RunError::Cancelled(reason));
                    }
                    deaf = true;
                }
                never = self.stay() => match never {},
            }
        }
    }

    /// Keeps the run in memory for a while: most workers are quick.
    async fn stay(&self) -> Infallible {
        let execution = &self.run.execution;
        let flight = execution.board.in_flight();
        let mut draining = execution.draining.clone();
        tokio::select! {
            biased;
            _ = draining.wait_for(|draining| *draining) => {}
            () = tokio::time::sleep(IN_PLACE) => {}
        }
        drop(flight);
        std::future::pending().await
    }

    /// Takes a task of a cancelled run back; false if a worker is at work on what cannot be taken
    /// back, which is then asked to stop.
    async fn take_back(&self, task: TaskId) -> Result<bool, StoreError> {
        let repeatable = !self.task.step.class.begins();
        self.write(move |tx| {
            if !repeatable && tasks::cancel(tx, task)? {
                return Ok(false);
            }
            let reported = tasks::get(tx, task)?.is_some_and(|row| row.state == "reported");
            if reported {
                return Ok(false);
            }
            tasks::remove(tx, task)?;
            Ok(true)
        })
        .await
    }

    async fn write<T, F>(&self, work: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let storage = &self.run.execution.journal.storage;
        storage.write(Purpose::Task, work).await
    }

    fn draft(&self, kind: EntryKind, payload: Value) -> Draft {
        Draft {
            kind,
            path: self.path.clone(),
            fingerprint: self.print.clone(),
            payload,
        }
    }

    async fn complete(
        &self,
        value: Value,
        actor: &str,
        remove: Option<Beside>,
    ) -> Result<(), RunError> {
        let at = self.run.execution.journal.clock.now();
        let projection = self.task.step.projection.clone();
        let result = projection.is_some().then(|| value.clone());
        let beside: Beside = Box::new(move |tx| {
            if let (Some(project), Some(result)) = (projection, result) {
                project(tx, &result, at)?;
            }
            remove.map_or(Ok(()), |remove| remove(tx))
        });
        let draft = self.draft(EntryKind::StepCompleted, value);
        self.run.append_as(actor, draft, Some(beside)).await
    }
}

/// Whether there is an entry now: a person is asked about an error that is recorded.
fn recorded_here(outcome: &Result<(), RunError>) -> bool {
    matches!(outcome, Ok(()) | Err(RunError::NeedsPerson { .. }))
}
