//! A worker says that it lives, and how far it is.

use matrix_core::{Authorised, id::TaskId};
use matrix_store::StoreError;
use matrix_store::tables::tasks;
use serde::Serialize;
use serde_json::Value;

use super::{BATCH_MAX, PROGRESS_BYTES_MAX, TaskError, TaskWork};
use crate::engine::Engine;
use crate::storage::Purpose;

/// A sign of life for one task.
#[derive(Debug, Clone)]
pub struct Beat {
    /// The task.
    pub task: TaskId,
    /// The worker's lease on it.
    pub lease: String,
    /// How far it is; nothing where there is no news.
    pub progress: Option<Value>,
}

/// Whether a worker is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It has the task.
    Held,
    /// It has the task, and is to stop and report what was done.
    Cancelled,
    /// It does not have the task any more; nobody wants its report.
    Lost,
}

/// What becomes of one task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Heartbeat {
    /// The task.
    pub task: TaskId,
    /// Whether to go on with it.
    pub state: Standing,
}

/// Counts the heartbeats of a worker's tasks, and tells which of them it is to stop.
pub async fn heartbeat(
    engine: &Engine,
    authorised: &Authorised<TaskWork>,
    beats: Vec<Beat>,
) -> Result<Vec<Heartbeat>, TaskError> {
    if beats.len() > BATCH_MAX {
        let text = format!("a worker shows heartbeats of up to {BATCH_MAX} tasks at once");
        return Err(TaskError::BadWork(text));
    }
    let mut known = Vec::with_capacity(beats.len());
    for beat in beats {
        let progress = beat.progress.map(|value| value.to_string());
        if progress
            .as_ref()
            .is_some_and(|text| text.len() > PROGRESS_BYTES_MAX)
        {
            let text = format!("progress has at most {PROGRESS_BYTES_MAX} bytes");
            return Err(TaskError::BadWork(text));
        }
        known.push((beat.task, beat.lease, progress));
    }
    let scope = authorised.caller().scope.clone();
    let standings = engine
        .storage()
        .write::<_, StoreError, _>(Purpose::Task, move |tx| {
            let mut standings = Vec::with_capacity(known.len());
            for (task, lease, progress) in known {
                let held = tasks::beat(tx, &scope, task, &lease, progress.as_deref())?;
                let cancelled = held && tasks::get(tx, task)?.is_some_and(|row| row.cancelled);
                let state = match (held, cancelled) {
                    (true, true) => Standing::Cancelled,
                    (true, false) => Standing::Held,
                    (false, _) => Standing::Lost,
                };
                standings.push(Heartbeat { task, state });
            }
            Ok(standings)
        })
        .await?;
    Ok(standings)
}
