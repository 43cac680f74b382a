//! What can go wrong with a run, and how each reaches a person.

use std::time::Duration;

use matrix_core::{Code, Problem, RunId};
use matrix_store::StoreError;
use serde::{Deserialize, Serialize};

use crate::journal::AppendError;
use crate::queue::BadPlacing;
use crate::stopped::Stopped;

/// No run of this id in the caller's scope.
pub const NOT_FOUND: Code = Code::new("RUN-0001", 404, 6, "no such run");
/// The run has ended, so nothing can be asked of it.
pub const ENDED: Code = Code::new("RUN-0002", 409, 1, "the run has ended");
/// The run is not in a state in which this makes sense.
pub const WRONG_STATE: Code = Code::new("RUN-0003", 409, 1, "not possible in this state");
/// No step of this path is recorded.
pub const NO_STEP: Code = Code::new("RUN-0004", 404, 6, "no such step");
/// The journal of a run does not match its hashes.
pub const BROKEN_CHAIN: Code =
    Code::new("RUN-0005", 500, 1, "the journal does not match its hashes");
/// Replay met another step than the journal recorded.
pub const DIVERGED: Code = Code::new("RUN-0006", 409, 8, "the run differs from its journal");
/// The program does not have the function that a run needs.
pub const NO_FUNCTION: Code = Code::new("RUN-0008", 409, 1, "no such function");
/// Runs of this kind take no input but the one they were asked for with.
pub const FIXED_INPUT: Code = Code::new("RUN-0010", 409, 2, "the input cannot be changed");
/// Another run has the name, and only one may.
pub const NAME_TAKEN: Code = Code::new("QUEUE-0002", 409, 1, "the name is taken");
/// No question to a person of this id.
pub const NO_APPROVAL: Code = Code::new("RUN-0007", 404, 6, "no such approval");

/// The error of one attempt of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// A stable code for machines, such as `patch_refused`.
    pub code: String,
    /// What failed, to which thing.
    pub message: String,
    /// Whether another attempt may help.
    pub retry: Retry,
    /// Whether it is certain that the attempt changed nothing outside: the other side refused it,
    /// or it was never sent. Without that, a failed step that changes the world is in doubt.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub nothing_done: bool,
    /// The concurrency key of the run's tenant under which nobody is to begin before the time of
    /// [`Retry::Later`], because the other side said so to everybody.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pauses: Option<String>,
}

/// Whether another attempt may help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Retry {
    /// It will fail again.
    Never,
    /// It may succeed later.
    Later {
        /// At least this many milliseconds from now, when the other side said so.
        after_ms: Option<u64>,
    },
}

impl StepError {
    /// An error that another attempt will not change.
    pub fn permanent(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry: Retry::Never,
            nothing_done: false,
            pauses: None,
        }
    }

    /// An error that may go away by itself.
    pub fn transient(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
            retry: Retry::Later { after_ms: None },
            nothing_done: false,
            pauses: None,
        }
    }

    /// An error after which the other side wants to be left alone for a time, by everybody who has
    /// this concurrency key: no run of the tenant begins under it before.
    pub fn throttled(message: impl Into<String>, key: impl Into<String>, after: Duration) -> Self {
        let after_ms = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        Self {
            code: "throttled".into(),
            message: message.into(),
            retry: Retry::Later {
                after_ms: Some(after_ms),
            },
            nothing_done: false,
            pauses: Some(key.into()),
        }
    }

    /// The same error of an attempt that certainly changed nothing outside.
    #[must_use]
    pub fn nothing_done(mut self) -> Self {
        self.nothing_done = true;
        self
    }

    /// The least time until the next attempt, where the other side said so.
    pub fn retry_after(&self) -> Option<Duration> {
        match self.retry {
            Retry::Later { after_ms } => after_ms.map(Duration::from_millis),
            Retry::Never => None,
        }
    }
}

/// The code of an attempt that the store of the blobs cut short.
const BLOBS_AWAY: &str = "blobs_unreachable";

impl StepError {
    /// The storage that has to be back before another attempt makes sense, if that is why.
    pub(crate) fn outage(&self) -> Option<StoreError> {
        let away = self.code == BLOBS_AWAY;
        away.then(|| StoreError::Unreachable(self.message.clone()))
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Unreachable(why) => Self::transient(BLOBS_AWAY, why),
            error => Self::transient("storage", error.to_string()),
        }
    }
}

