//! PostgreSQL as a [`Session`]: one connection whose statements travel together where they can.
//!
//! Every statement is sent at once, but an answer is waited for only when somebody needs it. The
//! beginning of a transaction, marks, changes of the role and rows whose number nobody asks for go
//! ahead; their answers come before that of the next statement, and an error among them is that
//! statement's error.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use futures::TryStreamExt;
use matrix_core::Scope;
use tokio_postgres::{Client, Error};

use crate::error::StoreError;
use crate::postgres::Address;
use crate::postgres::connect::admit;
use crate::postgres::drive::{ANSWER_MAX, Driver};
use crate::postgres::value::{self, Kept};
use crate::session::{Place, Session, Step, Walls};
use crate::sql::{Param, Row, Statement};
use crate::tx::Reach;

/// The database's answer to a statement.
type Answer = Pin<Box<dyn Future<Output = Result<(), Error>> + Send>>;

/// A statement that was sent and whose answer was not looked at.
struct Early {
    answer: Option<Answer>,
    error: Option<Error>,
}

impl Early {
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let Some(answer) = &mut self.answer else {
            return Poll::Ready(());
        };
        match answer.as_mut().poll(context) {
            Poll::Ready(result) => {
                self.answer = None;
                self.error = result.err();
                Poll::Ready(())
            }
            Poll::Pending => Poll::Pending,
        }
    }
}

/// A statement by where its text stands, and whether it is prepared for a tenant: a plan belongs
/// to the role that made it.
type Key = (usize, usize, bool);

/// A connection that writes, or one that reads.
pub(crate) struct PostgresSession {
    client: Arc<Client>,
    driver: Driver,
    prepared: RefCell<HashMap<Key, tokio_postgres::Statement>>,
    /// [`TURN`], prepared.
    turn: tokio_postgres::Statement,
    early: RefCell<Vec<Early>>,
    /// For whom the server runs statements now; none is the engine.
    tenant: RefCell<Option<Arc<Scope>>>,
    /// The same at the mark, to which an undoing returns.
    marked: RefCell<Option<Arc<Scope>>>,
    /// A mark is left over that the next one takes the place of.
    left_mark: Cell<bool>,
    open: Cell<bool>,
    lost: Cell<bool>,
    writes: bool,
    place: Place,
}

impl std::fmt::Debug for PostgresSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PostgresSession")
            .field("writes", &self.writes)
            .field("lost", &self.lost)
            .finish_non_exhaustive()
    }
}

/// Takes the first shard that no other committer holds, for as long as the connection stands.
const TAKE_SHARD: &str = "
    SELECT shard::BIGINT FROM generate_series(0, 1023) shard
    WHERE pg_try_advisory_lock(7223915, shard) LIMIT 1";
const MAKE_SHARD: &str =
    "INSERT INTO shards (shard, lsn) VALUES ($1, 0) ON CONFLICT (shard) DO NOTHING";

impl PostgresSession {
    /// Connects for writing, with a shard of its own.
    pub(crate) fn for_writing(address: &Address, driver: Driver) -> Result<Self, StoreError> {
        let client = address.connect(&driver)?;
        let take = async {
            admit(&client).await?;
            // The committer's statements are few and go by keys; making a plan each time costs
            // more than it could gain.
            client
                .batch_execute("SET plan_cache_mode TO force_generic_plan")
                .await?;
            let shard: i64 = client.query_one(TAKE_SHARD, &[]).await?.try_get(0)?;
            client.execute(MAKE_SHARD, &[&shard]).await?;
            Ok::<_, StoreError>((shard, client.prepare(TURN).await?))
        };
        let (shard, turn) = driver.wait(take, ANSWER_MAX).ok_or_else(silent)??;
        tracing::debug!(shard, "the database is connected");
        Ok(Self::new(client, driver, turn, Some(shard)))
    }

