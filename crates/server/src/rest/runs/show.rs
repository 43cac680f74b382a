//! `GET /api/v1/runs/{run}`.

use std::time::Duration;

use axum::extract::State;
use axum::{Extension, Json};
use matrix_core::RunId;
use matrix_engine::runs::{self, RunRead};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::Run;
use crate::edge::guard::SignedIn;
use crate::edge::listen::Closing;
use crate::edge::read::{Asked, Named};
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// The longest wait, in milliseconds.
const WAIT_MAX_MS: u64 = 30_000;

/// Whether to wait.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ShowQuery {
    /// Answers when the run has ended, or after so many milliseconds as it is then; at most 30000
    /// count. Absent, it answers at once.
    #[serde(default)]
    #[param(maximum = 30_000)]
    wait_ms: u64,
}

/// One run with its steps and what it waits for, now or once it has ended.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}", operation_id = "run_show", tag = "runs",
    params(("run" = String, Path, description = "The run's id."), ShowQuery),
    responses((status = 200, description = "The run.", body = Run)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Asked(query): Asked<ShowQuery>,
    Extension(Closing(mut closing)): Extension<Closing>,
) -> Result<Json<Run>, Failure> {
    let request = server.authorise(caller, RunRead { run })?;
    let patience = Duration::from_millis(query.wait_ms.min(WAIT_MAX_MS));
    if !patience.is_zero() {
        tokio::select! {
            biased;
            waited = server.engine().ended(&request, patience) => waited?,
            _ = closing.wait_for(|closing| *closing) => {}
        }
    }
    let found = blocking(move || runs::show(server.database(), server.blobs(), &request)).await?;
    Ok(Json(found.into()))
}
