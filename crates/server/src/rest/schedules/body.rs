//! A schedule as the API gives it.

use matrix_core::{RunId, Timestamp};
use matrix_engine::schedule::{Schedule as Spec, ScheduleView};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::answer::{Links, schedule_links};

/// Runs that are started at times.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Schedule {
    /// Its name.
    pub name: String,
    /// Its run, which has its history.
    #[schema(value_type = String)]
    pub run: RunId,
    /// `waiting`, `paused`, or another state of a run.
    pub state: String,
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// In which time zone they are read.
    pub timezone: String,
    /// What happens with times that passed while nobody could start anything: `skip`, `one` or `all`.
    pub catch_up: String,
    /// What happens when the run that was started last has not ended: `skip`, `wait`, `allow` or
    /// `replace`.
    pub overlap: String,
    /// Each start is put off by a random time below this, in seconds.
    pub jitter_s: u32,
    /// The kind of run that is started.
    pub kind: String,
    /// One line for people, of each run.
    pub title: String,
    /// What is asked for.
    pub request: Value,
    /// When it is due next, in microseconds since 1970; null while it is paused.
    #[schema(value_type = Option<i64>)]
    pub next: Option<Timestamp>,
    /// The run that it started last.
    #[schema(value_type = Option<String>)]
    pub last: Option<RunId>,
    /// How many runs it has started.
    pub started: u64,
    /// Why the last time started nothing, or why it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
    /// What can be done with it.
    pub links: Links,
}

impl From<ScheduleView> for Schedule {
    fn from(view: ScheduleView) -> Self {
        let word = |value: Value| value.as_str().unwrap_or_default().to_owned();
        let links = schedule_links(&view.name, view.run);
        let Spec {
            cron,
            timezone,
            catch_up,
            overlap,
            jitter_s,
            kind,
            title,
            request,
        } = view.schedule;
        Self {
            name: view.name,
            run: view.run,
            state: view.state,
            cron,
            timezone,
            catch_up: word(serde_json::to_value(catch_up).unwrap_or_default()),
            overlap: word(serde_json::to_value(overlap).unwrap_or_default()),
            jitter_s,
            kind,
            title,
            request,
            next: view.next,
            last: view.last,
            started: view.started,
            trouble: view.trouble,
            links,
        }
    }
}
