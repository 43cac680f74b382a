//! `POST /api/v1/models/test`.

use axum::Json;
use axum::extract::State;
use matrix_models::ModelUse;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// A model whose provider is to be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelTest {
    /// Its name.
    pub name: String,
}

/// What its provider said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelTested {
    /// The models that the provider says it has.
    pub offered: Vec<String>,
}

/// Asks a model's provider which models it has, which tells whether it can be reached and accepts
/// the key. Nothing is paid for.
#[utoipa::path(
    post, path = "/api/v1/models/test", operation_id = "model_test", tag = "models",
    request_body = ModelTest,
    responses((status = 200, description = "The provider answered.", body = ModelTested)),
)]
pub(crate) async fn test(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(ModelTest { name }): Body<ModelTest>,
) -> Result<Json<ModelTested>, Failure> {
    let action = ModelUse {
        model: name,
        ..ModelUse::default()
    };
    let request = server.authorise(caller, action)?;
    let offered = server.models().probe(&request).await?;
    Ok(Json(ModelTested { offered }))
}
