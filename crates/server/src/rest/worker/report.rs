//! `POST /api/v1/worker/report`.

use axum::extract::State;
use matrix_core::Authorised;
use matrix_core::id::TaskId;
use matrix_engine::StepError;
use matrix_engine::error::Retry;
use matrix_engine::tasks::{self, LOST, Received, Reception, Report, TaskWork};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Said, Spoken, said};
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// How tasks ended.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskReports {
    /// At most 256.
    pub reports: Vec<TaskReport>,
}

/// How a task ended: with `result`, or with `error`.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskReport {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// The worker's lease on it.
    pub lease: String,
    /// The result, at most 1 MiB of JSON; absent where there is an error.
    #[serde(default, deserialize_with = "present")]
    pub result: Option<Value>,
    /// The error.
    #[serde(default)]
    pub error: Option<TaskFailure>,
}

/// A null is a result; nothing at all is none.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// Why a task failed.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskFailure {
    /// A stable code for machines.
    #[serde(default = "failed")]
    pub code: String,
    /// What failed, for people; at most 8 KiB.
    pub message: String,
    /// Whether another attempt may help.
    #[serde(default = "yes")]
    pub retry: bool,
    /// With `retry`: not before so many milliseconds.
    #[serde(default)]
    pub after_ms: Option<u64>,
    /// Whether it is certain that nothing was done to the world. Without that, a failed external
    /// step is in doubt.
    #[serde(default)]
    pub nothing_done: bool,
}

fn failed() -> String {
    "task_failed".into()
}

fn yes() -> bool {
    true
}

/// What became of the reports, in their order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskReceptions {
    /// One for each report.
    pub reports: Vec<TaskReception>,
}

/// What became of a report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskReception {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// `accepted`: it is durable, and the run goes on with it. `already`: it was accepted before,
    /// under the same lease. `lost`: the lease does not stand any more, and it was not taken.
    #[schema(value_type = String)]
    pub state: Reception,
    /// The code of a report that was not taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<&'static str>,
}

impl TaskReport {
    fn received(self) -> Result<Received, Failure> {
        let Self {
            task,
            lease,
            result,
            error,
        } = self;
        let report = match (result, error) {
            (Some(result), None) => Report::Done(result),
            (None, Some(error)) => Report::Failed(StepError {
                code: error.code,
                message: error.message,
                retry: if error.retry {
                    Retry::Later {
                        after_ms: error.after_ms,
                    }
                } else {
                    Retry::Never
                },
                nothing_done: error.nothing_done,
                pauses: None,
            }),
            _ => {
                let detail = format!("the report of {task} has either `result` or `error`");
                return Err(Failure::malformed(detail));
            }
        };
        Ok(Received {
            task,
            lease,
            report,
        })
    }
}

/// Takes reports for a worker that may.
pub(super) async fn take(
    server: &Server,
    request: &Authorised<TaskWork>,
    reports: Vec<TaskReport>,
) -> Result<Vec<TaskReception>, Failure> {
    let received = reports.into_iter().map(TaskReport::received);
    let received = received.collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<TaskId> = received.iter().map(|received| received.task).collect();
    let receptions = tasks::report(server.engine(), request, received).await?;
    let receptions = ids.into_iter().zip(receptions);
    Ok(receptions
        .map(|(task, state)| TaskReception {
            task,
            state,
            code: (state == Reception::Lost).then_some(LOST.text),
        })
        .collect())
}

/// Says how tasks ended. Once this is answered, what was accepted is durable; the same report made
/// again changes nothing.
#[utoipa::path(
    post, path = "/api/v1/worker/report", operation_id = "worker_report", tag = "worker",
    params(("Matrix-Worker-Protocol" = u32, Header, description = "1.")),
    request_body = TaskReports,
    responses((status = 200, description = "What became of each.", body = TaskReceptions)),
)]
pub(crate) async fn report(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    _: Spoken,
    Body(TaskReports { reports }): Body<TaskReports>,
) -> Result<Said<TaskReceptions>, Failure> {
    let request = server.authorise(caller, TaskWork)?;
    let reports = take(&server, &request, reports).await?;
    Ok(said(TaskReceptions { reports }))
}
