//! What workers outside print while they do steps: beside the journal, not of it.

use matrix_core::{RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const LAST: Statement = Statement::new(
    "task_logs.last",
    "SELECT MAX(seq) FROM task_logs WHERE run = $1",
);
const INSERT: Statement = Statement::new(
    "task_logs.insert",
    "INSERT INTO task_logs (run, seq, path, worker, at, text) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (run, seq) DO NOTHING",
);
const LIST: Statement = Statement::new(
    "task_logs.list",
    "SELECT run, seq, path, worker, at, text FROM task_logs
     WHERE run = $1 AND seq > $2 ORDER BY seq LIMIT $3",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[LAST, INSERT, LIST];

/// Lines that a worker printed at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// The run.
    pub run: RunId,
    /// Which of the run's, from one.
    pub seq: i64,
    /// The step's address.
    pub path: String,
    /// Who.
    pub worker: String,
    /// When it arrived.
    pub at: Timestamp,
    /// The lines.
    pub text: String,
}

/// Adds lines behind those of the run, as its next `seq` (the row's own is not used); false if the
/// run has `most` already, or another process was faster.
pub fn add(tx: &Tx<'_>, row: &LogRow, most: i64) -> Result<bool, StoreError> {
    tx.require_run(row.run)?;
    let last = tx.query_one(&LAST, params![&row.run])?;
    let last: Option<i64> = last.map_or(Ok(None), |row| row.get(0))?;
    let next = last.unwrap_or(0) + 1;
    if next > most {
        return Ok(false);
    }
    let params = params![&row.run, next, &row.path, &row.worker, row.at, &row.text];
    Ok(tx.execute(&INSERT, params)? == 1)
}

/// A run's lines behind a place (zero for all), at most `limit` rows.
pub fn list(tx: &Tx<'_>, run: RunId, after: i64, limit: i64) -> Result<Vec<LogRow>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    tx.query(&LIST, params![&run, after, limit])?
        .iter()
        .map(|row| {
            Ok(LogRow {
                run: row.get(0)?,
                seq: row.get(1)?,
                path: row.get(2)?,
                worker: row.get(3)?,
                at: row.get(4)?,
                text: row.get(5)?,
            })
        })
        .collect()
}
