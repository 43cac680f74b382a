//! `POST /api/v1/models/remove`.

use axum::Json;
use axum::extract::State;
use matrix_models::registry::{self, ModelRemove};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// A model or route that nobody is to ask any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelRemoval {
    /// Its name.
    pub name: String,
    /// Which version; every one when absent.
    #[serde(default)]
    pub version: Option<String>,
}

/// How many were removed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelsRemoved {
    /// Versions.
    pub removed: u64,
}

/// Removes a model or a route; what was used of it stays known.
#[utoipa::path(
    post, path = "/api/v1/models/remove", operation_id = "model_remove", tag = "models",
    request_body = ModelRemoval,
    responses((status = 200, description = "It is gone.", body = ModelsRemoved)),
)]
pub(crate) async fn remove(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(ModelRemoval { name, version }): Body<ModelRemoval>,
) -> Result<Json<ModelsRemoved>, Failure> {
    let request = server.authorise(caller, ModelRemove { name, version })?;
    let removed = registry::remove_model(server.models().registry(), &request).await?;
    Ok(Json(ModelsRemoved { removed }))
}
