//! `GET /api/v1/runs/{run}/logs`.

use axum::Json;
use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::tasks::{self, LogView, TaskRead};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::edge::guard::SignedIn;
use crate::edge::read::{Asked, Named};
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// From where on.
#[derive(Debug, Clone, Copy, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct Behind {
    /// The `seq` of the last lines that are known; 0 for none.
    #[serde(default)]
    after: i64,
}

/// What workers printed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct TaskLogs {
    /// At most 100, oldest first: `seq`, `step`, `worker`, `at`, `text`.
    #[schema(value_type = Vec<Object>)]
    pub logs: Vec<LogView>,
}

/// What workers printed about the steps of a run.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/logs", operation_id = "task_logs", tag = "tasks",
    params(("run" = String, Path, description = "The run's id."), Behind),
    responses((status = 200, description = "Lines; none when there are no more.", body = TaskLogs)),
)]
pub(crate) async fn logs(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Asked(Behind { after }): Asked<Behind>,
) -> Result<Json<TaskLogs>, Failure> {
    let request = server.authorise(caller, TaskRead { run })?;
    let database = server.database().clone();
    let logs = blocking(move || tasks::logs(&database, &request, after)).await?;
    Ok(Json(TaskLogs { logs }))
}
