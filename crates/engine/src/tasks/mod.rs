//! Steps that are done outside: by another process, on another machine, in another language.
//!
//! A *task* is one offer of a step. Making it is journaled as the step's beginning, in the same
//! transaction as the task's row, and from then on there is exactly one of three things: the offer,
//! a worker's lease on it, or what the worker reported. The run's owner alone turns a report into
//! an entry; then the row is gone.
//!
//! * [`task`](Task) — what a durable function says of such a step; [`Run::remote`](crate::Run::remote)
//!   does it.
//! * `exchange` — where the owner of a run waits in memory, so that a report needs no second write. It
//!   is a short cut and nothing more: whoever is not at it finds the row.
//! * [`lease`], [`heartbeat`], [`report`], [`log`] — what a worker may do, for the routes.
//! * `choice`, `lounge` — which of the workers that wait for tasks gets one.
//! * `watch` — what becomes of tasks whose worker is silent or takes too long.
//! * [`submit`] and [`TaskFunction`] — runs of such steps, for whoever writes no Rust.
//!
//! A worker is heard while its lease stands, and only then: each lease has a token of its own, a
//! lease ends when its heartbeat stood still for its length on the watcher's monotonic clock, and
//! what a lost worker means is the step's effect class, as for any other step. A read or an
//! idempotent step is offered again; a metered one is sent a bounded number of times, each
//! journaled; an external one is in doubt. A crash of the host is not a loss: lease and report
//! outlive it.

mod choice;
mod exchange;
mod function;
mod heartbeat;
mod lease;
mod list;
mod log;
mod lounge;
mod order;
mod report;
mod submit;
mod task;
mod watch;

use matrix_core::{Action, Code, Problem, RunId};

pub use choice::WorkerChoice;
pub(crate) use exchange::{Delivery, Exchange};
pub use function::{KIND, Plan, PlannedStep, TaskFunction};
pub use heartbeat::{Beat, Heartbeat, Standing, heartbeat};
pub use lease::{LeaseRequest, Leased, WAIT_MAX, lease};
pub use list::{TaskRead, TaskView, list};
pub use log::{LOG_BYTES_MAX, LogView, Logged, log, logs};
pub use order::TaskOrders;
pub use report::{Received, Reception, Report, report};
pub use submit::{TaskSubmit, submit};
pub use task::Task;
pub(crate) use watch::{LOSSES_MAX, Watched};

/// A worker named a lease that does not stand.
pub const LOST: Code = Code::new("TASK-0001", 409, 1, "lease lost");
/// A worker speaks another version of the protocol.
pub const PROTOCOL: Code = Code::new("TASK-0002", 400, 2, "worker protocol not spoken");
/// Steps that cannot be carried out.
pub const BAD_STEPS: Code = Code::new("TASK-0003", 422, 2, "steps cannot be carried out");
/// A worker asked for something beyond the protocol's limits.
pub const BAD_WORK: Code = Code::new("TASK-0004", 422, 2, "beyond the worker protocol's limits");

/// The version of the worker protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// The most characters in the name of a queue, a task, a step or a worker.
pub const NAME_MAX: usize = 100;
/// The most bytes of a task's input, as JSON.
pub const INPUT_BYTES_MAX: usize = 256 * 1024;
/// The most bytes of a worker's result, as JSON.
pub const RESULT_BYTES_MAX: usize = 1024 * 1024;
/// The most characters of a worker's error message or code.
pub const MESSAGE_MAX: usize = 8 * 1024;
/// The most tasks in one request.
pub const BATCH_MAX: usize = 256;
/// The most bytes of a worker's progress, as JSON.
pub const PROGRESS_BYTES_MAX: usize = 1024;

/// Does a worker's work: leases tasks, shows heartbeats, reports. A right of its own, so that a
/// worker's token is good for nothing else.
#[derive(Debug, Clone, Default)]
pub struct TaskWork;

impl Action for TaskWork {
    const NAME: &'static str = "task_work";
}

/// Why a worker or a submitter was refused.
#[derive(Debug, thiserror::Error)]
pub enum TaskError {
    /// The steps cannot be carried out.
    #[error("{0}")]
    BadSteps(String),
    /// Something is larger, longer or more than the protocol allows.
    #[error("{0}")]
    BadWork(String),
    /// The run could not be begun or looked at.
    #[error(transparent)]
    Request(#[from] crate::error::RequestError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] matrix_store::StoreError),
}

impl From<TaskError> for Problem {
    fn from(error: TaskError) -> Self {
        let text = error.to_string();
        match error {
            TaskError::BadSteps(_) => Self::new(BAD_STEPS, text)
                .help("docs/how-to/remote-workers.md shows how steps are written"),
            TaskError::BadWork(_) => {
                Self::new(BAD_WORK, text).help("docs/reference/worker-protocol.md has the limits")
            }
            TaskError::Request(error) => error.into(),
            TaskError::Store(error) => error.into(),
        }
    }
}

/// Whether a text can name a queue, a task, a step or a worker: 1 to [`NAME_MAX`] ASCII letters,
/// digits, `.`, `_`, `-` or `:`, the first a letter or a digit. None of them divides an address.
pub fn is_name(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"._-:".contains(&byte);
    text.len() <= NAME_MAX
        && text
            .bytes()
            .next()
            .is_some_and(|first| first.is_ascii_alphanumeric())
        && text.bytes().all(inner)
}

/// A lease's token: the run it is about, so that a report is understood when the task's row is
/// gone, and 128 random bits.
pub(crate) fn lease_token(run: RunId, entropy: &dyn matrix_core::Entropy) -> String {
    let mut random = [0_u8; 16];
    entropy.fill(&mut random);
    format!("{run}.{}", hex::encode(random))
}

/// The run that a lease's token is about.
pub(crate) fn run_of_lease(token: &str) -> Option<RunId> {
    token.split_once('.')?.0.parse().ok()
}

/// How an entry names the worker and the lease that its content came from.
pub(crate) fn actor(worker: &str, token: &str) -> String {
    let secret = token.rsplit('.').next().unwrap_or_default();
    let mark: String = secret.chars().take(LEASE_MARK).collect();
    format!("{worker} lease {mark}")
}

/// As much of a lease's secret as an entry keeps: enough to tell leases apart, far too little to
/// guess one.
const LEASE_MARK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_divide_no_address_and_no_list() {
        for good in ["a", "resize", "img.resize-2", "a:b", "0_x"] {
            assert!(is_name(good), "{good}");
        }
        let long = "x".repeat(NAME_MAX + 1);
        for bad in [
            "",
            "-a",
            ".a",
            "a/b",
            "a,b",
            "a#1",
            "a b",
            "ä",
            long.as_str(),
        ] {
            assert!(!is_name(bad), "{bad}");
        }
    }
}
