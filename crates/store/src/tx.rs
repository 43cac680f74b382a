//! What a table module is given: a transaction, or a reader's view of one moment, for a reach.

use std::cell::OnceCell;

use matrix_core::{RunId, Scope};

use crate::error::StoreError;
use crate::params;
use crate::session::{Session, Walls};
use crate::sql::{Param, Row, Statement};

/// How far a transaction's statements reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach<'a> {
    /// Every tenant's runs with their journals, messages and questions, and nothing else of theirs:
    /// what the engine needs.
    Engine,
    /// Everything of one tenant and nothing of another.
    Tenant(&'a Scope),
}

const OWNS_RUN: Statement = Statement::new(
    "runs.owned",
    "SELECT 1 FROM runs WHERE run = $1 AND organisation = $2 AND workspace = $3",
);

const SCOPE_OF_RUN: Statement = Statement::new(
    "runs.scope",
    "SELECT organisation, workspace FROM runs WHERE run = $1",
);

/// The statements by which reaches are kept.
pub(crate) const STATEMENTS: &[Statement] = &[OWNS_RUN, SCOPE_OF_RUN];

/// A transaction, or a reader's view of one moment.
pub struct Tx<'a> {
    session: &'a dyn Session,
    reach: Reach<'a>,
    /// The first error the database gave, for those who share the transaction.
    failure: &'a OnceCell<StoreError>,
}

impl std::fmt::Debug for Tx<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tx").field("reach", &self.reach).finish()
    }
}

impl<'a> Tx<'a> {
    pub(crate) fn new(
        session: &'a dyn Session,
        reach: Reach<'a>,
        failure: &'a OnceCell<StoreError>,
    ) -> Self {
        Self {
            session,
            reach,
            failure,
        }
    }

    fn noting<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| {
            // The first one counts; the others follow from it.
            let _: Result<(), StoreError> = self.failure.set(error.clone());
        })
    }

    /// Executes a statement and gives the number of rows it changed.
    pub fn execute(&self, statement: &Statement, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let checked = check(statement, params);
        self.noting(checked.and_then(|()| self.session.execute(self.reach, statement, params)))
    }

    /// Executes a statement whose number of rows nobody asks for. A database behind a socket may
    /// answer with the next statement, so its error may be that one's, or the whole closure's.
    pub fn send(&self, statement: &Statement, params: &[Param<'_>]) -> Result<(), StoreError> {
        let checked = check(statement, params);
        self.noting(checked.and_then(|()| self.session.send(self.reach, statement, params)))
    }

    /// All rows of a query; every query that can grow has a limit of its own.
    pub fn query(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let checked = check(statement, params);
        self.noting(checked.and_then(|()| self.session.query(self.reach, statement, params)))
    }

    /// The first row of a query, if there is one.
    pub fn query_one(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, params)?.into_iter().next())
    }

    /// Goes on for one tenant. A transaction for a tenant is never turned to another.
    pub fn within<T, E: From<StoreError>>(
        &self,
        scope: &Scope,
        work: impl FnOnce(&Tx<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        match self.reach {
            Reach::Tenant(own) if own == scope => work(self),
            Reach::Tenant(own) => Err(StoreError::forbidden(format_args!(
                "what belongs to {}/{} from {}/{}",
                scope.organisation, scope.workspace, own.organisation, own.workspace
            ))
            .into()),
            Reach::Engine => work(&Tx {
                session: self.session,
                reach: Reach::Tenant(scope),
                failure: self.failure,
            }),
        }
    }

    /// The lock that a reading statement takes: whether this is a transaction that writes.
    pub(crate) fn writes(&self) -> bool {
        self.session.writes()
    }

    /// Whether rows of a scope are within reach.
    pub(crate) fn owns(&self, scope: &Scope) -> bool {
        match self.reach {
            Reach::Engine => true,
            Reach::Tenant(own) => own == scope,
        }
    }

    /// Whether a run is within reach. A database with walls of its own answers by giving no row.
    pub(crate) fn owns_run(&self, run: RunId) -> Result<bool, StoreError> {
        match (self.reach, self.session.walls()) {
            (Reach::Tenant(own), Walls::Ours) => {
                let params = params![&run, &own.organisation, &own.workspace];
                Ok(self.query_one(&OWNS_RUN, params)?.is_some())
            }
            _ => Ok(true),
        }
    }

    /// Refuses rows of a scope out of reach.
    pub(crate) fn require_scope(&self, scope: &Scope) -> Result<(), StoreError> {
        if self.owns(scope) {
            return Ok(());
        }
        Err(StoreError::forbidden(format_args!(
            "what belongs to {}/{}",
            scope.organisation, scope.workspace
        )))
    }

    /// Refuses what belongs to a run out of reach.
    pub(crate) fn require_run(&self, run: RunId) -> Result<(), StoreError> {
        if self.owns_run(run)? {
            return Ok(());
        }
        Err(StoreError::forbidden(format_args!("what belongs to {run}")))
    }

    /// Goes on for the tenant of a run; nothing where the run is out of reach.
    pub(crate) fn within_run<T>(
        &self,
        run: RunId,
        work: impl FnOnce(&Tx<'_>) -> Result<T, StoreError>,
    ) -> Result<Option<T>, StoreError> {
        match self.reach {
            Reach::Tenant(_) if self.owns_run(run)? => work(self).map(Some),
            Reach::Tenant(_) => Ok(None),
            Reach::Engine => {
                let Some(row) = self.query_one(&SCOPE_OF_RUN, params![&run])? else {
                    return Ok(None);
                };
                let scope = Scope {
                    organisation: row.get(0)?,
                    workspace: row.get(1)?,
                };
                self.within(&scope, work).map(Some)
            }
        }
    }

    /// Refuses a tenant what is done across tenants.
    pub(crate) fn require_engine(&self, what: &str) -> Result<(), StoreError> {
        match self.reach {
            Reach::Engine => Ok(()),
            Reach::Tenant(_) => Err(StoreError::forbidden(format_args!("{what} of all tenants"))),
        }
    }

    /// The next position in the order in which entries are committed: `(shard, lsn)`. Whoever was
    /// given one holds the shard until the transaction ends, so a reader who has seen a position
    /// has seen every one before it.
    pub(crate) fn next_position(&self) -> Result<(i64, i64), StoreError> {
        let place = self.session.place();
        self.noting(place.next(self.session, self.reach))
    }
}

/// PostgreSQL keeps no text with a zero byte, so no database does.
fn check(statement: &Statement, params: &[Param<'_>]) -> Result<(), StoreError> {
    let zero = |param: &Param<'_>| matches!(param, Param::Text(text) if text.contains('\0'));
    if params.iter().any(zero) {
        let text = format!("{}: text with a zero byte", statement.name);
        return Err(StoreError::Conflict(text));
    }
    Ok(())
}
