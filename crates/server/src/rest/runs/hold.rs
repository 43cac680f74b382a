//! `POST` and `DELETE /api/v1/runs/{run}/hold`.

use axum::Json;
use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunHold};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::Reason;
use crate::server::{Server, acting};

/// Whether a run is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Hold {
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Why it is held; absent if nobody holds it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Holds a run, so that retention does not remove it until somebody lets go of it. A run has one
/// hold; the newest reason counts.
#[utoipa::path(
    post, path = "/api/v1/runs/{run}/hold", operation_id = "run_hold", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    request_body(content = Reason, description = "The reason may not be empty."),
    responses((status = 200, description = "The run is held.", body = Hold)),
)]
pub(crate) async fn hold(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Body(reason): Body<Reason>,
) -> Result<Json<Hold>, Failure> {
    let reason = reason.checked()?;
    let request = server.authorise(
        caller,
        RunHold {
            run,
            reason: Some(reason.clone()),
        },
    )?;
    if reason.trim().is_empty() {
        let detail = "a run is held for a reason, and `reason` is empty";
        return Err(Failure::malformed(detail));
    }
    acting(async move { runs::hold(server.engine(), &request).await }).await?;
    let reason = Some(reason);
    Ok(Json(Hold { run, reason }))
}

/// Lets go of a run that is held.
#[utoipa::path(
    delete, path = "/api/v1/runs/{run}/hold", operation_id = "run_unhold", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "Nobody holds the run.", body = Hold)),
)]
pub(crate) async fn unhold(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
) -> Result<Json<Hold>, Failure> {
    let request = server.authorise(caller, RunHold { run, reason: None })?;
    acting(async move { runs::hold(server.engine(), &request).await }).await?;
    Ok(Json(Hold { run, reason: None }))
}
