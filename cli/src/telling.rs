//! What a host tells those outside: events to brokers, spans to a collector.

use std::sync::Arc;

use matrix_changes::Layout;
use matrix_core::{Authorizer, Problem};
use matrix_engine::spans::SpanSink;
use matrix_engine::{Engine, Events, Forwarder};
use matrix_server::otlp::{Endpoint, Exporter};
use matrix_store::bus::Brokers;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::Config;

/// Sends spans, if a collector is configured.
pub(crate) fn exporter(config: &Config) -> Result<Option<Exporter>, Problem> {
    let Some(address) = &config.traces.value else {
        return Ok(None);
    };
    let endpoint = Endpoint::parse(address)?;
    let instance = std::process::id().to_string();
    let (exporter, sending) = Exporter::new(endpoint, env!("CARGO_PKG_VERSION"), &instance);
    tokio::spawn(sending);
    Ok(Some(exporter))
}

/// An exporter as the journal takes it.
pub(crate) fn sink(exporter: Exporter) -> Arc<dyn SpanSink> {
    Arc::new(exporter)
}

/// What tells, until the host ends.
pub(crate) struct Telling {
    exporter: Option<Exporter>,
    forwarding: JoinHandle<()>,
    closing: watch::Sender<bool>,
}

impl Telling {
    /// Begins to send what subscriptions ask for.
    pub(crate) fn start(
        engine: &Engine,
        events: &Events,
        (layout, authorizer): (&Layout, &Arc<dyn Authorizer>),
        exporter: Option<Exporter>,
    ) -> Self {
        let brokers = Arc::new(Brokers::new(layout.root().join("credentials")));
        let authorizer = Arc::clone(authorizer);
        let forwarder = Forwarder::new(engine.clone(), events.clone(), brokers, authorizer);
        let (closing, closes) = watch::channel(false);
        Self {
            exporter,
            forwarding: tokio::spawn(forwarder.keep_up(closes)),
            closing,
        }
    }

    /// Sends the spans that wait, and gives its subscriptions up.
    pub(crate) async fn end(self) {
        if let Some(exporter) = &self.exporter {
            exporter.flush().await;
        }
        self.closing.send_replace(true);
        drop(self.forwarding.await);
    }

    /// Ends at once.
    pub(crate) fn abandon(self) {
        self.forwarding.abort();
    }
}
