//! Requests made with an idempotency key, and the run that each of them started.

use matrix_core::{Caller, Digest, RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const RESERVE: Statement = Statement::new(
    "idempotency.reserve",
    "INSERT INTO idempotency
         (organisation, workspace, principal, key, request, worker, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7)
     ON CONFLICT (organisation, workspace, principal, key) DO NOTHING",
);
const GET: Statement = Statement::new(
    "idempotency.get",
    "SELECT request, worker, run, created_at FROM idempotency
     WHERE organisation = $1 AND workspace = $2 AND principal = $3 AND key = $4",
);
const SETTLE: Statement = Statement::new(
    "idempotency.settle",
    "UPDATE idempotency SET run = $5
     WHERE organisation = $1 AND workspace = $2 AND principal = $3 AND key = $4",
);
const RELEASE: Statement = Statement::new(
    "idempotency.release",
    "DELETE FROM idempotency
     WHERE organisation = $1 AND workspace = $2 AND principal = $3 AND key = $4 AND run IS NULL",
);
const PRUNE: Statement = Statement::new(
    "idempotency.prune",
    "DELETE FROM idempotency WHERE rowid IN
         (SELECT rowid FROM idempotency WHERE created_at < $1 ORDER BY created_at LIMIT $2)",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[RESERVE, GET, SETTLE, RELEASE, PRUNE];

/// A request made with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// SHA-256 of the request.
    pub request: Digest,
    /// The process that carries it out, or did.
    pub worker: String,
    /// The run it started; none while it is under way.
    pub run: Option<RunId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Takes a caller's key for a request; false if the caller used it before.
pub fn reserve(
    tx: &Tx<'_>,
    caller: &Caller,
    key: &str,
    request: &Digest,
    worker: &str,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let (scope, principal) = (&caller.scope, caller.principal.to_string());
    let taken = tx.execute(
        &RESERVE,
        params![
            &scope.organisation,
            &scope.workspace,
            &principal,
            key,
            request,
            worker,
            at
        ],
    )?;
    Ok(taken == 1)
}

/// What a caller's key was used for.
pub fn get(tx: &Tx<'_>, caller: &Caller, key: &str) -> Result<Option<KeyRow>, StoreError> {
    let (scope, principal) = (&caller.scope, caller.principal.to_string());
    tx.query_one(
        &GET,
        params![&scope.organisation, &scope.workspace, &principal, key],
    )?
    .map(|row| {
        Ok(KeyRow {
            request: row.get(0)?,
            worker: row.get(1)?,
            run: row.get(2)?,
            created_at: row.get(3)?,
        })
    })
    .transpose()
}

/// Records the run that the request started.
pub fn settle(tx: &Tx<'_>, caller: &Caller, key: &str, run: RunId) -> Result<(), StoreError> {
    let (scope, principal) = (&caller.scope, caller.principal.to_string());
    tx.execute(
        &SETTLE,
        params![&scope.organisation, &scope.workspace, &principal, key, &run],
    )
    .map(drop)
}

/// Gives a key back whose request was refused.
pub fn release(tx: &Tx<'_>, caller: &Caller, key: &str) -> Result<(), StoreError> {
    let (scope, principal) = (&caller.scope, caller.principal.to_string());
    tx.execute(
        &RELEASE,
        params![&scope.organisation, &scope.workspace, &principal, key],
    )
    .map(drop)
}

/// Forgets at most `limit` of the keys used before a time, oldest first.
pub fn prune(tx: &Tx<'_>, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
    tx.execute(&PRUNE, params![before, limit])
}
