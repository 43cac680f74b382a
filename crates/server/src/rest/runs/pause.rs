//! `POST /api/v1/runs/{run}/pause`.

use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunPause};

use super::authorise_steering;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::{Accepted, Reason};
use crate::server::Server;

/// Lets a run rest at its next step boundary until it is resumed.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/pause", operation_id = "run_pause", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    request_body(content = Reason, description = "May be empty."),
    responses((status = 202, description = "Durable; the run rests from its next step boundary on.", body = Accepted)),
)]
pub(crate) async fn pause(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Body(reason): Body<Reason>,
) -> Result<Accepted, Failure> {
    let reason = reason.checked()?;
    let action = |submitter| RunPause {
        submitter,
        run,
        reason,
    };
    let request = authorise_steering(&server, caller, run, action).await?;
    runs::pause(server.engine(), &request).await?;
    Ok(Accepted::by(run))
}
