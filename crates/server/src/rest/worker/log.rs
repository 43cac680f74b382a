//! `POST /api/v1/worker/log`.

use axum::extract::State;
use matrix_core::id::TaskId;
use matrix_engine::tasks::{self, Logged, TaskWork};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Said, Spoken, said};
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// Lines that a worker prints.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskLines {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// The worker's lease on it.
    pub lease: String,
    /// The lines, at most 16 KiB.
    pub lines: Vec<String>,
}

/// What became of lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskLogged {
    /// `kept`; `full`: the run has as many as are kept of one; `lost`: the worker does not have the
    /// task any more.
    #[schema(value_type = String)]
    pub state: Logged,
}

/// Keeps what a worker prints, beside the journal. It is no sign of life.
#[utoipa::path(
    post, path = "/api/v1/worker/log", operation_id = "worker_log", tag = "worker",
    params(("Matrix-Worker-Protocol" = u32, Header, description = "1.")),
    request_body = TaskLines,
    responses((status = 200, description = "What became of them.", body = TaskLogged)),
)]
pub(crate) async fn log(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    _: Spoken,
    Body(TaskLines { task, lease, lines }): Body<TaskLines>,
) -> Result<Said<TaskLogged>, Failure> {
    let request = server.authorise(caller, TaskWork)?;
    let state = tasks::log(server.engine(), &request, (task, lease), &lines).await?;
    Ok(said(TaskLogged { state }))
}
