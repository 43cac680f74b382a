//! Adding, removing and listing models.

use matrix_core::{Action, Authorised};
use matrix_store::StoreError;
use matrix_store::tables::audit;
use matrix_store::tables::models::{self, ModelRow};
use serde_json::{Value, json};

use super::check::check_name;
use super::spec::{InvalidSpec, ModelSpec, RouteSpec};
use super::state::{MODELS_MAX, Registry, Snapshot};
use crate::error::ModelError;
use crate::sources::NotAllowed;

/// Adds a model or a route, or replaces one.
#[derive(Debug, Clone)]
pub struct ModelAdd {
    /// Its name.
    pub name: String,
    /// Its version; routes have one alone.
    pub version: String,
}

impl Action for ModelAdd {
    const NAME: &'static str = "model_add";

    fn facts(&self) -> Value {
        json!({ "model": self.name })
    }
}

/// Removes a version of a model, or a route.
#[derive(Debug, Clone)]
pub struct ModelRemove {
    /// Its name.
    pub name: String,
    /// Which version; nothing is every one.
    pub version: Option<String>,
}

impl Action for ModelRemove {
    const NAME: &'static str = "model_remove";

    fn facts(&self) -> Value {
        json!({ "model": self.name })
    }
}

/// Sees which models there are, what they cost and what was used.
#[derive(Debug, Clone)]
pub struct ModelRead;

impl Action for ModelRead {
    const NAME: &'static str = "model_read";
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// Adds a model.
pub async fn add_model(
    registry: &Registry,
    request: &Authorised<ModelAdd>,
    spec: &ModelSpec,
) -> Result<Named, ModelError> {
    spec.check()?;
    if let Some(key) = &spec.provider.key {
        let refused = |error: NotAllowed| InvalidSpec::new("key", error.to_string());
        registry.keys().check(key).map_err(refused)?;
    }
    let text = serde_json::to_string(spec).map_err(StoreError::corrupt)?;
    add(registry, request, "model", text).await
}

/// Adds a route.
pub async fn add_route(
    registry: &Registry,
    request: &Authorised<ModelAdd>,
    spec: &RouteSpec,
) -> Result<Named, ModelError> {
    spec.check()?;
    let snapshot = registry.snapshot(&request.caller().scope).await?;
    let targets = spec
        .targets
        .iter()
        .map(|target| ("targets.model", &target.model));
    let similar = spec.cache_similar.iter();
    let similar = similar.map(|similar| ("cache_similar.model", &similar.model));
    for (field, model) in targets.chain(similar) {
        match snapshot.get(model) {
            Some(super::Entry::Model(_)) => {}
            Some(super::Entry::Route(_)) => {
                let why = format!("`{model}` is a route itself");
                return Err(InvalidSpec::new(field, why).into());
            }
            None => return Err(ModelError::NoModel(model.clone())),
        }
    }
    let text = serde_json::to_string(spec).map_err(StoreError::corrupt)?;
    add(registry, request, "route", text).await
}

async fn add(
    registry: &Registry,
    request: &Authorised<ModelAdd>,
    kind: &'static str,
    spec: String,
) -> Result<Named, ModelError> {
    let ModelAdd { name, version } = request.action().clone();
    check_name("name", &name)?;
    check_name("version", &version)?;
    let caller = request.caller().clone();
    let row = ModelRow {
        scope: caller.scope.clone(),
        name: name.clone(),
        version: version.clone(),
        kind: kind.into(),
        spec,
        created_by: caller.principal.to_string(),
        created_at: registry.clock().now(),
    };
    let database = registry.database().within(&caller.scope);
    database
        .write::<_, ModelError, _>(move |tx| {
            let there = models::list(tx, &row.scope, MODELS_MAX)?;
            let other = there.iter().find(|other| other.name == row.name);
            if let Some(other) = other.filter(|other| other.kind != row.kind) {
                let why = format!("is the name of a {} already", other.kind);
                return Err(InvalidSpec::new("name", why).into());
            }
            let full = i64::try_from(there.len()).unwrap_or(i64::MAX) >= MODELS_MAX;
            let known =
                |other: &ModelRow| (&other.name, &other.version) == (&row.name, &row.version);
            if full && !there.iter().any(known) {
                let why = format!("would be one more than {MODELS_MAX} models");
                return Err(InvalidSpec::new("name", why).into());
            }
            models::put(tx, &row)?;
            let detail = format!("{} {}", row.kind, row.version);
            audit::insert(tx, &caller, row.created_at, "model_add", &row.name, &detail)?;
            Ok(())
        })
        .await?;
    registry.forget(&request.caller().scope);
    Ok(Named { name, version })
}

/// Removes a model or a route; gives how many versions there were.
pub async fn remove_model(
    registry: &Registry,
    request: &Authorised<ModelRemove>,
) -> Result<u64, ModelError> {
    let ModelRemove { name, version } = request.action().clone();
    let (caller, at) = (request.caller().clone(), registry.clock().now());
    let database = registry.database().within(&caller.scope);
    let removed = database
        .write::<_, ModelError, _>(move |tx| {
            let rows = models::list(tx, &caller.scope, MODELS_MAX)?;
            let meant = rows.iter().filter(|row| {
                row.name == name
                    && version
                        .as_ref()
                        .is_none_or(|version| row.version == *version)
            });
            let mut removed = 0;
            for row in meant {
                models::remove(tx, &caller.scope, &row.name, &row.version)?;
                audit::insert(tx, &caller, at, "model_remove", &row.name, &row.version)?;
                removed += 1;
            }
            if removed == 0 {
                return Err(ModelError::NoModel(name.clone()));
            }
            Ok(removed)
        })
        .await?;
    registry.forget(&request.caller().scope);
    Ok(removed)
}

/// Which models there are.
pub async fn list_models(
    registry: &Registry,
    request: &Authorised<ModelRead>,
) -> Result<std::sync::Arc<Snapshot>, ModelError> {
    Ok(registry.snapshot(&request.caller().scope).await?)
}
