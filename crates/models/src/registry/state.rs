//! The models of every tenant in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Scope, Timestamp};
use matrix_store::tables::models::{self, ModelRow};
use matrix_store::{Database, StoreError};

use super::kind::ProviderKind;
use super::spec::{ModelSpec, PriceRule, RouteSpec};
use crate::price::{Catalogue, Known, Price};
use crate::sources::KeySources;

/// How long it may take until another process's change is seen.
const LOOK: Duration = Duration::from_secs(1);

/// The most models of a tenant.
pub(crate) const MODELS_MAX: i64 = 10_000;

/// A model as it can be called.
#[derive(Debug, Clone, PartialEq)]
pub struct Model {
    /// Its name here.
    pub name: String,
    /// Its version.
    pub version: String,
    /// What was said of it.
    pub spec: ModelSpec,
    /// What it costs; none is known, and none was said.
    pub price: Option<Price>,
    /// The most tokens it reads.
    pub context: Option<u64>,
    /// The most it writes.
    pub max_output: Option<u64>,
    /// What it can.
    pub capabilities: Vec<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Model {
    fn new(row: &ModelRow, spec: ModelSpec, catalogues: &[&Catalogue]) -> Self {
        let known = spec.provider.kind.catalogue().and_then(|provider| {
            let names = spec.catalogue_names();
            let mut each = catalogues.iter();
            each.find_map(|catalogue| names.iter().find_map(|name| catalogue.get(provider, name)))
        });
        let price = match &spec.price {
            // Nobody sends a bill for it.
            PriceRule::Catalogue if spec.provider.kind == ProviderKind::Local => {
                Some(Price::default())
            }
            PriceRule::Catalogue => known.map(|known| known.price.clone()),
            PriceRule::Free => Some(Price::default()),
            PriceRule::Fixed(price) => Some(price.clone()),
        };
        let mut capabilities = spec.capabilities.clone();
        if capabilities.is_empty() {
            capabilities = known
                .map(|known| known.capabilities.clone())
                .unwrap_or_default();
        }
        let of = |field: fn(&Known) -> Option<u64>| known.and_then(field);
        Self {
            name: row.name.clone(),
            version: row.version.clone(),
            price,
            context: spec.context.or_else(|| of(|known| known.context)),
            max_output: spec.max_output.or_else(|| of(|known| known.max_output)),
            capabilities,
            created_at: row.created_at,
            spec,
        }
    }

    /// The name that says which version is meant, too.
    pub fn full_name(&self) -> String {
        format!("{}@{}", self.name, self.version)
    }
}

/// A route as it was added.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    /// Its name.
    pub name: String,
    /// What was said of it.
    pub spec: RouteSpec,
    /// When it was added.
    pub created_at: Timestamp,
}

/// What a name leads to.
#[derive(Debug, Clone)]
pub enum Entry {
    /// One model.
    Model(Arc<Model>),
    /// A choice among several.
    Route(Arc<Route>),
}

/// A tenant's models at one moment.
#[derive(Debug, Default)]
pub struct Snapshot {
    models: Vec<Arc<Model>>,
    names: BTreeMap<String, Entry>,
    /// Rows that are not understood, with the reason: an older program reads what a newer wrote.
    broken: Vec<(String, String)>,
}

impl Snapshot {
    fn read(rows: &[ModelRow], catalogues: &[&Catalogue]) -> Self {
        let mut snapshot = Self::default();
        for row in rows {
            let read = match row.kind.as_str() {
                "model" => serde_json::from_str(&row.spec).map(|spec| {
                    let model = Arc::new(Model::new(row, spec, catalogues));
                    snapshot.models.push(Arc::clone(&model));
                    let full = model.full_name();
                    snapshot
                        .names
                        .insert(full, Entry::Model(Arc::clone(&model)));
                    Entry::Model(model)
                }),
                _ => serde_json::from_str(&row.spec).map(|spec| {
                    Entry::Route(Arc::new(Route {
                        name: row.name.clone(),
                        spec,
                        created_at: row.created_at,
                    }))
                }),
            };
            match read {
                // The newest version comes last, and has the name alone.
                Ok(entry) => drop(snapshot.names.insert(row.name.clone(), entry)),
                Err(error) => snapshot.broken.push((row.name.clone(), error.to_string())),
            }
        }
        snapshot
    }

