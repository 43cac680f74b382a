//! Listeners and their connections.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustix::process::Uid;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use crate::edge::guard::{AllowedNames, Door};
use crate::problem::ServeError;
use crate::rest;
use crate::server::{Limits, Server};

/// The most bytes of a request's head.
const HEAD_BYTES_MAX: usize = 32 * 1024;

/// The most header fields of a request.
const HEADERS_MAX: usize = 64;

/// How long the listener rests when the system has no more file descriptors.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// From where a TCP listener may be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exposure {
    /// From this machine only; any other address is refused.
    Loopback,
    /// From wherever the address can be reached. The operator answers for the network: traffic is
    /// not encrypted.
    Network,
}

/// Tells streams that their listener ends.
#[derive(Debug, Clone)]
pub(crate) struct Closing(pub(crate) watch::Receiver<bool>);

/// Opens a TCP listener; port 0 takes a free one.
pub async fn bind(address: SocketAddr, exposure: Exposure) -> Result<TcpListener, ServeError> {
    if exposure == Exposure::Loopback && !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen {
            address: address.to_string(),
            source,
        })
}

/// Opens the host's socket, which only this user can reach. What an earlier host left at the path
/// is replaced, so the caller must hold the data directory's lock.
pub fn bind_socket(path: &Path) -> Result<UnixListener, ServeError> {
    let failed = |source| ServeError::Listen {
        address: path.display().to_string(),
        source,
    };
    // Bound under another name and renamed, so that the path never leads to a socket that others
    // can open.
    let mut next = path.as_os_str().to_owned();
    next.push(".new");
    let next = PathBuf::from(next);
    match fs::remove_file(&next) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(&next).map_err(failed)?;
    fs::set_permissions(&next, fs::Permissions::from_mode(0o600)).map_err(failed)?;
    fs::rename(&next, path).map_err(failed)?;
    Ok(listener)
}

/// Serves the API over TCP until `shutdown` is ready and the requests under way have ended.
///
/// Every request but for the three health addresses needs a bearer token; Host and Origin must be
/// among `names`.
pub async fn serve_tcp(
    listener: TcpListener,
    names: AllowedNames,
    server: Server,
    shutdown: impl Future<Output = ()>,
) {
    let router = rest::router(&server, Door::Tcp(names));
    serve_routes(listener, router, server.limits(), shutdown).await;
}

/// [`serve_tcp`] with nothing but how the process does: the health addresses and, for whoever has
/// a token, the metrics.
pub async fn serve_probes(
    listener: TcpListener,
    names: AllowedNames,
    server: Server,
    shutdown: impl Future<Output = ()>,
) {
    let router = rest::probes(&server, Door::Tcp(names));
    serve_routes(listener, router, server.limits(), shutdown).await;
}

async fn serve_routes(
    listener: TcpListener,
    router: Router,
    limits: &Limits,
    shutdown: impl Future<Output = ()>,
) {
    let (closing, closes) = watch::channel(false);
    let router = router.layer(Extension(Closing(closes)));
    let mut connections = Connections::new(router, limits, closing);
    let accept = async {
        loop {
            let permit = connections.permit().await;
            match listener.accept().await {
                Ok((stream, _)) => {
                    // Small answers leave at once; a socket that refuses that still works.
                    drop(stream.set_nodelay(true));
                    connections.spawn(stream, permit);
                }
                Err(error) => rest_after(&error).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
    connections.end().await;
}

/// Serves the API and the host's own routes over a Unix socket until `shutdown` is ready and the
/// requests under way have ended.
///
/// The caller is the owner; a peer that the kernel names as another user is hung up on. The socket
/// itself has to lie where only the owner can reach it, with mode 0600.
pub async fn serve_socket(
    listener: UnixListener,
    server: Server,
    shutdown: impl Future<Output = ()>,
) {
    let (closing, closes) = watch::channel(false);
    let own = rustix::process::geteuid();
    let router = rest::router(&server, Door::Socket).layer(Extension(Closing(closes)));
    let mut connections = Connections::new(router, server.limits(), closing);
    let accept = async {
        loop {
            let permit = connections.permit().await;
            match listener.accept().await {
                Ok((stream, _)) if is_of_user(&stream, own) => connections.spawn(stream, permit),
                Ok(_) => tracing::warn!("a process of another user was refused at the socket"),
                Err(error) => rest_after(&error).await,
            }
        }
    };
    tokio::select! {
        () = accept => {}
        () = shutdown => {}
    }
    drop(listener);
    connections.end().await;
}

async fn rest_after(error: &io::Error) {
    tracing::warn!(%error, "a connection could not be accepted");
    tokio::time::sleep(ACCEPT_RETRY).await;
}

/// Whether the kernel names the peer as this user (`SO_PEERCRED`).
fn is_of_user(stream: &UnixStream, user: Uid) -> bool {
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == user.as_raw())
}

struct Connections {
    router: Router,
    builder: http1::Builder,
    tasks: JoinSet<()>,
    free: Arc<Semaphore>,
    closing: watch::Sender<bool>,
    farewell: Duration,
}

impl Connections {
    fn new(router: Router, limits: &Limits, closing: watch::Sender<bool>) -> Self {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(limits.head)
            .max_headers(HEADERS_MAX)
            .max_header_size(HEAD_BYTES_MAX);
        Self {
            router,
            builder,
            tasks: JoinSet::new(),
            free: Arc::new(Semaphore::new(limits.connections)),
            closing,
            farewell: limits.farewell,
        }
    }

    /// Waits for a free place; nothing once there never will be one.
    async fn permit(&mut self) -> Option<OwnedSemaphorePermit> {
        while self.tasks.try_join_next().is_some() {}
        Arc::clone(&self.free).acquire_owned().await.ok()
    }

    fn spawn(
        &mut self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        permit: Option<OwnedSemaphorePermit>,
    ) {
        let service = TowerToHyperService::new(self.router.clone());
        let connection = self.builder.serve_connection(TokioIo::new(stream), service);
        let mut closes = self.closing.subscribe();
        self.tasks.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let told = async { drop(closes.wait_for(|closing| *closing).await) };
            let finished = tokio::select! {
                outcome = connection.as_mut() => Some(outcome),
                () = told => None,
            };
            let outcome = if let Some(outcome) = finished {
                outcome
            } else {
                connection.as_mut().graceful_shutdown();
                connection.await
            };
            if let Err(error) = outcome {
                // Clients hang up and time out all the time; it is theirs to know.
                tracing::debug!(%error, "a connection ended");
            }
            drop(permit);
        });
    }

    /// Ends idle connections and streams, lets answers be finished, then hangs up.
    async fn end(&mut self) {
        self.closing.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(self.farewell, all).await.is_err() {
            tracing::warn!("requests under way were cut off");
        }
        self.tasks.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_processes_of_the_named_user_are_heard() {
        let (near, _far) = UnixStream::pair().unwrap();
        let own = rustix::process::geteuid();
        assert!(is_of_user(&near, own));
        assert!(!is_of_user(&near, Uid::from_raw(own.as_raw() + 1)));
    }
}
