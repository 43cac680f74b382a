//! `GET /api/v1/runs/{run}`.

use axum::Json;
use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunRead};

use super::body::Run;
use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// One run with its steps and what it waits for.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}", operation_id = "run_show", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "The run.", body = Run)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
) -> Result<Json<Run>, Failure> {
    let request = server.authorise(caller, RunRead { run })?;
    let found = blocking(move || runs::show(server.database(), server.blobs(), &request)).await?;
    Ok(Json(found.into()))
}