    /// What a name leads to.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.names.get(name)
    }

    /// Every version of every model.
    pub fn models(&self) -> &[Arc<Model>] {
        &self.models
    }

    /// Names without a version, in order.
    pub fn names(&self) -> impl Iterator<Item = (&str, &Entry)> {
        let names = self.names.iter().filter(|(name, _)| !name.contains('@'));
        names.map(|(name, entry)| (name.as_str(), entry))
    }

    /// Rows that are not understood.
    pub fn broken(&self) -> &[(String, String)] {
        &self.broken
    }
}

/// The models of every tenant. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Registry {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    database: Database,
    clock: Arc<dyn Clock>,
    overrides: Option<Catalogue>,
    keys: KeySources,
    tenants: Mutex<HashMap<Scope, Kept>>,
}

#[derive(Debug, Clone)]
struct Kept {
    revision: i64,
    looked: Duration,
    snapshot: Arc<Snapshot>,
}

impl Registry {
    /// The models of a database. Prices of `overrides` go before the bundled ones; of models that are
    /// added the keys must be among `keys`.
    pub fn new(
        database: Database,
        clock: Arc<dyn Clock>,
        overrides: Option<Catalogue>,
        keys: KeySources,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                database,
                clock,
                overrides,
                keys,
                tenants: Mutex::default(),
            }),
        }
    }

    /// A tenant's models, at most a second old.
    pub async fn snapshot(&self, scope: &Scope) -> Result<Arc<Snapshot>, StoreError> {
        let now = self.shared.clock.monotonic();
        let kept = self.kept(scope);
        if let Some(kept) = &kept
            && now.saturating_sub(kept.looked) < LOOK
        {
            return Ok(Arc::clone(&kept.snapshot));
        }
        let database = self.shared.database.within(scope);
        let (of, known) = (scope.clone(), kept.as_ref().map(|kept| kept.revision));
        let read = move |tx: &matrix_store::Tx<'_>| {
            let revision = models::revision(tx, &of)?;
            if known == Some(revision) {
                return Ok((revision, None));
            }
            Ok((revision, Some(models::list(tx, &of, MODELS_MAX)?)))
        };
        let (revision, rows) = database.read::<_, StoreError, _>(read).await?;
        let snapshot = match (rows, kept) {
            (None, Some(kept)) => kept.snapshot,
            (rows, _) => {
                let bundled = Catalogue::bundled();
                let catalogues = self.shared.overrides.iter().chain([bundled]);
                let catalogues: Vec<&Catalogue> = catalogues.collect();
                Arc::new(Snapshot::read(&rows.unwrap_or_default(), &catalogues))
            }
        };
        let kept = Kept {
            revision,
            looked: now,
            snapshot: Arc::clone(&snapshot),
        };
        self.lock().insert(scope.clone(), kept);
        Ok(snapshot)
    }

    /// Looks again with the next question, because this process changed something.
    pub(crate) fn forget(&self, scope: &Scope) {
        self.lock().remove(scope);
    }

    pub(crate) fn database(&self) -> &Database {
        &self.shared.database
    }

    /// Which secrets may be sent to providers.
    pub(crate) fn keys(&self) -> &KeySources {
        &self.shared.keys
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &*self.shared.clock
    }

    fn kept(&self, scope: &Scope) -> Option<Kept> {
        self.lock().get(scope).cloned()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Scope, Kept>> {
        let tenants = self.shared.tenants.lock();
        tenants.unwrap_or_else(PoisonError::into_inner)
    }
}
