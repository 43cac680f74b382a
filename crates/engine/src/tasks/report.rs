//! A worker says how a task ended.

use futures::future::join_all;
use matrix_core::{Authorised, Caller, RunId, id::TaskId};
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, WakePaused};
use matrix_store::tables::tasks::{self, TaskRow};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::oneshot;

use super::{
    BATCH_MAX, Delivery, MESSAGE_MAX, RESULT_BYTES_MAX, TaskError, TaskWork, actor, run_of_lease,
};
use crate::engine::Engine;
use crate::entry::{Entry, EntryKind};
use crate::error::StepError;
use crate::journal;
use crate::storage::Purpose;

/// How a task ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Report {
    /// With a result.
    Done(Value),
    /// With an error.
    Failed(StepError),
    /// Nobody knows: its worker was lost.
    Lost,
}

/// A report as a worker sends it.
#[derive(Debug, Clone)]
pub struct Received {
    /// The task.
    pub task: TaskId,
    /// The worker's lease on it.
    pub lease: String,
    /// How it ended.
    pub report: Report,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reception {
    /// It is durable, and the run goes on with it.
    Accepted,
    /// It was accepted before, under the same lease; nothing more happened.
    Already,
    /// The lease does not stand any more, and the report was not taken.
    Lost,
}

fn checked(reports: &[Received]) -> Result<(), TaskError> {
    if reports.len() > BATCH_MAX {
        let text = format!("a worker reports up to {BATCH_MAX} tasks at once");
        return Err(TaskError::BadWork(text));
    }
    for Received { task, report, .. } in reports {
        match report {
            Report::Done(value) if value.to_string().len() > RESULT_BYTES_MAX => {
                let text = format!("the result of {task} has more than {RESULT_BYTES_MAX} bytes");
                return Err(TaskError::BadWork(text));
            }
            Report::Failed(error)
                if error.message.len() > MESSAGE_MAX || error.code.len() > MESSAGE_MAX =>
            {
                let text = format!("the error of {task} has more than {MESSAGE_MAX} bytes");
                return Err(TaskError::BadWork(text));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Takes reports. What is accepted is durable: either in the journal of its run, or beside it until
/// the run's next owner moves it there.
pub async fn report(
    engine: &Engine,
    authorised: &Authorised<TaskWork>,
    reports: Vec<Received>,
) -> Result<Vec<Reception>, TaskError> {
    checked(&reports)?;
    let ids: Vec<TaskId> = reports.iter().map(|received| received.task).collect();
    let rows = engine.storage().read_now::<_, StoreError, _>(|tx| {
        let rows = ids.iter().map(|task| tasks::get(tx, *task));
        rows.collect::<Result<Vec<_>, _>>()
    })?;
    let caller = authorised.caller();
    let receptions = reports.into_iter().zip(rows);
    let receptions = receptions.map(|(received, row)| receive(engine, caller, received, row));
    let receptions = join_all(receptions).await;
    Ok(receptions.into_iter().collect::<Result<_, _>>()?)
}

async fn receive(
    engine: &Engine,
    caller: &Caller,
    received: Received,
    row: Option<TaskRow>,
) -> Result<Reception, StoreError> {
    let Received {
        task,
        lease,
        report,
    } = received;
    let row = row.filter(|row| row.scope == caller.scope && row.token.as_ref() == Some(&lease));
    let Some(row) = row else {
        return past(engine, caller, task, &lease).await;
    };
    if row.state == "reported" {
        return Ok(reception_of(&row));
    }
    // An owner that waits in this process writes it down with its own next entry.
    let (kept, answer) = oneshot::channel();
    let delivery = Delivery {
        report: report.clone(),
        actor: actor(row.worker.as_deref().unwrap_or_default(), &lease),
        kept: Some(kept),
    };
    if engine.exchange().hand(task, delivery) && answer.await.is_ok() {
        return Ok(Reception::Accepted);
    }
    if keep(engine, &row, &lease, &report).await? {
        engine.wake(row.run);
        return Ok(Reception::Accepted);
    }
    let newest = engine
        .storage()
        .read_now::<_, StoreError, _>(|tx| tasks::get(tx, task))?
        .filter(|row| row.token.as_ref() == Some(&lease) && row.state == "reported");
    match newest {
        Some(row) => Ok(reception_of(&row)),
        None => past(engine, caller, task, &lease).await,
    }
}

/// A report that stands beside the journal may be the worker's, or in place of one that was lost.
fn reception_of(row: &TaskRow) -> Reception {
    let kept = row.report.as_deref().map(serde_json::from_slice::<Report>);
    match kept {
        Some(Ok(Report::Done(_))) => Reception::Already,
        Some(Ok(Report::Failed(error))) if error.code != super::watch::TIMED_OUT => {
            Reception::Already
        }
        _ => Reception::Lost,
    }
}

/// Keeps a report beside the journal and makes its run ready; false if the lease stands no more.
async fn keep(
    engine: &Engine,
    row: &TaskRow,
    lease: &str,
    report: &Report,
) -> Result<bool, StoreError> {
    let bytes = serde_json::to_vec(report).map_err(StoreError::corrupt)?;
    let (scope, task, run) = (row.scope.clone(), row.task, row.run);
    let (lease, at) = (lease.to_owned(), engine.clock().now());
    engine
        .storage()
        .write::<_, StoreError, _>(Purpose::Task, move |tx| {
            let kept = tasks::report(tx, &scope, task, &lease, &bytes, at)?;
            if kept {
                runs::wake(tx, run, WakePaused::No, at)?;
            }
            Ok(kept)
        })
        .await
}

/// What became of a task that is not there any more, from the journal of its run.
async fn past(
    engine: &Engine,
    caller: &Caller,
    task: TaskId,
    lease: &str,
) -> Result<Reception, StoreError> {
    let Some(run) = run_of_lease(lease) else {
        return Ok(Reception::Lost);
    };
    let row = engine
        .storage()
        .read_now::<_, StoreError, _>(|tx| runs::get(tx, run))?;
    if row.is_none_or(|row| row.scope != caller.scope) {
        return Ok(Reception::Lost);
    }
    let entries = entries(engine, run).await?;
    Ok(told_by(&entries, task, lease))
}

async fn entries(engine: &Engine, run: RunId) -> Result<Vec<Entry>, StoreError> {
    let (database, blobs) = (engine.database().clone(), engine.blobs().clone());
    let read = move || journal::read(&database, &blobs, run, -1);
    engine.storage().read::<_, StoreError, _>(read).await
}

/// Whether the first result or error behind a task's beginning came under this lease.
fn told_by(entries: &[Entry], task: TaskId, lease: &str) -> Reception {
    let id = task.to_string();
    let begun = |entry: &&Entry| {
        let payload = entry.payload.as_ref();
        entry.kind == EntryKind::StepBegun
            && payload.and_then(|payload| payload.get("task")?.as_str()) == Some(&id)
    };
    let Some(begun) = entries.iter().find(begun) else {
        return Reception::Lost;
    };
    let mark = actor("", lease);
    let settled = entries.iter().find(|entry| {
        let settles = matches!(entry.kind, EntryKind::StepCompleted | EntryKind::StepFailed);
        settles && entry.seq > begun.seq && entry.path == begun.path
    });
    match settled {
        Some(entry) if entry.actor.ends_with(&mark) => Reception::Already,
        _ => Reception::Lost,
    }
}
