//! SQLite's writer with its checkpoints.
//!
//! Checkpoints run on a thread of their own. Under constant writes that thread never reaches the
//! end of the log, so above a limit the writer runs the short remainder between two transactions;
//! the log then starts again from its beginning.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use rusqlite::Connection;

use crate::error::StoreError;
use crate::meter::Commits;
use crate::sqlite::SqliteSession;
use crate::writer::{Job, Queue};

/// The checkpoint thread is woken each time the write-ahead log has grown by this many frames.
const CHECKPOINT_FRAMES: u64 = 1_000;

/// Frames above which the writer itself runs the remainder.
const CHECKPOINT_FRAMES_MAX: u64 = 8_192;

/// The writer's threads; dropping it ends them after what waits was written.
#[derive(Debug)]
pub(crate) struct SqliteWriter {
    queue: Option<Queue>,
    checkpointer: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Drop for SqliteWriter {
    fn drop(&mut self) {
        drop(self.queue.take());
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.checkpointer.take() {
            thread.thread().unpark();
            drop(thread.join());
        }
    }
}

impl SqliteWriter {
    /// Opens the database for writing, migrates it and starts the threads. `commits` counts the
    /// transactions.
    pub(crate) fn start(path: &Path, commits: &Arc<Commits>) -> Result<Self, StoreError> {
        let mut session = SqliteSession::for_writing(path)?;
        let frames = Arc::new(AtomicU64::new(0));
        let seen = Arc::clone(&frames);
        session.on_commit(move |count| seen.store(count, Ordering::Relaxed))?;
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
        let mut woken_at = 0;
        let queue = Queue::start(move |batch| {
            commits.commit(&session, batch);
            // Only a transaction that wrote something reports the length of the log.
            let frames = frames.swap(0, Ordering::Relaxed);
            if frames > CHECKPOINT_FRAMES_MAX {
                run_checkpoint(session.connection());
            } else if frames / CHECKPOINT_FRAMES > woken_at / CHECKPOINT_FRAMES {
                waker.unpark();
            }
            woken_at = if frames == 0 { woken_at } else { frames };
        })?;
        Ok(Self {
            queue: Some(queue),
            checkpointer: Some(checkpointer),
            stop,
        })
    }

    /// Queues a job; false means that the thread has ended.
    pub(crate) fn send(&self, job: Job) -> bool {
        self.queue.as_ref().is_some_and(|queue| queue.send(job))
    }
}

fn run_checkpoint(connection: &Connection) {
    let outcome = connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()));
    if let Err(error) = outcome {
        tracing::warn!(%error, "the write-ahead log could not be checkpointed");
    }
}
