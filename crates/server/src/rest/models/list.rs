//! `GET /api/v1/models`.

use axum::Json;
use axum::extract::State;
use matrix_core::Scope;
use matrix_models::registry::{self, Entry, Model, ModelRead, Snapshot};
use matrix_models::route::State as Health;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::problem::Failure;
use crate::server::Server;

/// Every model and route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Models {
    /// Every version of every model, by name.
    pub models: Vec<ModelView>,
    /// Every route, by name.
    pub routes: Vec<RouteView>,
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// Its version; the newest is asked where none is said.
    pub version: String,
    /// What was said of it. Keys are references.
    pub spec: Value,
    /// What a token costs, in picodollars; null when nobody said, and then it is not asked.
    pub price: Option<Value>,
    /// The most tokens it reads, if that is known.
    pub context: Option<u64>,
    /// The most it writes, if that is known.
    pub max_output: Option<u64>,
    /// What it is known to do.
    pub capabilities: Vec<String>,
    /// `ok`, `failing`, `left_alone` because it failed again and again, or `key_refused` by its provider,
    /// as the process saw it that answers; absent where none was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<String>,
}

impl From<&Model> for ModelView {
    fn from(model: &Model) -> Self {
        let price = model.price.as_ref();
        Self {
            name: model.name.clone(),
            version: model.version.clone(),
            spec: serde_json::to_value(&model.spec).unwrap_or_default(),
            price: price.map(|price| serde_json::to_value(price).unwrap_or_default()),
            context: model.context,
            max_output: model.max_output,
            capabilities: model.capabilities.clone(),
            health: None,
        }
    }
}

impl From<&Snapshot> for Models {
    fn from(snapshot: &Snapshot) -> Self {
        let models = snapshot.models().iter();
        let routes = snapshot.names().filter_map(|(name, entry)| match entry {
            Entry::Model(_) => None,
            Entry::Route(route) => Some(RouteView {
                name: name.to_owned(),
                spec: serde_json::to_value(&route.spec).unwrap_or_default(),
            }),
        });
        Self {
            models: models.map(|model| ModelView::from(&**model)).collect(),
            routes: routes.collect(),
        }
    }
}

/// A route.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RouteView {
    /// Its name.
    pub name: String,
    /// What was said of it.
    pub spec: Value,
}

/// Every model and route, what they cost and how they do.
#[utoipa::path(
    get, path = "/api/v1/models", operation_id = "model_list", tag = "models",
    responses((status = 200, description = "The models and routes.", body = Models)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Models>, Failure> {
    let scope = caller.scope.clone();
    let request = server.authorise(caller, ModelRead)?;
    let snapshot = registry::list_models(server.models().registry(), &request).await?;
    let mut all = Models::from(&*snapshot);
    for (view, model) in all.models.iter_mut().zip(snapshot.models()) {
        view.health = Some(health(&server, &scope, model).into());
    }
    Ok(Json(all))
}

fn health(server: &Server, scope: &Scope, model: &Model) -> &'static str {
    match server.models().board().state(scope, model) {
        Health::Well => "ok",
        Health::Failing => "failing",
        Health::LeftAlone => "left_alone",
        Health::KeyRefused => "key_refused",
    }
}
