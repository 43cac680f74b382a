//! What a worker prints while it does a step.

use matrix_core::{Authorised, Timestamp, id::TaskId};
use matrix_store::tables::task_logs::{self, LogRow};
use matrix_store::tables::{runs, tasks};
use matrix_store::{Database, StoreError};
use serde::Serialize;

use super::{TaskError, TaskRead, TaskWork};
use crate::engine::Engine;
use crate::error::RequestError;
use crate::storage::Purpose;

/// The most bytes of one request's lines.
pub const LOG_BYTES_MAX: usize = 16 * 1024;
/// The most requests whose lines are kept of a run; those after them are not.
const KEPT_MAX: i64 = 1_000;
/// The most of them that are read at once.
const PAGE: i64 = 100;
/// How often it is tried again when another process was faster.
const TRIES: u32 = 3;

/// What became of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Logged {
    /// They are kept.
    Kept,
    /// The run has as many as are kept of one.
    Full,
    /// The worker does not have the task any more.
    Lost,
}

/// Keeps lines that a worker prints about a task that it has. They are no sign of life.
pub async fn log(
    engine: &Engine,
    authorised: &Authorised<TaskWork>,
    (task, lease): (TaskId, String),
    lines: &[String],
) -> Result<Logged, TaskError> {
    let text = lines.join("\n");
    if text.len() > LOG_BYTES_MAX || text.contains('\0') {
        let text = format!("lines have at most {LOG_BYTES_MAX} bytes, none of them zero");
        return Err(TaskError::BadWork(text));
    }
    let (scope, at) = (authorised.caller().scope.clone(), engine.clock().now());
    let logged = engine
        .storage()
        .write::<_, StoreError, _>(Purpose::Task, move |tx| {
            let held = tasks::get(tx, task)?.filter(|row| {
                row.scope == scope && row.token.as_ref() == Some(&lease) && row.state == "leased"
            });
            let Some(held) = held else {
                return Ok(Logged::Lost);
            };
            let row = LogRow {
                run: held.run,
                seq: 0,
                path: held.path,
                worker: held.worker.unwrap_or_default(),
                at,
                text,
            };
            for _ in 0..TRIES {
                if task_logs::add(tx, &row, KEPT_MAX)? {
                    return Ok(Logged::Kept);
                }
            }
            Ok(Logged::Full)
        })
        .await?;
    Ok(logged)
}

/// Lines of a worker, for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogView {
    /// Their place among those of the run.
    pub seq: i64,
    /// The step's address.
    pub step: String,
    /// Who printed them.
    pub worker: String,
    /// When they arrived, in microseconds since 1970.
    pub at: Timestamp,
    /// The lines.
    pub text: String,
}

/// What workers printed about a run, behind a place (zero for all), a hundred at most. Nothing
/// means that there is no more now.
pub fn logs(
    database: &Database,
    request: &Authorised<TaskRead>,
    after: i64,
) -> Result<Vec<LogView>, TaskError> {
    let (run, scope) = (request.action().run, &request.caller().scope);
    let rows = database.read_now::<_, StoreError, _>(|tx| {
        let known = runs::get(tx, run)?.is_some_and(|row| row.scope == *scope);
        known
            .then(|| task_logs::list(tx, run, after, PAGE))
            .transpose()
    })?;
    let rows = rows.ok_or(RequestError::NotFound(run))?;
    let views = rows.into_iter().map(|row| LogView {
        seq: row.seq,
        step: row.path,
        worker: row.worker,
        at: row.at,
        text: row.text,
    });
    Ok(views.collect())
}
