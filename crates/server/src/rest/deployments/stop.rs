//! `POST /api/v1/deployments/{deployment}/stop`.

use axum::Json;
use axum::extract::State;
use matrix_changes::service::{self, DeploymentStop};
use matrix_core::id::DeploymentId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, acting};

/// A deployment whose process has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stopped {
    /// It.
    #[schema(value_type = String)]
    pub deployment: DeploymentId,
}

/// Ends a deployment's process, if it has one.
#[utoipa::path(
    post, path = "/api/v1/deployments/{deployment}/stop", operation_id = "deployment_stop",
    tag = "deployments",
    params(("deployment" = String, Path, description = "The deployment's id.")),
    responses((status = 200, description = "No process of it runs.", body = Stopped)),
)]
pub(crate) async fn stop(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(deployment): Named<DeploymentId>,
) -> Result<Json<Stopped>, Failure> {
    let request = server.authorise(caller, DeploymentStop { deployment })?;
    acting(async move { service::stop(server.workshop(), &request).await }).await?;
    Ok(Json(Stopped { deployment }))
}
