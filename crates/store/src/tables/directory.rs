//! The data directory whose files belong to this database: one, from the first host on.

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const CLAIM: Statement = Statement::new(
    "directory.claim",
    "INSERT INTO directory (one, id) VALUES (1, $1) ON CONFLICT (one) DO NOTHING",
);
const GET: Statement = Statement::new("directory.get", "SELECT id FROM directory");

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[CLAIM, GET];

/// Records a data directory's id unless another's is recorded; gives the one that is.
pub fn claim(tx: &Tx<'_>, id: &str) -> Result<String, StoreError> {
    tx.require_engine("the data directory's id")?;
    tx.execute(&CLAIM, params![id])?;
    get(tx)?.ok_or_else(|| StoreError::corrupt("the data directory's id"))
}

/// The id of the data directory, if there was a host.
pub fn get(tx: &Tx<'_>) -> Result<Option<String>, StoreError> {
    tx.require_engine("the data directory's id")?;
    tx.query_one(&GET, params![])?
        .map(|row| row.get(0))
        .transpose()
}
