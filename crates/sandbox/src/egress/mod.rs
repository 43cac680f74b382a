//! The one way out of a sandbox that fetches dependencies: an HTTP proxy with a list of hosts.
//!
//! The proxy runs in the host's process and listens on a Unix socket. Inside, the first process
//! forwards a loopback port to it; there is no other route. A client asks with `CONNECT host:port`
//! or with a plain `GET http://…`, and gets through only to a destination that is on the list by
//! name and port. Names are resolved here, once, and the connection goes to the address that was
//! judged. The list's names are the operator's own, so a mirror in a private network is reached; but
//! no name leads to this machine, its link or a metadata service, unless the list names that very
//! address.
//!
//! Each refusal is a [`Denial`] that says what was asked for and what is allowed instead, told to
//! the client in the answer and kept for the evidence.

mod address;
mod request;
mod serve;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use crate::spec::Denial;

/// A host and port that may be reached.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Destination {
    /// A host name in lower case, or an address.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl Destination {
    /// A destination; the name is compared without regard to case and without a last dot.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: address::normal(host),
            port,
        }
    }
}

impl std::fmt::Display for Destination {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The proxy that the host itself must use to get out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstream {
    /// Its host name or address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// The value of `Proxy-Authorization`, where it wants one.
    pub authorization: Option<String>,
}

/// What may be reached, and how much of it.
#[derive(Debug, Clone)]
pub struct Rules {
    /// The only destinations.
    pub allow: Vec<Destination>,
    /// The host's own proxy; it then resolves the names.
    pub upstream: Option<Upstream>,
    /// Connections at once; more wait.
    pub connections: usize,
    /// Bytes through one connection, each way.
    pub bytes: u64,
    /// How long one connection may last.
    pub lifetime: Duration,
    /// How long a client may take to ask, and a server to be reached.
    pub patience: Duration,
}

impl Default for Rules {
    fn default() -> Self {
        Self {
            allow: Vec::new(),
            upstream: None,
            connections: 64,
            bytes: 4 << 30,
            lifetime: Duration::from_mins(15),
            patience: Duration::from_secs(15),
        }
    }
}

impl Rules {
    /// Only these destinations, directly.
    pub fn allow(destinations: impl IntoIterator<Item = Destination>) -> Self {
        Self {
            allow: destinations.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// Refusals kept; more are only told to the client.
const DENIALS: usize = 200;

/// What connections share.
pub(crate) struct Shared {
    pub(crate) rules: Rules,
    denials: Mutex<Vec<Denial>>,
}

impl Shared {
    /// Keeps a refusal once.
    pub(crate) fn note(&self, denial: Denial) {
        if let Ok(mut denials) = self.denials.lock()
            && denials.len() < DENIALS
            && !denials.contains(&denial)
        {
            denials.push(denial);
        }
    }
}

/// A running proxy; it ends when this is dropped.
pub struct Egress {
    socket: PathBuf,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Egress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Egress")
            .field("socket", &self.socket)
            .finish_non_exhaustive()
    }
}

impl Egress {
    /// Starts a proxy on a new socket at `socket`, whose directory should be private. Must be
    /// called in a Tokio runtime.
    ///
    /// # Errors
    /// When the socket cannot be made.
    pub fn start(socket: &Path, rules: Rules) -> io::Result<Self> {
        let listener = crate::socket::bind(socket)?;
        listener.set_nonblocking(true)?;
        let listener = UnixListener::from_std(listener)?;
        let shared = Arc::new(Shared {
            rules,
            denials: Mutex::default(),
        });
        let task = tokio::task::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self {
            socket: socket.to_owned(),
            shared,
            task,
        })
    }

    /// Where it listens.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// What was refused since the last call, each once.
    pub fn take_denials(&self) -> Vec<Denial> {
        self.shared
            .denials
            .lock()
            .map(|mut denials| std::mem::take(&mut *denials))
            .unwrap_or_default()
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.task.abort();
        // A socket that is gone already is what was wanted.
        drop(std::fs::remove_file(&self.socket));
    }
}

async fn accept(listener: UnixListener, shared: Arc<Shared>) {
    let places = Arc::new(Semaphore::new(shared.rules.connections.max(1)));
    // Dropping the set ends every connection with the proxy.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((client, _)) => {
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    serve::connection(client, &shared).await;
                    drop(place);
                });
            }
            // Out of descriptors, for example: others may end meanwhile.
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
