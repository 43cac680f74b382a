//! One writer thread, many readers.
//!
//! A write is a closure that the writer's thread runs (see the `writer` module) and that is
//! answered after the fsync. A read is a closure over one reader's view of the last commit.

use std::cell::OnceCell;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use matrix_core::Scope;
use tokio::sync::oneshot;

use crate::age::{Age, refuse_newer};
use crate::checkpoint::SqliteWriter;
use crate::error::StoreError;
use crate::meter::Commits;
#[cfg(feature = "postgres")]
use crate::postgres::{Address, PostgresOptions, PostgresSession, PostgresWriter, Readers};
use crate::session::{Session, Step};
use crate::sqlite::SqliteSession;
use crate::tx::{Reach, Tx};
pub use crate::writer::BATCH_MAX;
use crate::writer::{Company, Job, Ran, in_savepoint, in_whole};

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

/// A database, as far as its holder reaches. Cheap to clone.
///
/// As it is opened it reaches every tenant's runs and nothing else of theirs, which is what the
/// engine needs ([`Reach::Engine`]). Whoever acts for a caller narrows it with [`Self::within`].
#[derive(Debug, Clone)]
pub struct Database {
    shared: Arc<Shared>,
    scope: Option<Arc<Scope>>,
}

#[derive(Debug)]
struct Shared {
    backend: Backend,
    commits: Arc<Commits>,
}

#[derive(Debug)]
enum Backend {
    Sqlite {
        path: PathBuf,
        writer: Option<SqliteWriter>,
        readers: Pool<SqliteSession>,
    },
    #[cfg(feature = "postgres")]
    Postgres {
        writer: Option<PostgresWriter>,
        address: Box<Readers>,
        readers: Pool<PostgresSession>,
    },
}

/// Reading connections that nobody uses now.
#[derive(Debug)]
pub(crate) struct Pool<S>(Mutex<Vec<S>>);

impl<S> Pool<S> {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    pub(crate) fn take(&self) -> Option<S> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    pub(crate) fn put(&self, reader: S) {
        let mut readers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if readers.len() < READERS_MAX {
            readers.push(reader);
        }
    }
}

impl Database {
    /// How old the tables of a database file are. Whoever reads older ones finds columns missing.
    pub fn age(path: &Path) -> Result<Age, StoreError> {
        SqliteSession::for_reading(path)?.age()
    }

    /// Opens the database file, creating and migrating it as the host. Tables of a newer program
    /// are refused.
    pub fn open(path: &Path, mode: OpenMode) -> Result<Self, StoreError> {
        let commits = Arc::<Commits>::default();
        let writer = match mode {
            OpenMode::Host => Some(SqliteWriter::start(path, &commits)?),
            OpenMode::ReadOnly => None,
        };
        let readers = Pool::new();
        let reader = SqliteSession::for_reading(path)?;
        refuse_newer(reader.age()?)?;
        readers.put(reader);
        let backend = Backend::Sqlite {
            path: path.to_owned(),
            writer,
            readers,
        };
        Ok(Self::over(backend, commits))
    }

    /// Opens a database that was migrated ([`crate::postgres::migrate`]) for reading and writing,
    /// beside other processes that do the same. Blocks until it is reached; refuses a server that
    /// is too old, tables of another version, and a login that could see past its tenant.
    #[cfg(feature = "postgres")]
    pub fn connect(options: &PostgresOptions) -> Result<Self, StoreError> {
        let commits = Arc::<Commits>::default();
        let backend = Backend::Postgres {
            writer: Some(PostgresWriter::start(options, &commits)?),
            address: Box::new(Readers::new(&options.address)?),
            readers: Pool::new(),
        };
        Ok(Self::over(backend, commits))
    }

    /// [`Self::connect`] for reading only. Blocks until the server is reached.
    #[cfg(feature = "postgres")]
    pub fn connect_for_reading(address: &Address) -> Result<Self, StoreError> {
        let address = Box::new(Readers::new(address)?);
        let readers = Pool::new();
        readers.put(address.open()?);
        let backend = Backend::Postgres {
            writer: None,
            address,
            readers,
        };
        Ok(Self::over(backend, Arc::default()))
    }

    fn over(backend: Backend, commits: Arc<Commits>) -> Self {
        Self {
            shared: Arc::new(Shared { backend, commits }),
            scope: None,
        }
    }

