//! `POST /api/v1/runs/{run}/retry`.

use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunRetry};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::authorise_steering;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::server::Server;

/// From where a run is done again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// The step's address; absent means the last one that failed or was interrupted.
    #[serde(default)]
    pub step: Option<String>,
}

/// Does a step, and everything after it, again. Nothing is deleted from the journal.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/retry", operation_id = "run_retry", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    request_body(content = Retry, description = "May be empty."),
    responses((status = 202, description = "Durable; the run goes on from the step.",
               body = Accepted)),
)]
pub(crate) async fn retry(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Body(Retry { step }): Body<Retry>,
) -> Result<Accepted, Failure> {
    let action = |submitter| RunRetry {
        submitter,
        run,
        step,
    };
    let request = authorise_steering(&server, caller, run, action).await?;
    runs::retry(server.engine(), &request).await?;
    Ok(Accepted::by(run))
}
