//! `POST /api/v1/runs/{run}/cancel`.

use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunCancel};

use super::authorise_steering;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::{Accepted, Reason};
use crate::server::Server;

/// Ends a run at its next step boundary.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/cancel", operation_id = "run_cancel", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    request_body(content = Reason, description = "May be empty."),
    responses((status = 202, description = "Durable; the run ends at its next step boundary.", body = Accepted)),
)]
pub(crate) async fn cancel(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Body(reason): Body<Reason>,
) -> Result<Accepted, Failure> {
    let reason = reason.checked()?;
    let action = |submitter| RunCancel {
        submitter,
        run,
        reason,
    };
    let request = authorise_steering(&server, caller, run, action).await?;
    runs::cancel(server.engine(), &request).await?;
    Ok(Accepted::by(run))
}
