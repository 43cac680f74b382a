//! How a command reaches the host: through the data directory's socket, whether the host is
//! another process or, when there is none, this one.
//!
//! On a database that several processes share every command carries its own request to the
//! database; it drives what follows from it only when no other process stands by.

use std::fs::File;
use std::time::Duration;

use matrix_changes::Layout;
use matrix_core::Problem;
use matrix_server::{Client, HostMode};
use serde_json::Value;

use crate::config::Config;
use crate::environment::Environment;
use crate::failure::{Failure, told};
use crate::host::{Duty, Host, socket};
use crate::place::{self, BUSY, try_lock, unusable};
use crate::reader;

/// How long a host may take to open its socket after it has the lock.
const SOCKET_PATIENCE: Duration = Duration::from_secs(10);

/// How often it is looked for.
const SOCKET_INTERVAL: Duration = Duration::from_millis(20);

/// A way to the host.
pub(crate) struct Door {
    client: Client,
    /// The host, if this process became it.
    pub(crate) host: Option<Box<Host>>,
    /// What carries the requests of a process that is no host.
    desk: Option<Box<Host>>,
}

impl Door {
    /// Connects to the host, becoming it when there is none.
    pub(crate) async fn open(config: &Config, environment: &Environment) -> Result<Self, Problem> {
        match lock_or_client(config).await? {
            Found::Lock(lock) => {
                let as_host = (HostMode::Oneshot, Duty::Drive);
                let host = Box::pin(Host::start(config, environment, as_host, lock)).await?;
                Ok(Self {
                    client: connect(host.layout()).await?,
                    host: Some(Box::new(host)),
                    desk: None,
                })
            }
            Found::Host(client) => Ok(Self::to(client)),
            Found::Others(lock) => Self::desk(config, environment, lock).await,
        }
    }

    fn to(client: Client) -> Self {
        Self {
            client,
            host: None,
            desk: None,
        }
    }

    async fn desk(config: &Config, environment: &Environment, lock: File) -> Result<Self, Problem> {
        let as_desk = (HostMode::Oneshot, Duty::Ask);
        let desk = Box::pin(Host::start(config, environment, as_desk, lock)).await?;
        Ok(Self {
            client: connect(desk.layout()).await?,
            host: None,
            desk: Some(Box::new(desk)),
        })
    }

    /// Connects to the host, starting one in the background when there is none.
    pub(crate) async fn background(
        config: &Config,
        environment: &Environment,
    ) -> Result<Self, Problem> {
        match lock_or_client(config).await? {
            Found::Lock(lock) => {
                drop(lock);
                crate::commands::background::spawn(config)?;
                if config.database.value.is_none() {
                    return Ok(Self::to(connect(&reader::layout(config)).await?));
                }
                let layout = reader::layout(config);
                let lock = place::open(&layout, &layout.lock())?;
                Self::desk(config, environment, lock).await
            }
            Found::Host(client) => Ok(Self::to(client)),
            Found::Others(lock) => Self::desk(config, environment, lock).await,
        }
    }

    /// Connects to whoever took the directory over from this process; when nobody did, becomes host
    /// again.
    pub(crate) async fn after(config: &Config, environment: &Environment) -> Result<Self, Problem> {
        if config.database.value.is_some() {
            return Self::open(config, environment).await;
        }
        match connect(&reader::layout(config)).await {
            Ok(client) => Ok(Self::to(client)),
            Err(_) => Self::open(config, environment).await,
        }
    }

    /// Asks the host to do something.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.client
            .post(path, body)
            .await
            .map_err(|error| told(&error))
    }

    /// Asks the host to end something.
    pub(crate) async fn delete(&self, path: &str) -> Result<Value, Failure> {
        self.client.delete(path).await.map_err(|error| told(&error))
    }

    /// Ends what of the host this process is.
    pub(crate) async fn close(self) {
        for host in [self.host, self.desk].into_iter().flatten() {
            host.end().await;
        }
    }
}

/// Who has the data directory.
pub(crate) enum Found {
    /// Nobody; this process holds its lock now.
    Lock(File),
    /// A process that answers.
    Host(Client),
    /// Other processes on the same database; the lock's file, without its lock.
    Others(File),
}

/// Takes the lock, or finds the host that has it. The lock is tried again and again: whoever looks
/// whether there is a host holds it for a moment, and a host may end at this very moment.
pub(crate) async fn lock_or_client(config: &Config) -> Result<Found, Problem> {
    let layout = reader::layout(config);
    if config.database.value.is_some() {
        return match place::share_if_first(&layout).await? {
            Some(lock) => Ok(Found::Lock(lock)),
            None => place::open(&layout, &layout.lock()).map(Found::Others),
        };
    }
    let search = async {
        loop {
            if let Some(lock) = try_lock(&layout)? {
                return Ok(Found::Lock(lock));
            }
            let path = socket(&layout).map_err(|error| unusable(&layout.socket(), &error))?;
            match Client::connect(&path).await {
                Ok(client) => return Ok(Found::Host(client)),
                Err(_) => tokio::time::sleep(SOCKET_INTERVAL).await,
            }
        }
    };
    tokio::time::timeout(SOCKET_PATIENCE, search)
        .await
        .unwrap_or_else(|_| Err(silent(&layout)))
}

fn silent(layout: &Layout) -> Problem {
    let text = format!(
        "another process holds {} and does not answer",
        layout.root().display()
    );
    Problem::new(BUSY, text).help("end it, or use another --data-dir")
}

/// Connects to the socket, which a host opens shortly after it takes the lock.
async fn connect(layout: &Layout) -> Result<Client, Problem> {
    let path = socket(layout).map_err(|error| unusable(&layout.socket(), &error))?;
    let search = async {
        loop {
            match Client::connect(&path).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(SOCKET_INTERVAL).await,
            }
        }
    };
    tokio::time::timeout(SOCKET_PATIENCE, search)
        .await
        .map_err(|_| silent(layout))
}
