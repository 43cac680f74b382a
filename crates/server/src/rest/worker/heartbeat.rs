//! `POST /api/v1/worker/heartbeat`.

use axum::extract::State;
use matrix_core::id::TaskId;
use matrix_engine::tasks::{self, Beat, Standing, TaskWork};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{Said, Spoken, said};
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// Signs of life.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskBeats {
    /// The tasks that the worker is at, at most 256.
    pub tasks: Vec<TaskBeat>,
}

/// A sign of life for one task.
#[derive(Debug, Clone, PartialEq, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TaskBeat {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// The worker's lease on it.
    pub lease: String,
    /// How far it is, in the worker's own words; at most 1 KiB of JSON.
    #[serde(default)]
    pub progress: Option<Value>,
}

/// Whether to go on, in the order of the tasks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskStandings {
    /// One for each task.
    pub tasks: Vec<TaskStanding>,
}

/// Whether to go on with one task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskStanding {
    /// The task.
    #[schema(value_type = String)]
    pub task: TaskId,
    /// `held`: go on. `cancelled`: stop, and report what was done. `lost`: stop; nobody wants the
    /// report any more.
    #[schema(value_type = String)]
    pub state: Standing,
}

/// Shows that a worker lives. A lease ends when no heartbeat came for its length.
#[utoipa::path(
    post, path = "/api/v1/worker/heartbeat", operation_id = "worker_heartbeat", tag = "worker",
    params(("Matrix-Worker-Protocol" = u32, Header, description = "1.")),
    request_body = TaskBeats,
    responses((status = 200, description = "Which of them to go on with.", body = TaskStandings)),
)]
pub(crate) async fn heartbeat(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    _: Spoken,
    Body(TaskBeats { tasks }): Body<TaskBeats>,
) -> Result<Said<TaskStandings>, Failure> {
    let request = server.authorise(caller, TaskWork)?;
    let beats = tasks.into_iter().map(|beat| Beat {
        task: beat.task,
        lease: beat.lease,
        progress: beat.progress,
    });
    let standings = tasks::heartbeat(server.engine(), &request, beats.collect()).await?;
    let tasks = standings.into_iter().map(|beat| TaskStanding {
        task: beat.task,
        state: beat.state,
    });
    Ok(said(TaskStandings {
        tasks: tasks.collect(),
    }))
}