    /// Connects for reading.
    pub(crate) fn for_reading(address: &Address, driver: Driver) -> Result<Self, StoreError> {
        let client = address.connect(&driver)?;
        let admitted = async {
            admit(&client).await?;
            Ok::<_, StoreError>(client.prepare(TURN).await?)
        };
        let turn = driver.wait(admitted, ANSWER_MAX).ok_or_else(silent)??;
        Ok(Self::new(client, driver, turn, None))
    }

    /// Only a connection with a shard writes.
    fn new(
        client: Client,
        driver: Driver,
        turn: tokio_postgres::Statement,
        shard: Option<i64>,
    ) -> Self {
        Self {
            client: Arc::new(client),
            driver,
            prepared: RefCell::default(),
            turn,
            early: RefCell::default(),
            tenant: RefCell::default(),
            marked: RefCell::default(),
            left_mark: Cell::new(false),
            open: Cell::new(false),
            lost: Cell::new(false),
            writes: shard.is_some(),
            place: Place::of_shard(shard.unwrap_or(0)),
        }
    }

    /// Whether the connection is of no use any more.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.get() || self.client.is_closed()
    }

    /// Sends something whose answer is looked at later.
    fn ahead(&self, answer: impl Future<Output = Result<(), Error>> + Send + 'static) {
        let mut early = Early {
            answer: Some(Box::pin(answer)),
            error: None,
        };
        // The first poll sends it; who waits for a later answer polls it again.
        let _: Poll<()> = early.poll(&mut Context::from_waker(Waker::noop()));
        self.early.borrow_mut().push(early);
    }

    fn batch_ahead(&self, sql: &'static str) {
        let client = Arc::clone(&self.client);
        self.ahead(async move { client.batch_execute(sql).await });
    }

    /// Waits for an answer and for every one before it.
    fn wait<T>(&self, answer: impl Future<Output = Result<T, Error>>) -> Result<T, StoreError> {
        let mut early = std::mem::take(&mut *self.early.borrow_mut());
        let all = async {
            let mut answer = pin!(answer);
            let mut found = None;
            poll_fn(|context| {
                let mut pending = false;
                for one in &mut early {
                    pending |= one.poll(context).is_pending();
                }
                if found.is_none() {
                    match answer.as_mut().poll(context) {
                        Poll::Ready(result) => found = Some(result),
                        Poll::Pending => pending = true,
                    }
                }
                if pending {
                    Poll::Pending
                } else {
                    Poll::Ready(())
                }
            })
            .await;
            found
        };
        let waited = self.driver.wait(all, ANSWER_MAX);
        let Some(Some(result)) = waited else {
            self.lost.set(true);
            return Err(silent());
        };
        let first = early.into_iter().find_map(|one| one.error);
        match first.map_or(result, Err) {
            Ok(value) => Ok(value),
            Err(error) => {
                if self.client.is_closed() || error.is_closed() {
                    self.lost.set(true);
                }
                Err(error.into())
            }
        }
    }

    /// Lets the following statements run for a reach.
    fn stand(&self, reach: Reach<'_>) {
        let same = match (reach, &*self.tenant.borrow()) {
            (Reach::Engine, None) => true,
            (Reach::Tenant(wanted), Some(now)) => **now == *wanted,
            _ => false,
        };
        if same {
            return;
        }
        let (role, scope) = match reach {
            Reach::Engine => ("matrix_engine", None),
            Reach::Tenant(scope) => ("matrix_app", Some(Arc::new(scope.clone()))),
        };
        self.tenant.replace(scope.clone());
        let (client, turn) = (Arc::clone(&self.client), self.turn.clone());
        self.ahead(async move {
            let (organisation, workspace) = scope.as_ref().map_or(("", ""), |scope| {
                (scope.organisation.as_str(), scope.workspace.as_str())
            });
            let params = [role, organisation, workspace].map(Param::Text);
            client.execute_raw(&turn, params).await.map(drop)
        });
    }

    /// The prepared statement; it is prepared when it is used for the first time.
    fn prepare(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
    ) -> Result<tokio_postgres::Statement, StoreError> {
        let sql = statement.postgres;
        let key = (
            sql.as_ptr() as usize,
            sql.len(),
            matches!(reach, Reach::Tenant(_)),
        );
        if let Some(prepared) = self.prepared.borrow().get(&key) {
            return Ok(prepared.clone());
        }
        let prepared = self.wait(self.client.prepare(sql))?;
        self.prepared.borrow_mut().insert(key, prepared.clone());
        Ok(prepared)
    }
}

