//! `GET /api/v1/jobs/{job}`.

use axum::Json;
use axum::extract::State;
use matrix_changes::service::{self, ChangeRead};
use matrix_core::RunId;

use super::body::Job;
use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// One change: how far it is, what was found, what was decided, what came of it.
#[utoipa::path(
    get, path = "/api/v1/jobs/{job}", operation_id = "change_show", tag = "changes",
    params(("job" = String, Path, description = "The job's id.")),
    responses((status = 200, description = "The change.", body = Job)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
) -> Result<Json<Job>, Failure> {
    let request = server.authorise(caller, ChangeRead { run })?;
    let view = blocking(move || {
        service::show(
            server.database(),
            server.blobs(),
            server.authorizer(),
            &request,
        )
    })
    .await?;
    Ok(Json(view.into()))
}
