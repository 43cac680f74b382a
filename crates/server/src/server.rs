//! What every handler is given: the rooms it serves, who listens, and the edge's own counters.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;
use matrix_agents::service::Agents;
use matrix_changes::workshop::Workshop;
use matrix_core::{Action, Authorised, Authorizer, Caller, Clock, Digest, Recent, Timestamp};
use matrix_engine::schedule::Starter;
use matrix_engine::{Engine, Events};
use matrix_identity::Accounts;
use matrix_models::Gateway;
use matrix_models::admission::REMEMBERED;
use matrix_models::batch::Quota;
use matrix_store::{Blobs, Database, StoreError};
use serde::{Deserialize, Serialize};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;

use crate::edge::read::Reading;
use utoipa::ToSchema;

use crate::health::HealthBoard;
use crate::metrics::Metrics;
use crate::problem::Failure;

/// The rooms behind the routes.
#[derive(Clone)]
pub struct Rooms {
    /// Runs and their journals.
    pub engine: Engine,
    /// What happened to them, for whoever is told.
    pub events: Events,
    /// Where changes are made.
    pub workshop: Workshop,
    /// Who can be given a goal.
    pub agents: Agents,
    /// Which models there are, and the way to them.
    pub models: Gateway,
    /// Who may sign in.
    pub accounts: Accounts,
    /// Who knows what a schedule's request means.
    pub starters: Vec<Arc<dyn Starter>>,
    /// Decides what a caller may do.
    pub authorizer: Arc<dyn Authorizer>,
    /// The operating-system user, for whom the socket speaks.
    pub owner: Caller,
}

/// For how long the host of a data directory lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum HostMode {
    /// Until the command's own run has ended or waits.
    Oneshot,
    /// Until nothing can go on.
    Background,
    /// Until it is told to end.
    Serve,
    /// Until it is told to end, driving runs and answering nobody.
    Worker,
}

/// The process that hosts the data directory.
#[derive(Debug, Clone)]
pub struct HostFacts {
    /// Its name among the owners of runs.
    pub worker: String,
    /// For how long it lives.
    pub mode: HostMode,
    /// The product's version.
    pub version: String,
    /// Where everything is kept.
    pub data_directory: PathBuf,
}

/// The bounds that keep a client, mistaken or not, from using the process up.
#[derive(Debug, Clone)]
pub struct Limits {
    /// For how long a client may take over a request's head, and a connection may be idle.
    pub head: Duration,
    /// How long until an answer begins, the reading of the body included.
    pub answer: Duration,
    /// The same where the answer is that a deployment was taken back or stopped: commands of the
    /// repository's own have to end first.
    pub act: Duration,
    /// The most bytes in a body.
    pub body_bytes: usize,
    /// How long a model may take until its answer begins.
    pub model: Duration,
    /// The most bytes in a conversation with a model, pictures included.
    pub model_bytes: usize,
    /// The most bytes of all conversations that are being read, together; more are refused.
    pub models_bytes: usize,
    /// How much of files and batches a workspace may have.
    pub quota: Quota,
    /// How long a client may read nothing of an answer that is being written for it.
    pub stall: Duration,
    /// The most connections of one listener at once; more wait to be accepted.
    pub connections: usize,
    /// The most event streams at once; more are refused.
    pub streams: usize,
    /// After this long without an event, a stream says that it is alive and asks again whether
    /// its caller may read.
    pub heartbeat: Duration,
    /// For how long requests under way may go on once the listener is told to end.
    pub farewell: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: Duration::from_secs(10),
            answer: Duration::from_secs(30),
            act: Duration::from_mins(10),
            body_bytes: 2 * 1024 * 1024,
            model: Duration::from_mins(61),
            model_bytes: 64 * 1024 * 1024,
            models_bytes: 512 * 1024 * 1024,
            quota: Quota::default(),
            stall: Duration::from_mins(2),
            connections: 512,
            streams: 128,
            heartbeat: Duration::from_secs(15),
            farewell: Duration::from_secs(5),
        }
    }
}

/// Everything the routes need. Cheap to clone.
#[derive(Clone)]
pub struct Server {
    shared: Arc<Shared>,
}

struct Shared {
    rooms: Rooms,
    host: HostFacts,
    limits: Limits,
    metrics: Metrics,
    health: HealthBoard,
    streams: Arc<Semaphore>,
    askers: Recent<Digest, Caller>,
    /// What conversations that are being read may still hold, in KiB.
    reading: Arc<Reading>,
    started: Duration,
    started_at: Timestamp,
}

