//! Heartbeat counters of the processes that own runs.

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

const BEAT: Statement = Statement::new(
    "workers.beat",
    "INSERT INTO workers (worker, beat) VALUES ($1, 1)
     ON CONFLICT (worker) DO UPDATE SET beat = workers.beat + 1",
);
const LIST: Statement = Statement::new("workers.list", "SELECT worker, beat FROM workers");
const REMOVE: Statement = Statement::new("workers.remove", "DELETE FROM workers WHERE worker = $1");

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[BEAT, LIST, REMOVE];

/// Counts a worker's heartbeat up, once for all its runs.
pub fn beat(tx: &Tx<'_>, worker: &str) -> Result<(), StoreError> {
    tx.require_engine("the heartbeats")?;
    tx.execute(&BEAT, params![worker]).map(drop)
}

/// Every worker with its counter.
pub fn list(tx: &Tx<'_>) -> Result<Vec<(String, i64)>, StoreError> {
    tx.require_engine("the heartbeats")?;
    tx.query(&LIST, params![])?
        .iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect()
}

/// Forgets a worker.
pub fn remove(tx: &Tx<'_>, worker: &str) -> Result<(), StoreError> {
    tx.require_engine("the heartbeats")?;
    tx.execute(&REMOVE, params![worker]).map(drop)
}
