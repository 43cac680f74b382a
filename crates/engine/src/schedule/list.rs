//! Schedules for people and programs.

use matrix_core::{Action, Authorised, RunId, Scope, Timestamp};
use matrix_store::tables::runs::{self, Filter, RunRow};
use matrix_store::{Blobs, Database, StoreError};
use serde::Serialize;

use super::function::State;
use super::{KIND, Schedule, ScheduleError};
use crate::lineage;

/// The most schedules that are listed.
const LIST_MAX: i64 = 500;

/// Reads schedules.
#[derive(Debug, Clone, Copy)]
pub struct ScheduleRead;

impl Action for ScheduleRead {
    const NAME: &'static str = "schedule_read";
}

/// A schedule as its journal tells it.
#[derive(Debug, Clone, Serialize)]
pub struct ScheduleView {
    /// Its name.
    pub name: String,
    /// Its run, which pauses, resumes and has its history.
    pub run: RunId,
    /// `waiting`, `paused`, or another state of a run.
    pub state: String,
    /// What it says.
    pub schedule: Schedule,
    /// When it is due next, in microseconds since 1970; nothing while it is paused.
    pub next: Option<Timestamp>,
    /// The run that it started last.
    pub last: Option<RunId>,
    /// How many runs it has started.
    pub started: u64,
    /// Why the last time started nothing, or why it rests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

/// The schedules of the caller's scope that have not ended, by name.
pub fn list(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<ScheduleRead>,
) -> Result<Vec<ScheduleView>, ScheduleError> {
    let scope = &request.caller().scope;
    let mut rows: Vec<RunRow> = Vec::new();
    for state in ["ready", "running", "waiting", "paused"] {
        let filter = Filter {
            kind: KIND.into(),
            state: state.into(),
            ..Filter::default()
        };
        let found =
            database.read_now::<_, StoreError, _>(|tx| runs::list(tx, scope, &filter, LIST_MAX))?;
        rows.extend(found);
    }
    rows.sort_by(|one, other| (&one.title, one.run).cmp(&(&other.title, other.run)));
    // A schedule that changed its state between two reads is found twice.
    rows.dedup_by_key(|row| row.run);
    rows.into_iter()
        .map(|row| Ok(view(database, blobs, row)?))
        .collect()
}

/// The schedule of a name.
pub fn show(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<ScheduleRead>,
    name: &str,
) -> Result<ScheduleView, ScheduleError> {
    let row = find(database, &request.caller().scope, name)?;
    Ok(view(database, blobs, row)?)
}

pub(super) fn find(
    database: &Database,
    scope: &Scope,
    name: &str,
) -> Result<RunRow, ScheduleError> {
    let row = database.read_now::<_, StoreError, _>(|tx| runs::schedule(tx, scope, name))?;
    row.ok_or_else(|| ScheduleError::Missing(name.to_owned()))
}

fn view(database: &Database, blobs: &Blobs, row: RunRow) -> Result<ScheduleView, StoreError> {
    let history = lineage::history(database, blobs, &row)?;
    let damaged = || StoreError::corrupt(format_args!("the schedule {}", row.run));
    let started = history.started.clone().ok_or_else(damaged)?;
    let state: State = serde_json::from_value(started.input).map_err(|_| damaged())?;
    let newest = history
        .children()
        .last()
        .map(|(_, child)| child.spawned.run);
    let failed = history.steps().into_iter().find_map(|(_, step)| {
        let outcome = step.outcome.as_ref()?;
        outcome.as_ref().err().map(|error| error.message.clone())
    });
    let rests = row.state == "paused";
    let next = state.schedule.cron().ok();
    let next = next.and_then(|cron| cron.next(state.after).ok().flatten());
    Ok(ScheduleView {
        name: row.title.clone(),
        run: row.run,
        next: next.filter(|_| !rests),
        last: newest.or(state.last),
        started: state.started + history.children().len() as u64,
        trouble: history.paused.clone().or(failed),
        schedule: state.schedule,
        state: row.state,
    })
}
