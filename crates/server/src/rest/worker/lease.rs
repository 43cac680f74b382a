//! `POST /api/v1/worker/lease`.

use std::time::Duration;

use axum::extract::State;
use matrix_core::id::TaskId;
use matrix_core::{RunId, Timestamp};
use matrix_engine::tasks::{self, LeaseRequest, Leased, TaskWork};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::report::{TaskReception, TaskReport, take};
use super::{Said, Spoken, said};
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// With reports in the request, a worker hears what became of them after this time at the latest.
const WITH_REPORTS: Duration = Duration::from_secs(1);

/// What a worker wants to do.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskLeasing {
    /// How the worker calls itself: 1 to 100 letters, digits, `.`, `_`, `-` or `:`.
    pub worker: String,
    /// The queues it works for, in the order in which they are served; 1 to 64.
    #[serde(default = "default_queue")]
    #[schema(default = json!(["default"]))]
    pub queues: Vec<String>,
    /// The names of the tasks that it can do; all, if it names none.
    #[serde(default)]
    pub names: Vec<String>,
    /// How many tasks it takes at once, 1 to 256.
    #[serde(default = "one")]
    #[schema(default = 1, minimum = 1, maximum = 256)]
    pub max: usize,
    /// How long it waits for the first, in milliseconds, up to 30000.
    #[serde(default)]
    #[schema(maximum = 30_000)]
    pub wait_ms: u64,
    /// How tasks ended that it had before; taken first, and answered after a second at the latest.
    #[serde(default)]
    pub reports: Vec<TaskReport>,
}

fn default_queue() -> Vec<String> {
    vec!["default".into()]
}

fn one() -> usize {
    1
}

/// What a worker has to do.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LeasedTasks {
    /// The tasks, none if there are none.
    pub tasks: Vec<LeasedTask>,
    /// What became of the reports, in their order.
    pub reports: Vec<TaskReception>,
}

/// A task that a worker has now.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct LeasedTask {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// What the worker names in heartbeats and its report.
    pub lease: String,
    /// How long the worker may show no heartbeat, in milliseconds.
    pub lease_ms: i64,
    /// When the worker must have reported, in microseconds since 1970; null for no such time.
    #[schema(value_type = Option<i64>)]
    pub due_at: Option<Timestamp>,
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// The queue it came from.
    pub queue: String,
    /// What is to be done: `name`, with `input`; `step`, the address in the run; `key`, the same
    /// for every attempt, for others that know idempotency keys; `attempt`, from one; `class`, the
    /// effect class.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    pub offer: Value,
}

impl From<Leased> for LeasedTask {
    fn from(leased: Leased) -> Self {
        let Leased {
            task,
            lease,
            lease_ms,
            due_at,
            run,
            queue,
            offer,
        } = leased;
        Self {
            task,
            lease,
            lease_ms,
            due_at,
            run,
            queue,
            offer,
        }
    }
}

/// Gives a worker tasks as soon as there are any, oldest first, and takes its reports.
#[utoipa::path(
    post, path = "/api/v1/worker/lease", operation_id = "worker_lease", tag = "worker",
    params(("Matrix-Worker-Protocol" = u32, Header, description = "1.")),
    request_body = TaskLeasing,
    responses((status = 200, description = "Tasks and what became of reports.", body = LeasedTasks)),
)]
pub(crate) async fn lease(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    _: Spoken,
    Body(asked): Body<TaskLeasing>,
) -> Result<Said<LeasedTasks>, Failure> {
    let request = server.authorise(caller, TaskWork)?;
    let mut wait = Duration::from_millis(asked.wait_ms);
    let mut reports = Vec::new();
    if !asked.reports.is_empty() {
        wait = wait.min(WITH_REPORTS);
        reports = take(&server, &request, asked.reports).await?;
    }
    let wanted = LeaseRequest {
        worker: asked.worker,
        queues: asked.queues,
        names: asked.names,
        max: asked.max,
        wait,
    };
    let leased = tasks::lease(server.engine(), &request, &wanted).await?;
    let tasks = leased.into_iter().map(LeasedTask::from).collect();
    Ok(said(LeasedTasks { tasks, reports }))
}
