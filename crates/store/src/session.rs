//! One connection in a transaction: what the statement layer asks of a database.
//!
//! There are two adapters, SQLite and PostgreSQL. Above this port nothing knows which one it is,
//! but for [`Walls`]: PostgreSQL keeps tenants apart by row-level security, and where a database
//! does not, the table modules look for themselves.

use std::cell::Cell;

use crate::error::StoreError;
use crate::params;
use crate::sql::{Param, Row, Statement};
use crate::tx::Reach;

/// Who keeps one tenant from another's rows when a statement names a row by its id alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Walls {
    /// The table module does.
    Ours,
    /// The database does.
    #[cfg(feature = "postgres")]
    Database,
}

/// A step of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Begins it.
    Begin,
    /// Marks where a closure begins.
    Mark,
    /// Keeps what was done since the mark.
    Keep,
    /// Takes back what was done since the mark.
    Undo,
    /// Makes everything durable.
    Commit,
    /// Takes everything back.
    Abandon,
}

/// A connection; see the module.
pub(crate) trait Session {
    /// Executes a statement and gives the number of rows it changed.
    fn execute(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<u64, StoreError>;

    /// Executes a statement whose answer may come with that of a later one.
    fn send(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<(), StoreError>;

    /// All rows of a query.
    fn query(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError>;

    /// Waits for every answer that has not come yet and gives the first error among them.
    fn settle(&self) -> Result<(), StoreError>;

    /// Takes a step.
    fn step(&self, step: Step) -> Result<(), StoreError>;

    /// How many rows this connection has changed, if an error of one statement leaves what the others
    /// of the transaction did.
    fn changes(&self) -> Option<u64>;

    /// Whether there is a transaction; a database may have ended it by itself.
    fn is_open(&self) -> bool;

    /// Whether this connection writes.
    fn writes(&self) -> bool;

    /// Who keeps tenants apart.
    fn walls(&self) -> Walls;

    /// Where the next journal entry of this transaction is placed.
    fn place(&self) -> &Place;
}

const SHARD: Statement = Statement::new("shards.lsn", "SELECT lsn FROM shards WHERE shard = $1")
    .on_postgres("SELECT lsn FROM shards WHERE shard = $1 FOR NO KEY UPDATE");
const MOVE_SHARD: Statement =
    Statement::new("shards.move", "UPDATE shards SET lsn = $2 WHERE shard = $1");

/// Every statement of the table of shards.
pub(crate) const STATEMENTS: &[Statement] = &[SHARD, MOVE_SHARD];

/// Positions of journal entries. The shard's row is read (and locked) by the first entry of a
/// transaction and written once, before the commit; between them the numbers are counted here.
#[derive(Debug)]
pub(crate) struct Place {
    shard: i64,
    newest: Cell<Option<i64>>,
    /// What `newest` was at the mark: a lock that is taken after it is lost when it is undone.
    marked: Cell<Option<i64>>,
    moved: Cell<bool>,
}

impl Place {
    /// Entries of this connection go to a shard.
    pub(crate) fn of_shard(shard: i64) -> Self {
        Self {
            shard,
            newest: Cell::new(None),
            marked: Cell::new(None),
            moved: Cell::new(false),
        }
    }

    /// The next position.
    pub(crate) fn next(
        &self,
        session: &dyn Session,
        reach: Reach<'_>,
    ) -> Result<(i64, i64), StoreError> {
        let newest = match self.newest.get() {
            Some(newest) => newest,
            None => session
                .query(reach, &SHARD, params![self.shard])?
                .first()
                .ok_or_else(|| StoreError::corrupt(format_args!("shard {}", self.shard)))?
                .get(0)?,
        };
        let next = newest + 1;
        self.newest.set(Some(next));
        self.moved.set(true);
        Ok((self.shard, next))
    }

    /// Writes the shard's row, if the transaction placed an entry.
    pub(crate) fn write(&self, session: &dyn Session) -> Result<(), StoreError> {
        match self.newest.get() {
            Some(newest) if self.moved.get() => {
                session.send(Reach::Engine, &MOVE_SHARD, params![self.shard, newest])
            }
            _ => Ok(()),
        }
    }

    /// Follows the transaction.
    pub(crate) fn follow(&self, step: Step) {
        match step {
            Step::Begin | Step::Commit | Step::Abandon => {
                self.newest.set(None);
                self.moved.set(false);
            }
            Step::Mark => self.marked.set(self.newest.get()),
            Step::Undo => {
                self.newest.set(self.marked.get());
                // A number counted before the mark is still to be written.
                self.moved.set(self.marked.get().is_some());
            }
            Step::Keep => {}
        }
    }
}
