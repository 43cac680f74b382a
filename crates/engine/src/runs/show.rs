//! One run: its row, its steps, what it waits for.

use std::collections::BTreeMap;

use matrix_core::{Action, Authorised, Digest, RunId, Timestamp};
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::tables::{step_progress, tasks};
use matrix_store::{Blobs, Database, StoreError, Tx};
use serde::Serialize;
use serde_json::Value;

use crate::entry::Entry;
use crate::error::RequestError;
use crate::history::{Ended, History};
use crate::journal;
use crate::lineage;
use crate::stopped::Stopped;

/// The most entries that [`entries`] gives at once.
pub const ENTRIES_MAX: u32 = 1_000;

/// Reads one run.
#[derive(Debug, Clone)]
pub struct RunRead {
    /// The run.
    pub run: RunId,
}

impl Action for RunRead {
    const NAME: &'static str = "run_read";
}

/// A run for people and programs.
#[derive(Debug, Clone, Serialize)]
pub struct RunView {
    /// The run.
    pub run: RunId,
    /// Its function's kind.
    pub kind: String,
    /// Its function's version.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// `ready`, `running`, `waiting`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// What it waits for.
    pub waiting: Option<Value>,
    /// How it stopped by itself, if it rests because it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// The lane it queues in.
    pub lane: String,
    /// Its priority, 0 to 9.
    pub priority: i64,
    /// Its concurrency key; empty for none.
    pub key: String,
    /// Trace id.
    pub trace: String,
    /// When it was created, in microseconds since 1970.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// Position of the newest entry.
    pub head_seq: i64,
    /// Hash of the newest entry.
    pub head_hash: Digest,
    /// The run that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent: Option<RunId>,
    /// The run whose first entries it shares.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forked_from: Option<RunId>,
    /// Why a person holds it, so that retention does not remove it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub hold: String,
    /// Its result, once it has one.
    pub result: Option<Value>,
    /// The error it ended with, or why it was cancelled.
    pub error: Option<String>,
    /// Its steps in order.
    pub steps: Vec<StepView>,
    /// The runs that it started, in order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<ChildView>,
}

/// A run that another one started, as that one knows it.
#[derive(Debug, Clone, Serialize)]
pub struct ChildView {
    /// Where it was started.
    pub path: String,
    /// The run.
    pub run: RunId,
    /// Its function's kind.
    pub kind: String,
    /// `started`, `succeeded`, `failed` or `cancelled`.
    pub state: &'static str,
}

/// A step for people and programs.
#[derive(Debug, Clone, Serialize)]
pub struct StepView {
    /// Its address.
    pub path: String,
    /// `running`, `retrying`, `done` or `failed`.
    pub state: &'static str,
    /// Failed attempts.
    pub failures: u32,
    /// The error it ended with.
    pub error: Option<String>,
    /// How far it is, in its own words, or those of the worker that does it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
}

impl RunView {
    pub(crate) fn new(row: RunRow, history: &History) -> Self {
        let waiting = row
            .waiting
            .as_deref()
            .and_then(|text| serde_json::from_str(text).ok());
        let stopped = Stopped::of(&row);
        let steps = history.steps().into_iter().map(|(path, step)| StepView {
            path: path.to_owned(),
            state: match &step.outcome {
                Some(Ok(_)) => "done",
                Some(Err(_)) => "failed",
                None if step.failures > 0 => "retrying",
                None => "running",
            },
            failures: step.failures,
            error: match &step.outcome {
                Some(Err(error)) => Some(error.message.clone()),
                _ => None,
            },
            progress: None,
        });
        let children = history
            .children()
            .into_iter()
            .map(|(path, child)| ChildView {
                path: path.to_owned(),
                run: child.spawned.run,
                kind: child.spawned.kind.clone(),
                state: child.ended.as_ref().map_or("started", Ended::state),
            });
        Self {
            run: row.run,
            kind: row.kind,
            version: row.version,
            title: row.title,
            state: row.state,
            waiting,
            stopped,
            lane: row.placement.lane,
            priority: row.placement.priority,
            key: row.placement.key,
            trace: row.trace,
            created_at: row.created_at,
            updated_at: row.updated_at,
            head_seq: row.head_seq,
            head_hash: row.head_hash,
            parent: row.lineage.parent,
            forked_from: row.lineage.forked_from,
            hold: row.hold,
            result: match &history.ended {
                Some(Ended::Completed(value)) => Some(value.clone()),
                _ => None,
            },
            error: match &history.ended {
                Some(Ended::Failed(error)) => Some(error.message.clone()),
                Some(Ended::Cancelled(reason)) => Some(reason.clone()),
                _ => None,
            },
            steps: steps.collect(),
            children: children.collect(),
        }
    }
}

