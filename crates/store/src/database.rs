//! One writer thread, many readers.
//!
//! A write is a closure. The writer drains the closures that wait (at most [`BATCH_MAX`]), runs
//! each in a savepoint of one transaction, commits once, and answers all of them after the fsync.
//! A closure that fails is rolled back alone. Nobody waits for a timer.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};
use tokio::sync::oneshot;

use crate::error::StoreError;
use crate::sql::Tx;

/// The most closures in one transaction.
pub const BATCH_MAX: usize = 512;

/// Frames in the write-ahead log above which the checkpoint thread is woken.
const CHECKPOINT_FRAMES: u64 = 1_000;

/// Frames above which the writer itself runs the remainder between two transactions, so that the
/// log can start again under constant writes.
const CHECKPOINT_FRAMES_MAX: u64 = 8_192;

/// The most reading connections kept open.
const READERS_MAX: usize = 8;

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// How a database is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// As the one host: creates and migrates it, and may write.
    Host,
    /// For reading beside a host, or after one.
    ReadOnly,
}

type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Job = Box<dyn FnOnce(&Connection) -> Reply + Send>;

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

#[derive(Debug)]
struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        self.stop.store(true, Ordering::Release);
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A writer that panicked has answered nobody; there is nothing left to report here.
            drop(thread.join());
        }
    }
}

impl Database {
    /// Opens the database file, creating and migrating it as the host.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        let commits = Arc::new(AtomicU64::new(0));
        let writer = match mode {
            OpenMode::Host => Some(start_writer(path, &commits)?),
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
            let result = in_savepoint(connection, work);
            Box::new(move |commit: Result<(), StoreError>| {
                // The asker may have gone; its write stands or falls without it.
                drop(reply.send(commit.map_err(E::from).and(result)));
            })
        });
        let closed = || StoreError::Unavailable("the writer has stopped".into());
        let jobs = self
            .shared
            .writer
            .as_ref()
            .and_then(|writer| writer.jobs.as_ref());
        let Some(jobs) = jobs else {
            return Err(StoreError::Unavailable("opened for reading only".into()).into());
        };
        jobs.send(job).map_err(|_| closed())?;
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
        reader.execute_batch("COMMIT").map_err(StoreError::from)?;
        self.put_reader(reader);
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

fn in_savepoint<T, E, F>(connection: &Connection, work: F) -> Result<T, E>
where
    E: From<StoreError>,
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
{
    let step = |sql: &str| -> Result<(), StoreError> {
        connection.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    };
    step("SAVEPOINT job")?;
    let result = work(&Tx::new(connection));
    if result.is_err() && !connection.is_autocommit() {
        step("ROLLBACK TO job")?;
    }
    if !connection.is_autocommit() {
        step("RELEASE job")?;
    }
    result
}

fn open_reader(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch("PRAGMA query_only = ON; PRAGMA mmap_size = 268435456;")?;
    Ok(connection)
}

fn open_writer(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags)?;
    connection.set_prepared_statement_cache_capacity(128);
    connection.busy_timeout(std::time::Duration::from_secs(5))?;
    connection.execute_batch(
        "PRAGMA journal_mode = WAL;
         PRAGMA synchronous = FULL;
         PRAGMA foreign_keys = ON;
         PRAGMA wal_autocheckpoint = 0;
         PRAGMA cache_size = -16384;",
    )?;
    embedded::migrations::runner()
        .run(&mut connection)
        .map_err(|error| {
            StoreError::Unavailable(format!("the database could not be migrated: {error}"))
        })?;
    Ok(connection)
}

fn start_writer(path: &Path, commits: &Arc<AtomicU64>) -> Result<Writer, StoreError> {
    let connection = open_writer(path)?;
    let checkpoint = Connection::open(path)?;
    let (jobs, queue) = mpsc::channel::<Job>();
    let stop = Arc::new(AtomicBool::new(false));
    let checkpointer = {
        let stop = Arc::clone(&stop);
        std::thread::Builder::new()
            .name("checkpoint".into())
            .spawn(move || {
                while !stop.load(Ordering::Acquire) {
                    std::thread::park();
                    run_checkpoint(&checkpoint);
                }
            })?
    };
    let waker = checkpointer.thread().clone();
    let commits = Arc::clone(commits);
    let committer = std::thread::Builder::new()
        .name("committer".into())
        .spawn(move || {
            while let Ok(first) = queue.recv() {
                let batch = std::iter::once(first)
                    .chain(queue.try_iter())
                    .take(BATCH_MAX)
                    .collect();
                commit(&connection, batch);
                commits.fetch_add(1, Ordering::Relaxed);
                let frames = log_frames(&connection);
                if frames > CHECKPOINT_FRAMES_MAX {
                    run_checkpoint(&connection);
                } else if frames > CHECKPOINT_FRAMES {
                    waker.unpark();
                }
            }
        })?;
    Ok(Writer {
        jobs: Some(jobs),
        threads: vec![committer, checkpointer],
        stop,
    })
}

/// Pages in the write-ahead log, from the size of its file (4 KiB pages and their headers).
fn log_frames(connection: &Connection) -> u64 {
    let Some(path) = connection.path() else {
        return 0;
    };
    std::fs::metadata(format!("{path}-wal")).map_or(0, |data| data.len() / 4120)
}

fn run_checkpoint(connection: &Connection) {
    let outcome = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "the write-ahead log could not be checkpointed");
    }
}

fn commit(connection: &Connection, batch: Vec<Job>) {
    if let Err(error) = connection.execute_batch("BEGIN IMMEDIATE") {
        let text = error.to_string();
        tracing::error!(error = text, "a transaction could not begin");
        // No closure may run outside a transaction, so each is answered by being dropped.
        return;
    }
    let mut replies = Vec::with_capacity(batch.len());
    for job in batch {
        replies.push(job(connection));
        if connection.is_autocommit() {
            // The database rolled the whole transaction back (a full disk does that).
            break;
        }
    }
    let outcome = if connection.is_autocommit() {
        Err(StoreError::Full(
            "the transaction was rolled back by the database".into(),
        ))
    } else {
        connection.execute_batch("COMMIT").map_err(StoreError::from)
    };
    if let Err(error) = &outcome {
        tracing::error!(%error, "a transaction was not committed");
        if !connection.is_autocommit() {
            drop(connection.execute_batch("ROLLBACK"));
        }
    }
    for reply in replies {
        reply(match &outcome {
            Ok(()) => Ok(()),
            Err(StoreError::Full(text)) => Err(StoreError::Full(text.clone())),
            Err(error) => Err(StoreError::Unavailable(error.to_string())),
        });
    }
}
