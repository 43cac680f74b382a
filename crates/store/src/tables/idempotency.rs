//! Requests made with an idempotency key, and the run that each of them started.

use matrix_core::{Caller, Digest, RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const RECORD: Statement = Statement::new(
    "idempotency.record",
    "INSERT INTO idempotency
         (organisation, workspace, principal, key, request, worker, run, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (organisation, workspace, principal, key) DO UPDATE
         SET request = $5, worker = $6, run = $7, created_at = $8
         WHERE idempotency.run IS NULL OR idempotency.created_at < $9",
);
const GET: Statement = Statement::new(
    "idempotency.get",
    "SELECT request, worker, run, created_at FROM idempotency
     WHERE organisation = $1 AND workspace = $2 AND principal = $3 AND key = $4",
);
const PRUNE: Statement = Statement::new(
    "idempotency.prune",
    "DELETE FROM idempotency WHERE (organisation, workspace, principal, key) IN
         (SELECT organisation, workspace, principal, key FROM idempotency
          WHERE organisation = $1 AND workspace = $2 AND created_at < $3
          ORDER BY created_at LIMIT $4)",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[RECORD, GET, PRUNE];

/// A request made with a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRow {
    /// SHA-256 of the request.
    pub request: Digest,
    /// The process that carried it out.
    pub worker: String,
    /// The run it started. Only rows of a time when keys were taken before their run have none.
    pub run: Option<RunId>,
    /// When it was made.
    pub created_at: Timestamp,
}

/// Records which run a caller's request started, in the transaction that creates the run. False if
/// the caller has used the key since `forgotten`; nothing is changed then.
pub fn record(
    tx: &Tx<'_>,
    caller: &Caller,
    key: &str,
    row: &KeyRow,
    forgotten: Timestamp,
) -> Result<bool, StoreError> {
    let (scope, principal) = (&caller.scope, caller.principal.to_string());
    let params = params![
        &scope.organisation,
        &scope.workspace,
        &principal,
        key,
        &row.request,
        &row.worker,
        row.run.as_ref(),
        row.created_at,
        forgotten
    ];
    tx.within(scope, |tx| {
        if let Some(run) = row.run {
            tx.require_run(run)?;
        }
        Ok(tx.execute(&RECORD, params)? == 1)
    })
}

/// What a caller's key was used for.
pub fn get(tx: &Tx<'_>, caller: &Caller, key: &str) -> Result<Option<KeyRow>, StoreError> {
    let (scope, principal) = (&caller.scope, caller.principal.to_string());
    let params = params![&scope.organisation, &scope.workspace, &principal, key];
    tx.within(scope, |tx| {
        tx.query_one(&GET, params)?
            .map(|row| {
                Ok(KeyRow {
                    request: row.get(0)?,
                    worker: row.get(1)?,
                    run: row.get(2)?,
                    created_at: row.get(3)?,
                })
            })
            .transpose()
    })
}

/// Forgets at most `limit` of the keys that were used in a scope before a time, oldest first.
pub fn prune(tx: &Tx<'_>, scope: &Scope, before: Timestamp, limit: i64) -> Result<u64, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, before, limit];
    tx.within(scope, |tx| tx.execute(&PRUNE, params))
}
