//! `POST /api/v1/deployments/{deployment}/rollback`.

use axum::Json;
use axum::extract::State;
use matrix_changes::service::{self, DeploymentRollback};
use matrix_core::id::DeploymentId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, acting};

/// A deployment that was taken back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RolledBack {
    /// It.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
    /// What is active instead; null when there was nothing before.
    #[schema(value_type = Option<String>)]
    pub active: Option<DeploymentId>,
}

/// Goes back to what a target's current deployment replaced.
#[utoipa::path(
    post, path = "/api/v1/deployments/{deployment}/rollback", operation_id = "deployment_rollback",
    tag = "deployments",
    params(("deployment" = String, Path, description = "The deployment's id.")),
    responses((status = 200, description = "It was taken back.", body = RolledBack)),
)]
pub(crate) async fn rollback(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(deployment): Named<DeploymentId>,
) -> Result<Json<RolledBack>, Failure> {
    let request = server.authorise(caller, DeploymentRollback { deployment })?;
    let work = async move { service::rollback(server.workshop(), &request).await };
    let active = acting(work).await?;
    Ok(Json(RolledBack { deployment, active }))
}
