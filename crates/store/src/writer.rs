//! The thread through which everything is written.
//!
//! It drains the closures that wait (at most [`BATCH_MAX`]), runs each in a savepoint of one
//! transaction, commits once, and answers all of them after the fsync. Nobody waits for a timer.
//!
//! * A closure that fails or panics is rolled back alone; its neighbours stand.
//! * Where the database itself rolls a transaction back (a full disk does that), nothing of the
//!   batch stands, closures that had not run yet do not run, and each is answered with the reason.
//! * Checkpoints run on a thread of their own. Under constant writes that thread never reaches the
//!   end of the log, so above a limit the writer runs the short remainder between two
//!   transactions; the log then starts again from its beginning.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;

use rusqlite::{Connection, OpenFlags};

use crate::error::StoreError;
use crate::sql::Tx;

/// The most closures in one transaction.
pub const BATCH_MAX: usize = 512;

/// The checkpoint thread is woken each time the write-ahead log has grown by this many frames.
const CHECKPOINT_FRAMES: u64 = 1_000;

/// Frames above which the writer itself runs the remainder.
const CHECKPOINT_FRAMES_MAX: u64 = 8_192;

mod embedded {
    refinery::embed_migrations!("migrations/sqlite");
}

/// Answers the asker, once it is known whether the transaction stands.
pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A closure that waits for the writer. It is given the connection, or why it is not run.
pub(crate) type Job = Box<dyn FnOnce(Result<&Connection, StoreError>) -> Ran + Send>;

/// What a job left.
pub(crate) struct Ran {
    /// Answers the asker.
    pub(crate) reply: Reply,
    /// The first error that the database gave it.
    pub(crate) failure: Option<StoreError>,
}

/// The writer's threads; dropping it ends them after what waits was written.
#[derive(Debug)]
pub(crate) struct Writer {
    jobs: Option<mpsc::Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        self.stop.store(true, Ordering::Release);
        let here = std::thread::current().id();
        for thread in self.threads.drain(..) {
            thread.thread().unpark();
            // A job that holds the last handle drops it on the writer's own thread, which ends by
            // itself when no more jobs can come.
            if thread.thread().id() != here {
                drop(thread.join());
            }
        }
    }
}

impl Writer {
    /// Opens the database for writing, migrates it and starts the threads. `commits` counts the
    /// transactions that stand.
    pub(crate) fn start(path: &Path, commits: &Arc<AtomicU64>) -> Result<Self, StoreError> {
        let mut connection = open(path)?;
        let frames = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&frames);
        connection.wal_hook(Some(move |_: &mut _, pages| {
            seen.store(u64::try_from(pages).unwrap_or(0), Ordering::Relaxed);
            Ok(())
        }))?;
        let checkpoint = Connection::open(path)?;
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
        let (jobs, queue) = mpsc::channel::<Job>();
        let committer = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || {
                let mut woken_at = 0;
                while let Ok(first) = queue.recv() {
                    let batch = std::iter::once(first)
                        .chain(queue.try_iter())
                        .take(BATCH_MAX)
                        .collect();
                    if commit(&connection, batch) {
                        commits.fetch_add(1, Ordering::Relaxed);
                    }
                    // Only a transaction that wrote something reports the length of the log.
                    let frames = frames.swap(0, Ordering::Relaxed);
                    if frames > CHECKPOINT_FRAMES_MAX {
                        run_checkpoint(&connection);
                    } else if frames / CHECKPOINT_FRAMES > woken_at / CHECKPOINT_FRAMES {
                        waker.unpark();
                    }
                    woken_at = if frames == 0 { woken_at } else { frames };
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            threads: vec![committer, checkpointer],
            stop,
        })
    }

    /// Queues a job; false means that the thread has ended.
    pub(crate) fn send(&self, job: Job) -> bool {
        self.jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

/// Runs a closure so that its error or panic leaves nothing behind. Beside its result, it gives
/// the first error that the database itself gave.
pub(crate) fn in_savepoint<T, E, F>(
    connection: &Connection,
    work: F,
) -> (Result<T, E>, Option<StoreError>)
where
    E: From<StoreError>,
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
{
    let step = |sql: &str| -> Result<(), StoreError> {
        connection.prepare_cached(sql)?.raw_execute()?;
        Ok(())
    };
    if let Err(error) = step("SAVEPOINT job") {
        return (Err(error.clone().into()), Some(error));
    }
    let tx = Tx::new(connection);
    let result = catch_unwind(AssertUnwindSafe(|| work(&tx))).unwrap_or_else(|_| {
        Err(
            StoreError::Unavailable("a write stopped unexpectedly; the log says where".into())
                .into(),
        )
    });
    let failure = tx.into_failure();
    if connection.is_autocommit() {
        return (result, failure);
    }
    let ended = match &result {
        Ok(_) => step("RELEASE job"),
        Err(_) => step("ROLLBACK TO job").and_then(|()| step("RELEASE job")),
    };
    if let Err(error) = ended {
        // What this closure did cannot be told apart from the others' work any more.
        drop(connection.execute_batch("ROLLBACK"));
        return (Err(error.clone().into()), Some(error));
    }
    (result, failure)
}

fn open(path: &Path) -> Result<Connection, StoreError> {
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

fn run_checkpoint(connection: &Connection) {
    let outcome = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "the write-ahead log could not be checkpointed");
    }
}

/// Runs and answers a batch; true if the transaction stands.
fn commit(connection: &Connection, batch: Vec<Job>) -> bool {
    let mut outcome = connection
        .execute_batch("BEGIN IMMEDIATE")
        .map_err(StoreError::from);
    let mut replies = Vec::with_capacity(batch.len());
    for job in batch {
        let stands = outcome.clone();
        let ran = job(stands.map(|()| connection));
        replies.push(ran.reply);
        if outcome.is_ok() && connection.is_autocommit() {
            let unknown = || StoreError::Unavailable("the transaction was rolled back".into());
            outcome = Err(ran.failure.unwrap_or_else(unknown));
        }
    }
    let outcome = outcome.and_then(|()| Ok(connection.execute_batch("COMMIT")?));
    if let Err(error) = &outcome {
        tracing::error!(%error, "a transaction was not committed");
        if !connection.is_autocommit() {
            drop(connection.execute_batch("ROLLBACK"));
        }
    }
    for reply in replies {
        reply(outcome.clone());
    }
    outcome.is_ok()
}
