//! `GET /api/v1/runs/{run}/tasks`.

use axum::Json;
use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::tasks::{self, TaskRead, TaskView};
use serde::Serialize;
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// The tasks of a run that are not done.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub struct OpenTasks {
    /// By their steps' addresses: `task`, `step`, `name`, `queue`, `effect`, `state` (`offered`,
    /// `leased`, `reported`), `since`, `worker`, `due_at`, `cancelled`, `losses`, `progress`.
    #[schema(value_type = Vec<Object>)]
    pub tasks: Vec<TaskView>,
}

/// Who has which step of a run, since when, and how far they are.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/tasks", operation_id = "task_list", tag = "tasks",
    params(("run" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "The tasks that are not done.", body = OpenTasks)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
) -> Result<Json<OpenTasks>, Failure> {
    let request = server.authorise(caller, TaskRead { run })?;
    let database = server.database().clone();
    let tasks = blocking(move || tasks::list(&database, &request)).await?;
    Ok(Json(OpenTasks { tasks }))
}
