//! `POST /api/v1/approvals/{approval}/approve`.

use axum::extract::State;
use matrix_changes::service::{self, ChangeApprove};

use super::Decided;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::problem::Failure;
use crate::rest::answer::{Accepted, Reason};
use crate::server::Server;

/// Approves a change as it is now; the answer counts only for exactly what was asked.
#[utoipa::path(
    post, path = "/api/v1/approvals/{approval}/approve", operation_id = "change_approve",
    tag = "approvals",
    params(("approval" = String, Path,
            description = "The question's id, or the change's for its open question.")),
    request_body(content = Reason, description = "May be empty."),
    responses((status = 202, description = "Durable; the change counts the answer.", body = Accepted)),
)]
pub(crate) async fn approve(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(Decided(asked)): Named<Decided>,
    Body(reason): Body<Reason>,
) -> Result<Accepted, Failure> {
    let reason = reason.checked()?;
    let request = server.authorise(caller, ChangeApprove { asked, reason })?;
    let run = service::approve(server.engine(), server.authorizer(), &request).await?;
    Ok(Accepted::by(run))
}
