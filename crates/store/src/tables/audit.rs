//! Who did what, written in the transaction of the act.

use matrix_core::{Caller, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const INSERT: Statement = Statement::new(
    "audit.insert",
    "INSERT INTO audit (at, organisation, workspace, actor, action, subject, detail)
     VALUES ($1, $2, $3, $4, $5, $6, $7)",
);
const LIST: Statement = Statement::new(
    "audit.list",
    "SELECT at, actor, action, subject, detail FROM audit
     WHERE organisation = $1 AND workspace = $2 ORDER BY id DESC LIMIT $3",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[INSERT, LIST];

/// One act.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Act {
    /// When.
    pub at: Timestamp,
    /// Who, as `user:name`.
    pub actor: String,
    /// The action's name.
    pub action: String,
    /// What it was done to.
    pub subject: String,
    /// More, as text without secrets.
    pub detail: String,
}

/// Records an act of a caller.
pub fn insert(
    tx: &Tx<'_>,
    caller: &Caller,
    at: Timestamp,
    action: &str,
    subject: &str,
    detail: &str,
) -> Result<(), StoreError> {
    let actor = caller.principal.to_string();
    let scope = &caller.scope;
    let params = params![
        at,
        &scope.organisation,
        &scope.workspace,
        &actor,
        action,
        subject,
        detail
    ];
    tx.within(scope, |tx| tx.send(&INSERT, params))
}

/// The newest acts in the caller's scope, newest first.
pub fn list(tx: &Tx<'_>, caller: &Caller, limit: u32) -> Result<Vec<Act>, StoreError> {
    let scope = &caller.scope;
    let params = params![&scope.organisation, &scope.workspace, i64::from(limit)];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?
            .iter()
            .map(|row| {
                Ok(Act {
                    at: row.get(0)?,
                    actor: row.get(1)?,
                    action: row.get(2)?,
                    subject: row.get(3)?,
                    detail: row.get(4)?,
                })
            })
            .collect()
    })
}
