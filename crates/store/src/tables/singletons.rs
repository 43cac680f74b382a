//! Which run was the last of a name that only one may have at a time.

use matrix_core::{RunId, Scope};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

/// Makes the row that is locked, if nobody did.
const MAKE: Statement = Statement::new(
    "singletons.make",
    "INSERT INTO singletons (organisation, workspace, name, run) VALUES ($1, $2, $3, NULL)
     ON CONFLICT (organisation, workspace, name) DO NOTHING",
);
const LOCK: Statement = Statement::new(
    "singletons.lock",
    "SELECT run FROM singletons WHERE organisation = $1 AND workspace = $2 AND name = $3",
)
.on_postgres(
    "SELECT run FROM singletons WHERE organisation = $1 AND workspace = $2 AND name = $3
     FOR NO KEY UPDATE",
);
const SET: Statement = Statement::new(
    "singletons.set",
    "INSERT INTO singletons (organisation, workspace, name, run) VALUES ($1, $2, $3, $4)
     ON CONFLICT (organisation, workspace, name) DO UPDATE SET run = $4",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[MAKE, LOCK, SET];

/// The last run of a tenant's name, if there was one. Nobody else is answered for this name before
/// the transaction ends.
pub fn lock(tx: &Tx<'_>, scope: &Scope, name: &str) -> Result<Option<RunId>, StoreError> {
    tx.require_engine("singletons")?;
    let params = params![&scope.organisation, &scope.workspace, name];
    tx.execute(&MAKE, params)?;
    tx.query_one(&LOCK, params)?
        .map_or(Ok(None), |row| row.get(0))
}

/// From now on this run is the last of the name.
pub fn set(tx: &Tx<'_>, scope: &Scope, name: &str, run: RunId) -> Result<(), StoreError> {
    tx.require_engine("singletons")?;
    let params = params![&scope.organisation, &scope.workspace, name, &run];
    tx.execute(&SET, params).map(drop)
}
