//! The way from the engine to its store.
//!
//! Everything the engine writes passes here with its [`Purpose`]. In the product the way is short:
//! straight to the [`Database`]. In builds with debug assertions a [`Carrier`] can be put between,
//! so that a test decides when a write arrives, whether it stands, and whether anyone hears of it.

use matrix_core::RunId;
use matrix_store::{Database, StoreError, Tx};

use crate::journal::Fence;

/// What a write is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A new run with its first entry.
    Create(RunId),
    /// Ready runs get an owner.
    Claim,
    /// An owner's entries, and what follows from them.
    Append(Fence),
    /// An owner moves messages into the journal.
    Mail(Fence),
    /// An owner cannot go on and gives its run back.
    Requeue(Fence),
    /// An owner says that it lives.
    Beat,
    /// A host takes the runs of its dead predecessor.
    Adopt,
    /// A host returns the runs of an owner without heartbeat to the queue.
    Sweep,
    /// A host that ends takes its heartbeat with it.
    Leave,
    /// A key is paused.
    Throttle,
    /// An owner says how far a step is.
    Progress(Fence),
    /// Somebody has something to say to a run.
    Message(RunId),
    /// A worker outside leases, beats or reports, or is lost.
    Task,
}

/// The content of a write: what it gives is kept by whoever made it.
#[cfg(debug_assertions)]
pub type Work = Box<dyn FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send>;

/// Carries writes to a store in place of the short way. Only in builds with debug assertions, for
/// tests that simulate a bad network and a bad store.
#[cfg(debug_assertions)]
#[async_trait::async_trait]
pub trait Carrier: std::fmt::Debug + Send + Sync {
    /// Carries a write to the store and the answer back. The work is run in one transaction, at
    /// most once; an error means that its outcome is unknown to the asker.
    async fn write(&self, purpose: Purpose, work: Work) -> Result<(), StoreError>;

    /// Whether a read that is made now reaches the store.
    fn read(&self) -> Result<(), StoreError>;
}

/// A database and the way to it.
#[derive(Debug, Clone)]
pub(crate) struct Storage {
    pub(crate) database: Database,
    #[cfg(debug_assertions)]
    carrier: Option<std::sync::Arc<dyn Carrier>>,
}

impl Storage {
    /// The short way.
    pub(crate) fn new(database: Database) -> Self {
        Self {
            database,
            #[cfg(debug_assertions)]
            carrier: None,
        }
    }

    /// The long way.
    #[cfg(debug_assertions)]
    pub(crate) fn carried(mut self, carrier: std::sync::Arc<dyn Carrier>) -> Self {
        self.carrier = Some(carrier);
        self
    }

    /// [`Database::write`], for a purpose.
    pub(crate) async fn write<T, E, F>(&self, purpose: Purpose, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        #[cfg(debug_assertions)]
        if let Some(carrier) = &self.carrier {
            return carry(&**carrier, purpose, work).await;
        }
        let _ = purpose;
        self.database.write(work).await
    }

    /// [`Database::write_whole`], for a purpose.
    pub(crate) async fn write_whole<T, E, F>(&self, purpose: Purpose, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        #[cfg(debug_assertions)]
        if let Some(carrier) = &self.carrier {
            return carry(&**carrier, purpose, work).await;
        }
        let _ = purpose;
        self.database.write_whole(work).await
    }

    /// [`Database::read_now`].
    pub(crate) fn read_now<T, E, F>(&self, work: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnOnce(&Tx<'_>) -> Result<T, E>,
    {
        #[cfg(debug_assertions)]
        if let Some(carrier) = &self.carrier {
            carrier.read()?;
        }
        self.database.read_now(work)
    }

    /// [`Database::read`].
    pub(crate) async fn look<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let database = self.database.clone();
        self.read(move || database.read_now(work)).await
    }

    /// Runs something that reads much on a thread that may block.
    pub(crate) async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce() -> Result<T, E> + Send + 'static,
    {
        #[cfg(debug_assertions)]
        if let Some(carrier) = &self.carrier {
            carrier.read()?;
            return work();
        }
        tokio::task::spawn_blocking(work)
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("a reader stopped".into()).into()))
    }
}

#[cfg(debug_assertions)]
async fn carry<T, E, F>(carrier: &dyn Carrier, purpose: Purpose, work: F) -> Result<T, E>
where
    T: Send + 'static,
    E: From<StoreError> + Send + 'static,
    F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
{
    use std::sync::{Arc, Mutex, PoisonError};

    let given: Arc<Mutex<Option<Result<T, E>>>> = Arc::default();
    let kept = Arc::clone(&given);
    let work: Work = Box::new(move |tx| {
        let result = work(tx);
        let outcome = match &result {
            Ok(_) => Ok(()),
            Err(_) => Err(StoreError::Conflict("the work itself refused".into())),
        };
        *kept.lock().unwrap_or_else(PoisonError::into_inner) = Some(result);
        outcome
    });
    let answer = carrier.write(purpose, work).await;
    let given = given.lock().unwrap_or_else(PoisonError::into_inner).take();
    match (answer, given) {
        (_, Some(Err(error))) => Err(error),
        (Ok(()), Some(Ok(value))) => Ok(value),
        (Ok(()), None) => Err(StoreError::Unavailable("the work was not run".into()).into()),
        (Err(error), _) => Err(error.into()),
    }
}
