//! The tasks of a run that are not done: who has them, since when, how far.

use matrix_core::{Action, Authorised, RunId, Timestamp, id::TaskId};
use matrix_store::tables::runs;
use matrix_store::tables::tasks::{self, TaskRow};
use matrix_store::{Database, StoreError};
use serde::Serialize;
use serde_json::Value;

use super::TaskError;
use crate::error::RequestError;

/// Reads the tasks of a run.
#[derive(Debug, Clone)]
pub struct TaskRead {
    /// The run.
    pub run: RunId,
}

impl Action for TaskRead {
    const NAME: &'static str = "run_read";
}

/// A task for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskView {
    /// The task.
    pub task: TaskId,
    /// The step's address.
    pub step: String,
    /// What a worker must be able to do.
    pub name: String,
    /// The queue whose workers may take it.
    pub queue: String,
    /// The step's effect class.
    pub effect: String,
    /// `offered`, `leased` or `reported`.
    pub state: String,
    /// Since when it is in its state, in microseconds since 1970.
    pub since: Timestamp,
    /// Who has it.
    pub worker: Option<String>,
    /// When that worker must be done.
    pub due_at: Option<Timestamp>,
    /// Whether it is to stop.
    pub cancelled: bool,
    /// How many workers had it before and were lost.
    pub losses: i64,
    /// How far it is, in the worker's own words.
    pub progress: Option<Value>,
}

impl From<TaskRow> for TaskView {
    fn from(row: TaskRow) -> Self {
        let progress = row.progress.as_deref();
        Self {
            progress: progress.and_then(|text| serde_json::from_str(text).ok()),
            task: row.task,
            step: row.path,
            name: row.name,
            queue: row.queue,
            effect: row.class,
            state: row.state,
            since: row.since,
            worker: row.worker,
            due_at: row.due_at,
            cancelled: row.cancelled,
            losses: row.losses,
        }
    }
}

impl TaskView {
    /// Who has it, in a line for a person.
    pub fn line(&self) -> String {
        let Self {
            step, state, since, ..
        } = self;
        let by = match &self.worker {
            Some(worker) => format!(" by {worker}"),
            None => format!(" to the queue `{}`", self.queue),
        };
        let progress = self.progress.as_ref();
        let progress = progress.map(|value| format!(", at {value}"));
        let progress = progress.unwrap_or_default();
        format!("  {step} {state}{by} since {since}{progress}")
    }
}

/// The tasks of a run that are not done, by their steps' addresses.
pub fn list(
    database: &Database,
    request: &Authorised<TaskRead>,
) -> Result<Vec<TaskView>, TaskError> {
    let (run, scope) = (request.action().run, &request.caller().scope);
    let rows = database.read_now::<_, StoreError, _>(|tx| {
        let known = runs::get(tx, run)?.is_some_and(|row| row.scope == *scope);
        known.then(|| tasks::of_run(tx, run)).transpose()
    })?;
    let rows = rows.ok_or(RequestError::NotFound(run))?;
    Ok(rows.into_iter().map(TaskView::from).collect())
}
