//! `GET` and `POST /api/v1/runs/prune`.

use axum::Json;
use axum::extract::State;
use matrix_engine::retention::{self, RunPrune};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::server::{Server, acting, blocking};

/// What would be removed now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PrunePreview {
    /// Runs whose journal would go.
    pub runs: u64,
    /// The entries of these.
    pub entries: u64,
    /// Runs that ended long enough ago and stay, by why.
    pub kept: Vec<KeptRuns>,
}

/// Runs that stay for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeptRuns {
    /// `record`, `held`, `forked`, `parent`, `deployed`, `released` or `unsealed`.
    pub because: String,
    /// How many.
    pub runs: u64,
}

/// Tells what a removal would remove now by `keep_runs`; nothing is changed.
#[utoipa::path(
    get, path = "/api/v1/runs/prune", operation_id = "run_prune_preview", tag = "runs",
    responses((status = 200, description = "What would go, and what stays.", body = PrunePreview)),
)]
pub(crate) async fn preview(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<PrunePreview>, Failure> {
    let request = server.authorise(caller, RunPrune)?;
    let keeping = server.workshop().retention().keeping();
    let look = move || {
        let now = server.engine().clock().now();
        retention::rehearse(server.database(), now, &request, keeping)
    };
    let (going, kept) = blocking(look).await?;
    let kept = kept.into_iter().map(|(reason, runs)| KeptRuns {
        because: reason.as_str().into(),
        runs,
    });
    Ok(Json(PrunePreview {
        runs: going.runs,
        entries: going.entries,
        kept: kept.collect(),
    }))
}

/// Begins a run that removes the journals of runs which ended longer ago than `keep_runs` and which
/// nothing needs; while one is under way it is that one. Its steps say what went.
#[utoipa::path(
    post, path = "/api/v1/runs/prune", operation_id = "run_prune", tag = "runs",
    responses((status = 202, description = "The removal is durable.", body = Accepted,
               headers(("Location" = String, description = "The run's address.")))),
)]
pub(crate) async fn prune(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Accepted, Failure> {
    let request = server.authorise(caller, RunPrune)?;
    let keeping = server.workshop().retention().keeping();
    let work = async move { retention::begin(server.engine(), request, keeping).await };
    Ok(Accepted::by(acting(work).await?))
}
