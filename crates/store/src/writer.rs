//! The thread through which everything is written.
//!
//! It drains the closures that wait (at most [`BATCH_MAX`]), runs each in a savepoint of one
//! transaction, commits once, and answers all of them after the fsync. Nobody waits for a timer.
//!
//! * A closure that fails or panics is rolled back alone; its neighbours stand.
//! * Where the database itself ends a transaction (a full disk or a lost connection does that),
//!   nothing of the batch stands, closures that had not run yet do not run, and each is answered
//!   with the reason.
//!
//! What is particular to a database stands with it: SQLite's checkpoints in `checkpoint`,
//! PostgreSQL's connection in `postgres::committer`.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::thread::JoinHandle;

use crate::error::StoreError;
use crate::session::{Session, Step};
use crate::tx::{Reach, Tx};

/// The most closures in one transaction.
pub const BATCH_MAX: usize = 512;

/// Answers the asker, once it is known whether the transaction stands.
pub(crate) type Reply = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// A closure that waits for the writer. It is given the connection, or why it is not run.
pub(crate) type Job = Box<dyn FnOnce(Result<&dyn Session, StoreError>) -> Ran + Send>;

/// With whom a job shares a transaction, where processes write beside each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Company {
    /// With whatever waits beside it.
    Any,
    /// With nobody.
    None,
}

/// What a job left.
pub(crate) struct Ran {
    /// Answers the asker.
    pub(crate) reply: Reply,
    /// The first error that the database gave it.
    pub(crate) failure: Option<StoreError>,
}

/// A thread that takes jobs; dropping this ends it after what waits was written.
#[derive(Debug)]
pub(crate) struct Queue {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<JoinHandle<()>>,
}

impl Queue {
    /// Starts the thread: it is given each batch as it comes.
    pub(crate) fn start(mut work: impl FnMut(Vec<Job>) + Send + 'static) -> std::io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || {
                while let Ok(first) = queue.recv() {
                    let batch = std::iter::once(first)
                        .chain(queue.try_iter())
                        .take(BATCH_MAX)
                        .collect();
                    work(batch);
                }
            })?;
        Ok(Self {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    /// Queues a job; false means that the thread has ended.
    pub(crate) fn send(&self, job: Job) -> bool {
        self.jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send(job).is_ok())
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A job that holds the last handle drops it on the writer's own thread, which ends by
            // itself when no more jobs can come.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

/// Runs a closure so that its error or panic leaves nothing behind. Beside its result, it gives
/// the first error that the database itself gave.
pub(crate) fn in_savepoint<T, E, F>(
    session: &dyn Session,
    reach: Reach<'_>,
    work: F,
) -> (Result<T, E>, Option<StoreError>)
where
    E: From<StoreError>,
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
{
    if let Err(error) = session.step(Step::Mark) {
        return (Err(error.clone().into()), Some(error));
    }
    let (result, failure) = attempt(session, reach, work);
    if !session.is_open() {
        return (result, failure);
    }
    let ended = match &result {
        Ok(_) => session.step(Step::Keep),
        Err(_) => session.step(Step::Undo),
    };
    if let Err(error) = ended {
        // What this closure did cannot be told apart from the others' work any more.
        drop(session.step(Step::Abandon));
        return (Err(error.clone().into()), Some(error));
    }
    (result, failure)
}

/// Runs a closure that refuses before it writes: it needs no savepoint, which costs a copy of every
/// page that it changes. Should it fail with something written, nothing of the batch stands.
pub(crate) fn in_whole<T, E, F>(
    session: &dyn Session,
    reach: Reach<'_>,
    work: F,
) -> (Result<T, E>, Option<StoreError>)
where
    E: From<StoreError>,
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
{
    let Some(before) = session.changes() else {
        return in_savepoint(session, reach, work);
    };
    let (result, failure) = attempt(session, reach, work);
    if result.is_err() && session.is_open() && session.changes() != Some(before) {
        drop(session.step(Step::Abandon));
    }
    (result, failure)
}

/// Runs a closure; its panic is an error. Where the database has refused something, the closure
/// fails, whatever it made of that.
fn attempt<T, E, F>(
    session: &dyn Session,
    reach: Reach<'_>,
    work: F,
) -> (Result<T, E>, Option<StoreError>)
where
    E: From<StoreError>,
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
{
    let failure = OnceCell::new();
    let tx = Tx::new(session, reach, &failure);
    let mut result = catch_unwind(AssertUnwindSafe(|| work(&tx))).unwrap_or_else(|_| {
        Err(
            StoreError::Unavailable("a write stopped unexpectedly; the log says where".into())
                .into(),
        )
    });
    if let Err(error) = session.settle() {
        let _: Result<(), StoreError> = failure.set(error);
    }
    if let (Ok(_), Some(error)) = (&result, failure.get()) {
        result = Err(error.clone().into());
    }
    (result, failure.into_inner())
}

/// Runs and answers a batch; true if the transaction stands.
pub(crate) fn commit(session: &dyn Session, batch: Vec<Job>) -> bool {
    let mut outcome = session.step(Step::Begin);
    let mut replies = Vec::with_capacity(batch.len());
    for job in batch {
        let stands = outcome.clone();
        let ran = job(stands.map(|()| session));
        replies.push(ran.reply);
        if outcome.is_ok() && !session.is_open() {
            let unknown = || StoreError::Unavailable("the transaction was rolled back".into());
            outcome = Err(ran.failure.unwrap_or_else(unknown));
        }
    }
    let outcome = outcome
        .and_then(|()| session.place().write(session))
        .and_then(|()| session.step(Step::Commit));
    if let Err(error) = &outcome {
        tracing::error!(%error, "a transaction was not committed");
        if session.is_open() {
            drop(session.step(Step::Abandon));
        }
    }
    for reply in replies {
        reply(outcome.clone());
    }
    outcome.is_ok()
}

/// Answers a batch that is not run.
#[cfg(feature = "postgres")]
pub(crate) fn refuse(batch: Vec<Job>, error: &StoreError) {
    for job in batch {
        (job(Err(error.clone())).reply)(Err(error.clone()));
    }
}