impl std::fmt::Debug for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Server")
            .field("host", &self.shared.host)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Brings the rooms together. Nothing listens until one of the `serve` functions runs.
    pub fn new(rooms: Rooms, host: HostFacts, limits: Limits) -> Self {
        let clock = rooms.engine.clock();
        let (started, started_at) = (clock.monotonic(), clock.now());
        let askers = Recent::new(Arc::clone(clock), REMEMBERED);
        Self {
            shared: Arc::new(Shared {
                streams: Arc::new(Semaphore::new(limits.streams)),
                askers,
                reading: Arc::new(Reading::of(limits.models_bytes)),
                rooms,
                host,
                limits,
                metrics: Metrics::default(),
                health: HealthBoard::default(),
                started,
                started_at,
            }),
        }
    }

    /// The board on which the host reports what it knows of itself, such as its sandbox's test.
    pub fn health(&self) -> &HealthBoard {
        &self.shared.health
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.shared.rooms.engine
    }

    pub(crate) fn events(&self) -> &Events {
        &self.shared.rooms.events
    }

    pub(crate) fn workshop(&self) -> &Workshop {
        &self.shared.rooms.workshop
    }

    pub(crate) fn agents(&self) -> &Agents {
        &self.shared.rooms.agents
    }

    pub(crate) fn models(&self) -> &Gateway {
        &self.shared.rooms.models
    }

    pub(crate) fn starters(&self) -> &[Arc<dyn Starter>] {
        &self.shared.rooms.starters
    }

    pub(crate) fn authorizer(&self) -> &dyn Authorizer {
        &*self.shared.rooms.authorizer
    }

    pub(crate) fn accounts(&self) -> &Accounts {
        &self.shared.rooms.accounts
    }

    /// Whose token this is, of a client that asks models: it does so many times a second, so that a token
    /// which was taken away may serve it a moment longer.
    pub(crate) fn asker(&self, token: &str) -> Result<Option<Caller>, StoreError> {
        let digest = Digest::of(token);
        if let Some(caller) = self.shared.askers.get(&digest) {
            return Ok(Some(caller));
        }
        let caller = self.accounts().authenticate(token)?;
        if let Some(caller) = &caller {
            self.shared.askers.put(digest, caller.clone());
        }
        Ok(caller)
    }

    pub(crate) fn owner(&self) -> &Caller {
        &self.shared.rooms.owner
    }

    pub(crate) fn database(&self) -> &Database {
        self.engine().database()
    }

    pub(crate) fn blobs(&self) -> &Blobs {
        self.engine().blobs()
    }

    pub(crate) fn clock(&self) -> &dyn Clock {
        &**self.engine().clock()
    }

    pub(crate) fn host(&self) -> &HostFacts {
        &self.shared.host
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.shared.limits
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn streams(&self) -> &Arc<Semaphore> {
        &self.shared.streams
    }

    /// What conversations that are being read may still hold, in KiB.
    pub(crate) fn reading(&self) -> &Reading {
        &self.shared.reading
    }

    pub(crate) fn started_at(&self) -> Timestamp {
        self.shared.started_at
    }

    /// How long this process has served.
    pub(crate) fn uptime(&self) -> Duration {
        self.clock().monotonic().saturating_sub(self.shared.started)
    }

    /// Asks whether the caller may; the only way from a handler to a service function.
    pub(crate) fn authorise<A: Action>(
        &self,
        caller: Caller,
        action: A,
    ) -> Result<Authorised<A>, Failure> {
        Ok(Authorised::obtain(self.authorizer(), caller, action)?)
    }
}

/// Runs a service function that acts on the outside, in a task of its own: a client that hangs up
/// must not leave it half done.
pub(crate) async fn acting<T, E, W>(work: W) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
    W: Future<Output = Result<T, E>> + Send + 'static,
{
    match tokio::spawn(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => {
            tracing::error!(%error, "an acting task stopped");
            Err(Failure::internal())
        }
    }
}

/// Work that is brought to its end, whoever waits for it: when its waiter goes away, it goes on in a task
/// of its own. Until then it costs none.
pub(crate) struct Outliving<T: Send + 'static> {
    work: Option<BoxFuture<'static, T>>,
}

impl<T: Send + 'static> Outliving<T> {
    /// Ready to begin.
    pub(crate) fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        Self {
            work: Some(Box::pin(work)),
        }
    }
}

impl<T: Send + 'static> Future for Outliving<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: work that panics is over.
        let Some(mut work) = self.work.take() else {
            return Poll::Pending;
        };
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.work = Some(work);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Outliving<T> {
    fn drop(&mut self) {
        if let (Some(work), Ok(runtime)) = (self.work.take(), Handle::try_current()) {
            drop(runtime.spawn(work));
        }
    }
}

/// Runs a service function that reads, on a thread that may block.
pub(crate) async fn blocking<T, E, F>(work: F) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Into<Failure> + Send + 'static,
    F: FnOnce() -> Result<T, E> + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result.map_err(Into::into),
        Err(error) => {
            tracing::error!(%error, "a reading task stopped");
            Err(Failure::internal())
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn work_ends_whether_or_not_its_waiter_stays() {
        assert_eq!(Outliving::new(async { 7 }).await, 7);
        let (go, gone) = oneshot::channel::<()>();
        let (done, ended) = oneshot::channel();
        let mut work = Outliving::new(async move {
            drop(gone.await);
            done.send(7)
        });
        assert!(futures::poll!(&mut work).is_pending());
        drop(work);
        go.send(()).unwrap();
        assert_eq!(ended.await, Ok(7));
    }
}
