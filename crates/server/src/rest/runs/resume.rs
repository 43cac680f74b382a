//! `POST /api/v1/runs/{run}/resume`.

use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunResume};

use super::authorise_steering;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::{Accepted, Reason};
use crate::server::Server;

/// Lets a resting run go on.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/resume", operation_id = "run_resume", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    request_body(content = Reason, description = "May be empty."),
    responses((status = 202, description = "Durable; the run goes on.", body = Accepted)),
)]
pub(crate) async fn resume(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Body(reason): Body<Reason>,
) -> Result<Accepted, Failure> {
    let reason = reason.checked()?;
    let action = |submitter| RunResume {
        submitter,
        run,
        reason,
    };
    let request = authorise_steering(&server, caller, run, action).await?;
    runs::resume(server.engine(), &request).await?;
    Ok(Accepted::by(run))
}
