//! The model gateway of this process, and who keeps its books while it lives.

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Authorizer, Problem};
use matrix_engine::Engine;
use matrix_models::error::{BAD_SPEC, NO_KEY};
use matrix_models::price::Catalogue;
use matrix_models::provider::{Http, HttpOptions, Providers};
use matrix_models::secret::Secrets;
use matrix_models::{Gateway, GatewayParts, Registry};
use tokio::task::JoinHandle;

use crate::config::Config;
use crate::environment::Environment;

/// How often what was used and spent is written.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prices that go before the bundled ones, if the operator has a file of them.
pub(crate) fn catalogue(config: &Config) -> Result<Option<Catalogue>, Problem> {
    let Some(path) = &config.model_prices.value else {
        return Ok(None);
    };
    let wrong = |why: String| {
        Problem::new(BAD_SPEC, format!("{}: {why}", path.display()))
            .help("docs/reference/models.md says what a table of prices looks like")
    };
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    Catalogue::parse(&text)
        .map(Some)
        .map_err(|error| wrong(error.to_string()))
}

/// The gateway, which this process closes when it ends.
pub(crate) fn gateway(
    config: &Config,
    environment: &Environment,
    (engine, authorizer): (&Engine, &Arc<dyn Authorizer>),
    holder: &str,
) -> Result<Gateway, Problem> {
    let (database, clock) = (engine.database(), engine.clock());
    let options = HttpOptions {
        secrets: Secrets::new(environment.all().clone()),
        roots: Vec::new(),
        clock: Arc::clone(clock),
    };
    let http = Http::new(options).map_err(|error| Problem::new(NO_KEY, error.to_string()))?;
    let registry = Registry::new(database.clone(), Arc::clone(clock), catalogue(config)?);
    Ok(Gateway::new(GatewayParts {
        database: database.clone(),
        registry,
        providers: Providers::new(http),
        authorizer: Arc::clone(authorizer),
        holder: holder.to_owned(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(engine.entropy()),
    }))
}

/// The gateway and its bookkeeper, of a process that lives for a while.
pub(crate) struct Books {
    gateway: Gateway,
    keeping: JoinHandle<()>,
}

impl Books {
    /// Begins to keep them.
    pub(crate) fn open(gateway: Gateway) -> Self {
        Self {
            keeping: tokio::spawn(keep(gateway.clone())),
            gateway,
        }
    }

    /// Writes what was used of late, and gives back what budgets had lent.
    pub(crate) async fn close(self) {
        self.keeping.abort();
        if let Err(error) = self.gateway.close().await {
            tracing::error!(%error, "what models used of late is not written");
        }
    }

    /// Leaves them as they are.
    pub(crate) fn abandon(self) {
        self.keeping.abort();
    }
}

/// Writes what is used and spent about once a second.
async fn keep(gateway: Gateway) {
    let mut failing = false;
    loop {
        tokio::time::sleep(INTERVAL).await;
        let written = gateway.flush().await;
        match (&written, failing) {
            (Err(error), false) => tracing::warn!(%error, "what models used is not written yet"),
            (Ok(()), true) => tracing::info!("what models used is written again"),
            _ => {}
        }
        failing = written.is_err();
    }
}