/// One run with its steps.
pub fn show(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<RunRead>,
) -> Result<RunView, RequestError> {
    let row = row(database, request)?;
    let history = lineage::history(database, blobs, &row)?;
    let said = database.read_now::<_, StoreError, _>(|tx| progress(tx, &row))?;
    let mut view = RunView::new(row, &history);
    for step in &mut view.steps {
        if matches!(step.state, "running" | "retrying") {
            step.progress = said.get(&step.path).cloned();
        }
    }
    // A step that journals no beginning is seen only here.
    for (path, progress) in said {
        if !view.steps.iter().any(|step| step.path == path) {
            view.steps.push(StepView {
                path,
                state: "running",
                failures: 0,
                error: None,
                progress: Some(progress),
            });
        }
    }
    Ok(view)
}

/// How far the steps under way are, by their addresses: what its owner said of them, and what workers
/// outside did. Nobody's word is told of a run that is not driven, or of an owner that lost it.
pub fn steps_under_way(
    database: &Database,
    request: &Authorised<RunRead>,
) -> Result<BTreeMap<String, Value>, RequestError> {
    let row = row(database, request)?;
    Ok(database.read_now::<_, StoreError, _>(|tx| progress(tx, &row))?)
}

/// The most steps that are said to be under way.
const UNDER_WAY_MAX: i64 = 1_000;

fn progress(tx: &Tx<'_>, row: &RunRow) -> Result<BTreeMap<String, Value>, StoreError> {
    let parsed = |text: &str| serde_json::from_str(text).ok();
    let mut said = BTreeMap::new();
    if row.state == "running" {
        let own = step_progress::list(tx, row.run, UNDER_WAY_MAX)?;
        for one in own.into_iter().filter(|one| one.epoch == row.epoch) {
            said.extend(parsed(&one.progress).map(|value| (one.path, value)));
        }
    }
    for task in tasks::of_run(tx, row.run)? {
        let value = task.progress.as_deref().and_then(parsed);
        said.extend(value.map(|value| (task.path, value)));
    }
    Ok(said)
}

/// What a run's journal says has happened.
pub fn history(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<RunRead>,
) -> Result<History, RequestError> {
    let row = row(database, request)?;
    Ok(lineage::history(database, blobs, &row)?)
}

/// The entries of a run after a position (`-1` for the first), with their payloads, oldest first: at
/// most `limit` of them, and never more than [`ENTRIES_MAX`]. Nothing means that there are no more
/// now; the next page begins after the last one's `seq`.
pub fn entries(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<RunRead>,
    after: i64,
    limit: u32,
) -> Result<Vec<Entry>, RequestError> {
    let row = row(database, request)?;
    let limit = limit.clamp(1, ENTRIES_MAX);
    Ok(journal::page(database, blobs, row.run, after, limit)?)
}

/// A run's row, of the caller's scope: what is known of it without reading its journal. It is asked
/// for on the way to the journal, so one that retention removed says so here.
pub fn row(database: &Database, request: &Authorised<RunRead>) -> Result<RunRow, RequestError> {
    let run = request.action().run;
    let row = database
        .read_now::<_, StoreError, _>(|tx| runs::get(tx, run))?
        .filter(|row| row.scope == request.caller().scope)
        .ok_or(RequestError::NotFound(run))?;
    match row.removed_at {
        Some(at) => Err(StoreError::Removed { run, at }.into()),
        None => Ok(row),
    }
}
