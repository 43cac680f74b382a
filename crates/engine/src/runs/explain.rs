//! What a run waits for, since when and why: the account that `why` gives at every face.

use matrix_core::{Authorised, RunId, Timestamp};
use matrix_store::tables::tasks;
use matrix_store::{Database, StoreError};
use serde::Serialize;
use serde_json::Value;

use super::show::{RunRead, row};
use super::why::{InQueue, why};
use crate::engine::Scheduling;
use crate::error::RequestError;
use crate::stopped::Stopped;
use crate::tasks::TaskView;

/// The account of one run.
#[derive(Debug, Clone, Serialize)]
pub struct Why {
    /// The run.
    pub run: RunId,
    /// Its function's kind.
    pub kind: String,
    /// Its state.
    pub state: String,
    /// Since when it is in it.
    pub since: Timestamp,
    /// What it waits for, for whom it is known.
    pub waiting: Option<Value>,
    /// Who drives it.
    pub owner: Option<String>,
    /// How it stopped by itself, if it rests because it did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stopped: Option<Stopped>,
    /// Its steps that workers outside have or may take.
    pub tasks: Vec<TaskView>,
    /// Where it stands in the queue, if it is ready.
    pub queue: Option<InQueue>,
}

/// Says what a run waits for, since when and why.
pub fn explain(
    database: &Database,
    scheduling: &Scheduling,
    request: &Authorised<RunRead>,
    now: Timestamp,
) -> Result<Why, RequestError> {
    let queue = why(database, scheduling, request, now)?;
    let row = row(database, request)?;
    let open = database.read_now::<_, StoreError, _>(|tx| tasks::of_run(tx, row.run))?;
    let waiting = row.waiting.as_deref();
    Ok(Why {
        run: row.run,
        waiting: waiting.and_then(|text| serde_json::from_str(text).ok()),
        stopped: Stopped::of(&row),
        kind: row.kind,
        state: row.state,
        since: row.updated_at,
        owner: row.owner,
        tasks: open.into_iter().map(TaskView::from).collect(),
        queue,
    })
}

impl Why {
    /// The account in lines for a person.
    pub fn lines(&self) -> Vec<String> {
        let since = self.since;
        let mut lines = match (&*self.state, &self.waiting) {
            ("waiting" | "paused", Some(waiting)) => {
                let part = |key: &str| waiting[key].as_str().unwrap_or_default();
                let (what, name, because) = (part("for"), part("name"), part("because"));
                vec![format!(
                    "waiting for {what} {name} since {since} because {because}"
                )]
            }
            ("running", _) => {
                let owner = self.owner.as_deref().unwrap_or_default();
                vec![format!("running since {since} by {owner}")]
            }
            ("ready", _) => match &self.queue {
                Some(place) => place.lines(),
                None => vec![format!("ready since {since}")],
            },
            (state, _) => vec![format!("it does not wait: {state} since {since}")],
        };
        lines.extend(self.tasks.iter().map(TaskView::line));
        if let Some(stopped) = &self.stopped {
            lines.push(format!("next: {}", stopped.cause.next(self.run)));
        }
        lines
    }
}
