//! Schedules: runs that start other runs at times.
//!
//! A schedule is a run of the kind `schedule`. Its timer, its history, its pause, its end and its
//! recovery after a crash are those of every run; what it starts are runs of its own, detached. This
//! module has what a schedule says ([`Schedule`]), when it is due ([`cron`]), what happens then
//! ([`function`]) and what callers may do ([`add`], [`list`], [`remove`], [`fire`]).

mod add;
pub mod cron;
mod function;
mod list;
mod steer;

use std::time::Duration;

use async_trait::async_trait;
use matrix_core::{Caller, Code, Problem, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::add::{ScheduleAdd, add};
pub use self::cron::{Cron, CronError};
pub use self::function::ScheduleFunction;
pub use self::list::{ScheduleRead, ScheduleView, list, show};
pub use self::steer::{ScheduleFire, ScheduleRemove, fire, remove};
use crate::error::{RequestError, StepError};

/// The kind of runs that are schedules.
pub const KIND: &str = "schedule";

/// A schedule cannot be as it was asked for.
pub const BAD_SCHEDULE: Code = Code::new("SCHEDULE-0001", 422, 2, "not a schedule");
/// There is one of this name.
pub const TAKEN: Code = Code::new("SCHEDULE-0002", 409, 1, "there is such a schedule");
/// There is none of this name.
pub const MISSING: Code = Code::new("SCHEDULE-0003", 404, 6, "no such schedule");

/// The longest jitter.
const JITTER_MAX: Duration = Duration::from_hours(24);

/// The most missed times that are made up for one by one.
const CATCH_UP_MAX: u32 = 100;

/// The most bytes of a request that a schedule keeps.
const REQUEST_MAX: usize = 1024 * 1024;

/// What happens with times that passed while nobody could start anything.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CatchUp {
    /// Nothing.
    Skip,
    /// One run for all of them.
    #[default]
    One,
    /// A run for each, the oldest first, of at most the newest hundred.
    All,
}

/// What happens when the run that was started last has not ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// Nothing is started.
    #[default]
    Skip,
    /// The next is started when it has ended.
    Wait,
    /// Both go on.
    Allow,
    /// It is cancelled.
    Replace,
}

/// What a schedule says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Schedule {
    /// Five fields: minute, hour, day of month, month, day of week.
    pub cron: String,
    /// In which time zone they are read, by its name in the IANA database.
    pub timezone: String,
    /// Times that passed.
    #[serde(default)]
    pub catch_up: CatchUp,
    /// A run that has not ended.
    #[serde(default)]
    pub overlap: Overlap,
    /// Each start is put off by a random time below this, in seconds.
    #[serde(default)]
    pub jitter_s: u32,
    /// The kind of run that is started.
    pub kind: String,
    /// One line for people, of each run.
    pub title: String,
    /// What is asked for: for a change its repository, plan and target.
    pub request: Value,
}

impl Schedule {
    /// Its times.
    pub fn cron(&self) -> Result<Cron, CronError> {
        Cron::parse(&self.cron, &self.timezone)
    }

    /// Refuses what can never be.
    fn check(&self, now: Timestamp) -> Result<(), ScheduleError> {
        let bad = |what: String| Err(ScheduleError::Bad(what));
        if Duration::from_secs(self.jitter_s.into()) > JITTER_MAX {
            return bad("a jitter is at most a day".into());
        }
        if self.title.is_empty() || self.title.chars().count() > 200 {
            return bad("a title has between one and 200 characters".into());
        }
        if self.request.to_string().len() > REQUEST_MAX {
            return bad("what is asked for has at most a million bytes".into());
        }
        let cron = self.cron()?;
        if cron.next(now)?.is_none() {
            return bad(format!("`{}` is never due", self.cron));
        }
        Ok(())
    }
}

/// A run that a schedule is about to start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prepared {
    /// What its function is given.
    pub input: Value,
}

/// Makes the input of runs of a kind out of what was asked for, when a schedule is due: what a request
/// means (a branch's newest commit, somebody's rights) may have changed since it was made.
#[async_trait]
pub trait Starter: Send + Sync {
    /// The kind of runs.
    fn kind(&self) -> &'static str;

    /// Whether this caller may ask for that and it can work as things are, and its input then.
    async fn prepare(&self, caller: &Caller, request: &Value) -> Result<Prepared, StepError>;
}

/// Why a schedule cannot be made or found.
#[derive(Debug, thiserror::Error)]
pub enum ScheduleError {
    /// It cannot be as it was asked for.
    #[error("{0}")]
    Bad(String),
    /// It is never due.
    #[error(transparent)]
    Cron(#[from] CronError),
    /// What it is to start cannot be started.
    #[error("what it is to start cannot be started: {0}")]
    Unstartable(StepError),
    /// There is one of this name.
    #[error("there is a schedule `{name}`, run {run}")]
    Taken {
        /// Its name.
        name: String,
        /// Its run.
        run: RunId,
    },
    /// There is none of this name.
    #[error("there is no schedule `{0}`")]
    Missing(String),
    /// Its run cannot be created, read or asked.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl From<matrix_store::StoreError> for ScheduleError {
    fn from(error: matrix_store::StoreError) -> Self {
        Self::Request(error.into())
    }
}

impl From<ScheduleError> for Problem {
    fn from(error: ScheduleError) -> Self {
        let text = error.to_string();
        match error {
            ScheduleError::Bad(_) => {
                Self::new(BAD_SCHEDULE, text).help("see docs/how-to/run-on-a-schedule.md")
            }
            ScheduleError::Cron(_) => Self::new(BAD_SCHEDULE, text).help(
                "`matrix schedule preview --cron '0 3 * * *' --timezone Europe/Berlin` shows times",
            ),
            ScheduleError::Unstartable(error) => {
                Self::new(BAD_SCHEDULE, text).with("cause", error.code)
            }
            ScheduleError::Taken { .. } => {
                Self::new(TAKEN, text).help("remove it first, or choose another name")
            }
            ScheduleError::Missing(_) => {
                Self::new(MISSING, text).help("see `matrix schedule list`")
            }
            ScheduleError::Request(error) => error.into(),
        }
    }
}
