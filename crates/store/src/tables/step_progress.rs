//! How far the steps under way are, in their own words: beside the journal, not of it.

use matrix_core::{RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const SAY: Statement = Statement::new(
    "step_progress.say",
    "INSERT INTO step_progress (run, path, epoch, at, progress) VALUES ($1, $2, $3, $4, $5)
     ON CONFLICT (run, path) DO UPDATE SET epoch = $3, at = $4, progress = $5",
);
const LIST: Statement = Statement::new(
    "step_progress.list",
    "SELECT run, path, epoch, at, progress FROM step_progress WHERE run = $1 ORDER BY path LIMIT $2",
);
const REMOVE: Statement = Statement::new(
    "step_progress.remove",
    "DELETE FROM step_progress WHERE run = $1 AND path = $2",
);
const CLEAR: Statement = Statement::new(
    "step_progress.clear",
    "DELETE FROM step_progress WHERE run = $1",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[SAY, LIST, REMOVE, CLEAR];

/// How far one step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProgressRow {
    /// The run.
    pub run: RunId,
    /// The step's address.
    pub path: String,
    /// The epoch of the owner that said so; of another one it says nothing any more.
    pub epoch: i64,
    /// When it was said.
    pub at: Timestamp,
    /// JSON.
    pub progress: String,
}

/// Says how far a step is; the newest word counts.
pub fn say(tx: &Tx<'_>, row: &ProgressRow) -> Result<(), StoreError> {
    tx.require_run(row.run)?;
    let params = params![&row.run, &row.path, row.epoch, row.at, &row.progress];
    tx.execute(&SAY, params).map(drop)
}

/// How far the steps of a run are, by their addresses, at most `limit` of them.
pub fn list(tx: &Tx<'_>, run: RunId, limit: i64) -> Result<Vec<ProgressRow>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    tx.query(&LIST, params![&run, limit])?
        .iter()
        .map(|row| {
            Ok(ProgressRow {
                run: row.get(0)?,
                path: row.get(1)?,
                epoch: row.get(2)?,
                at: row.get(3)?,
                progress: row.get(4)?,
            })
        })
        .collect()
}

/// Forgets how far a step was; false if nobody had said so.
pub fn remove(tx: &Tx<'_>, run: RunId, path: &str) -> Result<bool, StoreError> {
    Ok(tx.owns_run(run)? && tx.execute(&REMOVE, params![&run, path])? == 1)
}

/// Forgets how far every step of a run was; false if nobody had said so of any.
pub fn clear(tx: &Tx<'_>, run: RunId) -> Result<bool, StoreError> {
    Ok(tx.owns_run(run)? && tx.execute(&CLEAR, params![&run])? > 0)
}