/// Why a durable function could not go on. A function passes these up; only [`RunError::Failed`]
/// is its own to make or to handle.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A step, or the function itself, failed for good.
    #[error("{0}")]
    Failed(Box<StepError>),
    /// The run was cancelled.
    #[error("the run was cancelled: {0}")]
    Cancelled(String),
    /// The function did something else than the journal recorded.
    #[error("step `{path}` differs from the journal: recorded {recorded}, now {now}")]
    Diverged {
        /// The step's address.
        path: String,
        /// What the journal has.
        recorded: String,
        /// What the function asked for.
        now: String,
    },
    /// A replay has reached the end of what is recorded.
    #[error("`{path}` is not recorded")]
    Unrecorded {
        /// What was asked for.
        path: String,
    },
    /// A person must decide how it goes on.
    #[error("{reason}")]
    NeedsPerson {
        /// How it came to that.
        stopped: Box<Stopped>,
        /// Why, in words.
        reason: String,
    },
    /// The function starts again with this input: see [`Run::continue_as_new`](crate::Run::continue_as_new).
    #[error("the run starts again with another input")]
    ContinueAsNew(Box<serde_json::Value>),
    /// Somebody else owns the run now.
    #[error("the run is owned by another worker")]
    Lost,
    /// Storage failed; the run goes on from its journal later.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl RunError {
    pub(crate) fn needs_person(stopped: Stopped, reason: impl Into<String>) -> Self {
        Self::NeedsPerson {
            stopped: Box::new(stopped),
            reason: reason.into(),
        }
    }
}

impl From<AppendError> for RunError {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Refused => Self::Lost,
            AppendError::Store(error) => Self::Store(error),
        }
    }
}

impl From<StepError> for RunError {
    fn from(error: StepError) -> Self {
        Self::Failed(Box::new(error))
    }
}

impl From<matrix_core::canonical::NotCanonical> for RunError {
    fn from(error: matrix_core::canonical::NotCanonical) -> Self {
        StepError::permanent("not_json", error.to_string()).into()
    }
}

/// Why a request about a run was refused.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There is no such run in the caller's scope.
    #[error("there is no run {0}")]
    NotFound(RunId),
    /// The run has ended.
    #[error("run {run} has ended ({state})")]
    Ended {
        /// The run.
        run: RunId,
        /// The state it ended in.
        state: String,
    },
    /// The run is in another state than this needs.
    #[error("run {run} is {state}, so it cannot be {verb}")]
    WrongState {
        /// The run.
        run: RunId,
        /// Its state.
        state: String,
        /// What was wanted: `resumed`.
        verb: &'static str,
    },
    /// No step of this path is recorded.
    #[error("run {run} has no recorded step `{path}`")]
    NoStep {
        /// The run.
        run: RunId,
        /// The path asked for.
        path: String,
    },
    /// This program does not have the function of a run.
    #[error("run {run} needs version {version} of `{kind}`, which this program does not have")]
    NoFunction {
        /// The run.
        run: RunId,
        /// The kind of its function.
        kind: String,
        /// The version it is pinned to.
        version: String,
    },
    /// The input of such a run is checked and completed where it is asked for.
    #[error("run {run} is of kind `{kind}`, whose input cannot be changed in a fork")]
    FixedInput {
        /// The run.
        run: RunId,
        /// The kind of its function.
        kind: String,
    },
    /// There is no such question.
    #[error("there is no approval {0}")]
    NoApproval(String),
    /// The chain is broken at this entry.
    #[error("the journal of run {run} is broken at entry {seq}: {what}")]
    Broken {
        /// The run.
        run: RunId,
        /// The first entry that does not match.
        seq: i64,
        /// What does not match.
        what: String,
    },
    /// Another run has the name, and only one may.
    #[error("run {run} has the name `{name}`, and only one may have it")]
    NameTaken {
        /// The run that has it.
        run: RunId,
        /// The name.
        name: String,
    },
    /// It cannot queue where it was to.
    #[error(transparent)]
    Placing(#[from] BadPlacing),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] matrix_core::Denied),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<RequestError> for Problem {
    fn from(error: RequestError) -> Self {
        let text = error.to_string();
        match error {
            RequestError::NotFound(_) => {
                Problem::new(NOT_FOUND, text).help("see `matrix run list`")
            }
            RequestError::Ended { .. } => {
                Problem::new(ENDED, text).help("start a new run to try again")
            }
            RequestError::WrongState { .. } => {
                Problem::new(WRONG_STATE, text).help("see `matrix run why`")
            }
            RequestError::NoStep { .. } => {
                Problem::new(NO_STEP, text).help("see the paths in `matrix run show`")
            }
            RequestError::NoFunction { .. } => Problem::new(NO_FUNCTION, text)
                .help("use the version of Matrix that started the run"),
            RequestError::FixedInput { .. } => Problem::new(FIXED_INPUT, text)
                .help("fork it with the input it has, or start a new run"),
            RequestError::NoApproval(_) => {
                Problem::new(NO_APPROVAL, text).help("see `matrix change show`")
            }
            RequestError::Broken { .. } => Problem::new(BROKEN_CHAIN, text)
                .help("restore the data directory from a copy; do not edit it by hand"),
            RequestError::NameTaken { run, .. } => Problem::new(NAME_TAKEN, text).help(format!(
                "look at it with `matrix run show {run}`, or join it"
            )),
            RequestError::Placing(bad) => bad.into(),
            RequestError::Denied(denied) => denied.into(),
            RequestError::Store(error) => error.into(),
        }
    }
}
