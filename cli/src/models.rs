//! The model gateway of this process, and who keeps its books while it lives.

mod settings;

use std::sync::Arc;
use std::time::Duration;

use matrix_core::{Authorizer, Caller, Clock, Entropy, Problem};
use matrix_engine::Engine;
use matrix_engine::spans::SpanSink;
use matrix_models::error::{BAD_SPEC, NO_KEY};
use matrix_models::inference::CallLog;
use matrix_models::price::Catalogue;
use matrix_models::provider::{Http, HttpOptions, Providers};
use matrix_models::secret::Secrets;
use matrix_models::{Gateway, GatewayParts, Registry};
use matrix_store::Database;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) use self::settings::ModelsFile;
use crate::config::Config;
use crate::environment::Environment;

/// How often what was used and spent is written.
const INTERVAL: Duration = Duration::from_secs(1);

/// Prices that go before the bundled ones, if the operator has a file of them.
pub(crate) fn catalogue(config: &Config) -> Result<Option<Catalogue>, Problem> {
    let Some(path) = &config.model_limits.prices.value else {
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
    (database, clock, entropy): (&Database, &Arc<dyn Clock>, &Arc<dyn Entropy>),
    (authorizer, spans): (&Arc<dyn Authorizer>, Option<Arc<dyn SpanSink>>),
    holder: &str,
) -> Result<Gateway, Problem> {
    let options = HttpOptions {
        secrets: Secrets::new(environment.all().clone(), config.models.value.keys()),
        roots: config.models.value.roots()?,
        pictures: config.models.value.pictures(),
        clock: Arc::clone(clock),
    };
    let http = Http::new(options).map_err(|error| Problem::new(NO_KEY, error.to_string()))?;
    let registry = Registry::new(
        database.clone(),
        Arc::clone(clock),
        catalogue(config)?,
        config.models.value.keys(),
    );
    Ok(Gateway::new(GatewayParts {
        database: database.clone(),
        registry,
        providers: Providers::new(http),
        guards: config.models.value.guards(),
        authorizer: Arc::clone(authorizer),
        holder: holder.to_owned(),
        clock: Arc::clone(clock),
        entropy: Arc::clone(entropy),
        spans,
        log: Some(CallLog::default()),
    }))
}

/// The gateway and its bookkeeper, of a process that lives for a while.
pub(crate) struct Books {
    keeper: Keeper,
    keeping: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

/// Who writes what was used, and hands over what was noted of calls.
#[derive(Clone)]
struct Keeper {
    gateway: Gateway,
    engine: Engine,
    owner: Caller,
}

impl Books {
    /// Begins to keep them.
    pub(crate) fn open(gateway: Gateway, engine: Engine, owner: Caller) -> Self {
        let keeper = Keeper {
            gateway,
            engine,
            owner,
        };
        let (closing, closes) = watch::channel(false);
        Self {
            keeping: tokio::spawn(keeper.clone().keep(closes)),
            keeper,
            closing,
        }
    }

    /// Writes what was used of late, and gives back what budgets had lent.
    pub(crate) async fn close(self) {
        // In the middle of its work it has what nobody else has.
        self.closing.send_replace(true);
        drop(self.keeping.await);
        self.keeper.tell_calls().await;
        if let Err(error) = self.keeper.gateway.close().await {
            tracing::error!(%error, "what models used of late is not written");
        }
    }

    /// Leaves them as they are.
    pub(crate) fn abandon(self) {
        self.keeping.abort();
    }
}

impl Keeper {
    /// Writes what is used and spent about once a second.
    async fn keep(self, mut closes: watch::Receiver<bool>) {
        let mut failing = false;
        loop {
            let closed = closes.wait_for(|closed| *closed);
            if tokio::time::timeout(INTERVAL, closed).await.is_ok() {
                return;
            }
            let written = self.gateway.flush().await;
            match (&written, failing) {
                (Err(error), false) => {
                    tracing::warn!(%error, "what models used is not written yet");
                }
                (Ok(()), true) => tracing::info!("what models used is written again"),
                _ => {}
            }
            failing = written.is_err();
            self.tell_calls().await;
        }
    }

    /// Hands over what was noted of calls; what cannot be is kept for the next time.
    async fn tell_calls(&self) {
        let Some(log) = self.gateway.log() else {
            return;
        };
        if let Err(error) = log.flush(&self.engine, &self.owner).await {
            tracing::warn!(%error, "calls of models are not in a journal yet");
        }
    }
}
