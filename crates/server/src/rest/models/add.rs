//! `POST /api/v1/models`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use matrix_core::Problem;
use matrix_models::error::BAD_SPEC;
use matrix_models::registry::{self, ModelAdd, Named};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// A model or a route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ModelOrder {
    /// The name by which it is asked for: 1 to 128 letters, digits, `.`, `_`, `-`, `/` or `:`.
    pub name: String,
    /// Its version; `1` when absent. Routes have one alone.
    #[serde(default)]
    pub version: Option<String>,
    /// What the model is; see the reference of models.
    #[serde(default)]
    pub model: Option<Value>,
    /// What the route chooses among; see the reference of models.
    #[serde(default)]
    pub route: Option<Value>,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelAdded {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Adds a model or a route, or replaces the one of its name and version.
#[utoipa::path(
    post, path = "/api/v1/models", operation_id = "model_add", tag = "models",
    request_body = ModelOrder,
    responses((status = 201, description = "It can be asked for.", body = ModelAdded)),
)]
pub(crate) async fn add(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(order): Body<ModelOrder>,
) -> Result<(StatusCode, Json<ModelAdded>), Failure> {
    let ModelOrder {
        name,
        version,
        model,
        route,
    } = order;
    let version = version.unwrap_or_else(|| "1".into());
    let request = server.authorise(caller, ModelAdd { name, version })?;
    let wrong = |error: serde_json::Error| Failure::from(Problem::new(BAD_SPEC, error.to_string()));
    let registry = server.models().registry();
    let Named { name, version } = match (model, route) {
        (Some(model), None) => {
            let spec = serde_json::from_value(model).map_err(wrong)?;
            registry::add_model(registry, &request, &spec).await?
        }
        (None, Some(route)) => {
            let spec = serde_json::from_value(route).map_err(wrong)?;
            registry::add_route(registry, &request, &spec).await?
        }
        _ => {
            let text = "exactly one of `model` and `route` must be there";
            return Err(Problem::new(BAD_SPEC, text).into());
        }
    };
    Ok((StatusCode::CREATED, Json(ModelAdded { name, version })))
}
