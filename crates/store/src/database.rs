//! One writer thread, many readers.
//!
//! A write is a closure that the writer's thread runs (see the `writer` module) and that is
//! answered after the fsync. A read is a closure over one reader's view of the last commit.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::sql::Tx;
pub use crate::writer::BATCH_MAX;
use crate::writer::{Job, Ran, Writer, in_savepoint};

/// The most reading connections kept open.
const READERS_MAX: usize = 8;

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// As the one host: creates and migrates it, and may write.
    Host,
    /// For reading beside a host, or after one.
    ReadOnly,
}

/// A database of one data directory.
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    writer: Option<Writer>,
    readers: Mutex<Vec<Connection>>,
    commits: Arc<AtomicU64>,
}

impl Database {
    /// Opens the database file, creating and migrating it as the host.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        let commits = Arc::new(AtomicU64::new(0));
        let writer = match mode {
            OpenMode::Host => Some(Writer::start(path, &commits)?),
            OpenMode::ReadOnly => None,
        };
        let database = Self {
            shared: Arc::new(Shared {
                path: path.to_owned(),
                writer,
                readers: Mutex::new(Vec::new()),
                commits,
            }),
        };
        database.put_reader(open_reader(path)?);
        Ok(database)
    }

    /// How many transactions the writer has committed.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Runs a closure in the writer's next transaction and answers after its fsync. A closure
    /// that gives an error leaves nothing behind.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel::<Result<T, E>>();
        let job: Job = Box::new(move |connection| {
            let (result, failure) = match connection {
                Ok(connection) => in_savepoint(connection, work),
                Err(error) => (Err(E::from(error)), None),
            };
            let reply = Box::new(move |commit: Result<(), StoreError>| {
                // The asker may have gone; its write stands or falls without it.
                drop(reply.send(commit.map_err(E::from).and(result)));
            });
            Ran { reply, failure }
        });
        let Some(writer) = &self.shared.writer else {
            return Err(StoreError::Unavailable("opened for reading only".into()).into());
        };
        let closed = || StoreError::Unavailable("the writer has stopped".into());
        if !writer.send(job) {
            return Err(closed().into());
        }
        answer.await.unwrap_or_else(|_| Err(closed().into()))
    }

    /// Runs a closure on a reader's view of the last commit. It blocks for the time of the query.
    pub fn read_now<T, E, F>(&self, work: F) -> Result<T, E>
    where
        E: From<StoreError>,
        F: FnOnce(&Tx<'_>) -> Result<T, E>,
    {
        let reader = self.take_reader()?;
        reader.execute_batch("BEGIN").map_err(StoreError::from)?;
        let result = work(&Tx::new(&reader));
        // A view that does not end takes its connection with it. The error of the work is what
        // the asker hears, not that there was nothing left to end.
        match reader.execute_batch("COMMIT") {
            Ok(()) => self.put_reader(reader),
            Err(error) => tracing::warn!(%error, "a reader's view did not end"),
        }
        result
    }

    /// [`Self::read_now`] on a thread that may block.
    pub async fn read<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let database = self.clone();
        tokio::task::spawn_blocking(move || database.read_now(work))
            .await
            .unwrap_or_else(|_| Err(StoreError::Unavailable("a reader stopped".into()).into()))
    }

    fn take_reader(&self) -> Result<Connection, StoreError> {
        let pooled = self
            .shared
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match pooled {
            Some(reader) => Ok(reader),
            None => open_reader(&self.shared.path),
        }
    }

    fn put_reader(&self, reader: Connection) {
        let mut readers = self
            .shared
            .readers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(reader);
        }
    }
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA mmap_size = 268435456;")?;
    Ok(connection)
}
