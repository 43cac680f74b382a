//! The thread through which everything is written.
//!
//! Its connection lives on the same thread and moves while the thread waits, for work or for an
//! answer, so that a connection that breaks while nothing is to be done is noticed at once.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use matrix_core::Clock;
use tokio::sync::mpsc;

use crate::error::StoreError;
use crate::meter::Commits;
use crate::params;
use crate::postgres::drive::Driver;
use crate::postgres::session::PostgresSession;
use crate::postgres::{Address, PostgresOptions};
use crate::session::{Session, Step};
use crate::sql::Statement;
use crate::tx::Reach;
use crate::writer::{Company, Job, refuse};

/// The most closures in one transaction. Each is a subtransaction, and the server keeps that many
/// of them at hand; with more, other sessions have to look theirs up.
const BATCH_MAX: usize = 64;

/// The longest time between two attempts to connect.
const BACK_OFF_MAX: Duration = Duration::from_secs(1);

/// Which months of the journal there are beside the present one: an id may be of a clock that is a
/// little behind, and the next month is there before it begins.
const MONTHS: std::ops::RangeInclusive<i64> = -1..=2;

const JOURNAL_MONTH: Statement = Statement::new("journal.month", "SELECT journal_month($1, $2)");

const DAY_MICROS: i64 = 86_400_000_000;

/// The writer of one process; dropping it ends it after what waits was written.
#[derive(Debug)]
pub(crate) struct PostgresWriter {
    jobs: Option<mpsc::UnboundedSender<(Job, Company)>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for PostgresWriter {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // See `writer::Queue`: the last handle may be dropped on the writer's own thread.
            if thread.thread().id() != std::thread::current().id() {
                drop(thread.join());
            }
        }
    }
}

impl PostgresWriter {
    /// Connects and starts the thread; a server that cannot be used is refused here. `commits`
    /// counts the transactions that stand.
    pub(crate) fn start(
        options: &PostgresOptions,
        commits: &Arc<Commits>,
    ) -> Result<Self, StoreError> {
        let address = options.address.clone();
        let (clock, commits) = (Arc::clone(&options.clock), Arc::clone(commits));
        let (jobs, queue) = mpsc::unbounded_channel();
        let (ready, opened) = std::sync::mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("committer".into())
            .spawn(move || match Committer::open(address, clock) {
                Ok(committer) => {
                    drop(ready.send(Ok(())));
                    committer.work(queue, &commits);
                }
                Err(error) => drop(ready.send(Err(error))),
            })?;
        let writer = Self {
            jobs: Some(jobs),
            thread: Some(thread),
        };
        let stopped = |_| StoreError::Unavailable("the writer did not start".into());
        opened.recv().map_err(stopped)??;
        Ok(writer)
    }

    /// Queues a job; false means that the thread has ended.
    pub(crate) fn send(&self, job: Job, company: Company) -> bool {
        self.jobs
            .as_ref()
            .is_some_and(|jobs| jobs.send((job, company)).is_ok())
    }
}

/// Jobs as transactions, in their order.
fn transactions(batch: Vec<(Job, Company)>) -> Vec<Vec<Job>> {
    let mut transactions: Vec<Vec<Job>> = Vec::new();
    let mut open = false;
    for (job, company) in batch {
        let joins = company == Company::Any;
        match transactions.last_mut().filter(|_| open && joins) {
            Some(last) => last.push(job),
            None => transactions.push(vec![job]),
        }
        open = joins;
    }
    transactions
}

struct Committer {
    address: Address,
    clock: Arc<dyn Clock>,
    driver: Driver,
    session: Option<PostgresSession>,
    /// How long to wait before the next attempt to connect; zero after one that worked.
    back_off: Duration,
    /// The day on which partitions were last made.
    day: Option<i64>,
}

impl Committer {
    fn open(address: Address, clock: Arc<dyn Clock>) -> Result<Self, StoreError> {
        let mut committer = Self {
            address,
            clock,
            driver: Driver::own()?,
            session: None,
            back_off: Duration::ZERO,
            day: None,
        };
        committer.session()?;
        Ok(committer)
    }

    fn work(mut self, mut queue: mpsc::UnboundedReceiver<(Job, Company)>, commits: &Commits) {
        loop {
            let mut batch = Vec::new();
            let next = self
                .driver
                .wait(queue.recv_many(&mut batch, BATCH_MAX), Duration::MAX);
            if next.unwrap_or(0) == 0 {
                return;
            }
            for transaction in transactions(batch) {
                match self.session() {
                    Ok(session) => commits.commit(session, transaction),
                    Err(error) => refuse(transaction, &error),
                }
            }
        }
    }

    /// The connection, made again where it was lost.
    fn session(&mut self) -> Result<&PostgresSession, StoreError> {
        if self.session.as_ref().is_some_and(PostgresSession::is_lost) {
            self.session = None;
        }
        let session = match self.session.take() {
            Some(session) => session,
            None => self.connect()?,
        };
        self.make_months(&session);
        Ok(self.session.insert(session))
    }

    fn connect(&mut self) -> Result<PostgresSession, StoreError> {
        if !self.back_off.is_zero() {
            let pause = std::future::pending::<()>();
            self.driver.wait(pause, self.back_off);
        }
        match PostgresSession::for_writing(&self.address, self.driver.clone()) {
            Ok(session) => {
                self.back_off = Duration::ZERO;
                Ok(session)
            }
            Err(error) => {
                let longer = self.back_off * 2;
                self.back_off = longer.clamp(Duration::from_millis(20), BACK_OFF_MAX);
                tracing::error!(%error, "the database cannot be reached");
                Err(error)
            }
        }
    }

    /// Makes the partitions of the months around now, once a day. Entries of a month that has none
    /// are kept in the rest, so a failure is not theirs.
    fn make_months(&mut self, session: &PostgresSession) {
        let now = self.clock.now().as_micros();
        let day = Some(now.div_euclid(DAY_MICROS));
        if self.day == day {
            return;
        }
        match make(session, now) {
            Ok(()) => self.day = day,
            Err(error) => tracing::warn!(%error, "the journal's next months were not made"),
        }
    }
}

fn make(session: &PostgresSession, now: i64) -> Result<(), StoreError> {
    session.step(Step::Begin)?;
    let made = MONTHS
        .map(|ahead| session.query(Reach::Engine, &JOURNAL_MONTH, params![now, ahead]))
        .find(Result::is_err);
    match made {
        Some(Err(error)) => {
            drop(session.step(Step::Abandon));
            Err(error)
        }
        _ => session.step(Step::Commit),
    }
}