/// Sets role and tenant until the transaction ends, or is undone to a mark before.
const TURN: &str = "SELECT set_config('role', $1, true),
                           set_config('matrix.organisation', $2, true),
                           set_config('matrix.workspace', $3, true)";

fn silent() -> StoreError {
    StoreError::Unavailable("the database does not answer".into())
}

impl Session for PostgresSession {
    fn execute(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<u64, StoreError> {
        self.stand(reach);
        let prepared = self.prepare(reach, statement)?;
        self.wait(self.client.execute_raw(&prepared, params.iter()))
    }

    fn send(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<(), StoreError> {
        self.stand(reach);
        let prepared = self.prepare(reach, statement)?;
        let kept: Vec<Kept> = params.iter().map(Kept::of).collect();
        let client = Arc::clone(&self.client);
        self.ahead(async move { client.execute_raw(&prepared, kept).await.map(drop) });
        Ok(())
    }

    fn query(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.stand(reach);
        let prepared = self.prepare(reach, statement)?;
        let rows: Vec<tokio_postgres::Row> = self.wait(async {
            self.client
                .query_raw(&prepared, params.iter())
                .await?
                .try_collect()
                .await
        })?;
        rows.iter().map(|row| value::row(statement, row)).collect()
    }

    fn settle(&self) -> Result<(), StoreError> {
        if self.early.borrow().is_empty() {
            return Ok(());
        }
        self.wait(std::future::ready(Ok(())))
    }

    fn step(&self, step: Step) -> Result<(), StoreError> {
        self.place.follow(step);
        if self.is_lost() {
            self.lost.set(true);
            self.open.set(false);
            return Err(StoreError::Unavailable(
                "the connection to the database was lost".into(),
            ));
        }
        match step {
            Step::Begin => {
                self.batch_ahead(if self.writes {
                    "BEGIN"
                } else {
                    "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
                });
                self.left_mark.set(false);
                self.open.set(true);
            }
            Step::Mark => {
                self.batch_ahead(if self.left_mark.get() {
                    "RELEASE SAVEPOINT job; SAVEPOINT job"
                } else {
                    "SAVEPOINT job"
                });
                let now = self.tenant.borrow().clone();
                self.marked.replace(now);
            }
            Step::Keep => self.left_mark.set(true),
            Step::Undo => {
                self.batch_ahead("ROLLBACK TO SAVEPOINT job");
                self.left_mark.set(true);
                let then = self.marked.borrow().clone();
                self.tenant.replace(then);
            }
            Step::Commit | Step::Abandon => {
                self.open.set(false);
                self.tenant.replace(None);
                match step {
                    Step::Commit if self.writes => {
                        return self.wait(self.client.batch_execute("COMMIT"));
                    }
                    // Nothing hangs on how a view ends.
                    Step::Commit => self.batch_ahead("COMMIT"),
                    _ => self.batch_ahead("ROLLBACK"),
                }
            }
        }
        Ok(())
    }

    fn changes(&self) -> Option<u64> {
        None
    }

    fn is_open(&self) -> bool {
        self.open.get() && !self.is_lost()
    }

    fn writes(&self) -> bool {
        self.writes
    }

    fn walls(&self) -> Walls {
        Walls::Database
    }

    fn place(&self) -> &Place {
        &self.place
    }
}
