//! `POST /api/v1/approvals/{approval}/reject`.

use axum::extract::State;
use matrix_changes::service::{self, ChangeReject};

use super::Decided;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::{Accepted, Reason};
use crate::server::Server;

/// Rejects a change, which then ends unreleased.
#[utoipa::path(
    post, path = "/api/v1/approvals/{approval}/reject", operation_id = "change_reject",
    tag = "approvals",
    params(("approval" = String, Path,
            description = "The question's id, or the change's for its open question.")),
    request_body(content = Reason, description = "May be empty."),
    responses((status = 202, description = "Durable; the change ends unreleased.", body = Accepted)),
)]
pub(crate) async fn reject(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(Decided(asked)): Named<Decided>,
    Body(reason): Body<Reason>,
) -> Result<Accepted, Failure> {
    let reason = reason.checked()?;
    let request = server.authorise(caller, ChangeReject { asked, reason })?;
    let run = service::reject(server.engine(), server.authorizer(), &request).await?;
    Ok(Accepted::by(run))
}