    /// The same database for one tenant: every closure runs within that scope.
    #[must_use]
    pub fn within(&self, scope: &Scope) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            scope: Some(Arc::new(scope.clone())),
        }
    }

    /// How many transactions the writer has committed.
    pub fn commits(&self) -> u64 {
        self.shared.commits.stood.get()
    }

    /// What is counted of the writer's transactions.
    pub fn meter(&self) -> &Commits {
        &self.shared.commits
    }

    /// Runs a closure in the writer's next transaction and answers after its fsync. A closure
    /// that gives an error leaves nothing behind.
    pub async fn write<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let run = move |session: &dyn Session, reach: Reach<'_>| in_savepoint(session, reach, work);
        self.carry(Company::Any, run).await
    }

    /// [`Self::write`] for rows that closures of other processes change, too: nothing else is in the
    /// transaction, so that rows are locked in the closure's own order and no two processes wait for
    /// each other. Where there is one process it is [`Self::write`].
    pub async fn write_alone<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let run = move |session: &dyn Session, reach: Reach<'_>| in_savepoint(session, reach, work);
        self.carry(Company::None, run).await
    }

    /// [`Self::write`] for a closure that gives an error only before it has written anything; that
    /// is cheaper. Where its last statements fail nonetheless, nothing of the whole transaction
    /// stands, and everybody in it hears so.
    pub async fn write_whole<T, E, F>(&self, work: F) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        F: FnOnce(&Tx<'_>) -> Result<T, E> + Send + 'static,
    {
        let run = move |session: &dyn Session, reach: Reach<'_>| in_whole(session, reach, work);
        self.carry(Company::Any, run).await
    }

    async fn carry<T, E, R>(&self, company: Company, run: R) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        R: FnOnce(&dyn Session, Reach<'_>) -> (Result<T, E>, Option<StoreError>) + Send + 'static,
    {
        let (reply, answer) = oneshot::channel::<Result<T, E>>();
        let scope = self.scope.clone();
        let job: Job = Box::new(move |session| {
            let (result, failure) = match session {
                Ok(session) => run(session, reach(scope.as_deref())),
                Err(error) => (Err(E::from(error)), None),
            };
            let reply = Box::new(move |commit: Result<(), StoreError>| {
                // The asker may have gone; its write stands or falls without it.
                drop(reply.send(commit.map_err(E::from).and(result)));
            });
            Ran { reply, failure }
        });
        let closed = || StoreError::Unavailable("the writer has stopped".into());
        if !self.shared.backend.send(job, company)? {
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
        let reach = reach(self.scope.as_deref());
        match &self.shared.backend {
            Backend::Sqlite { path, readers, .. } => {
                let reader = match readers.take() {
                    Some(reader) => reader,
                    None => SqliteSession::for_reading(path)?,
                };
                let (result, ended) = view(&reader, reach, work)?;
                if ended {
                    readers.put(reader);
                }
                result
            }
            #[cfg(feature = "postgres")]
            Backend::Postgres {
                address, readers, ..
            } => {
                let usable = std::iter::from_fn(|| readers.take()).find(Readers::is_usable);
                let reader = match usable {
                    Some(reader) => reader,
                    None => address.open()?,
                };
                let (result, ended) = view(&reader, reach, work)?;
                if ended {
                    readers.put(reader);
                }
                result
            }
        }
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
}

impl Backend {
    /// Queues a job; false means that the writer has ended.
    #[cfg_attr(
        not(feature = "postgres"),
        expect(unused_variables, reason = "one process writes alone")
    )]
    fn send(&self, job: Job, company: Company) -> Result<bool, StoreError> {
        let read_only = || StoreError::Unavailable("opened for reading only".into());
        match self {
            Self::Sqlite { writer, .. } => {
                let writer = writer.as_ref().ok_or_else(read_only)?;
                Ok(writer.send(job))
            }
            #[cfg(feature = "postgres")]
            Self::Postgres { writer, .. } => {
                let writer = writer.as_ref().ok_or_else(read_only)?;
                Ok(writer.send(job, company))
            }
        }
    }
}

fn reach(scope: Option<&Scope>) -> Reach<'_> {
    scope.map_or(Reach::Engine, Reach::Tenant)
}

/// Runs a closure on one view. Beside its result: whether the view ended well.
fn view<T, E, F>(
    session: &dyn Session,
    reach: Reach<'_>,
    work: F,
) -> Result<(Result<T, E>, bool), StoreError>
where
    F: FnOnce(&Tx<'_>) -> Result<T, E>,
{
    session.step(Step::Begin)?;
    let failure = OnceCell::new();
    let result = work(&Tx::new(session, reach, &failure));
    // A view that does not end takes its connection with it. The error of the work is what the
    // asker hears, not that there was nothing left to end.
    let ended = session.step(Step::Commit);
    if let Err(error) = &ended {
        tracing::warn!(%error, "a reader's view did not end");
    }
    Ok((result, ended.is_ok()))
}
