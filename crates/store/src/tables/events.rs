//! The journal as events: the entries of one tenant in the order in which they were committed.
//!
//! A position is a shard and a number in it. The number is taken from the shard's row in the
//! transaction of the entry, and whoever takes one holds the row until that transaction ends, so
//! within a view of the database every number up to the row's is there: who has read up to a
//! position never misses an entry that is committed late.

use matrix_core::{Digest, RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const SHARDS: Statement = Statement::new(
    "shards.list",
    "SELECT shard, lsn FROM shards ORDER BY shard",
);
const LIST: Statement = Statement::new(
    "journal.events",
    "SELECT j.lsn, j.run, j.seq, j.kind, j.path, j.actor, j.at, j.hash, j.payload, j.payload_blob,
            r.kind
     FROM journal j JOIN runs r ON r.run = j.run
     WHERE j.shard = $1 AND j.lsn > $2 AND j.lsn <= $3 AND j.run >= $4 AND j.run <= $5
           AND r.organisation = $6 AND r.workspace = $7 AND r.removed_at IS NULL AND ($8 = '' OR r.kind = $8)
     ORDER BY j.lsn LIMIT $9",
);

/// Every statement of this view of the journal.
pub const STATEMENTS: &[Statement] = &[SHARDS, LIST];

/// An entry as an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// The shard it was committed to.
    pub shard: i64,
    /// Its position in the shard.
    pub lsn: i64,
    /// The run.
    pub run: RunId,
    /// The kind of the run's function.
    pub run_kind: String,
    /// Position in the run, from zero.
    pub seq: i64,
    /// What sort of entry.
    pub kind: String,
    /// The address of the step, timer, signal or approval; may be empty.
    pub path: String,
    /// Who wrote it, as `user:name` or `worker:id`.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// The chain's hash up to and with this entry.
    pub hash: Digest,
    /// The payload, unless erased or kept as a blob.
    pub payload: Option<Vec<u8>>,
    /// Where a large payload is kept.
    pub payload_blob: Option<Digest>,
}

/// Which part of a shard is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// The shard.
    pub shard: i64,
    /// Only entries after this position.
    pub after: i64,
    /// Only entries up to this position; it is not beyond what [`shards`] gave in the same view.
    pub until: i64,
    /// Only entries of this run.
    pub run: Option<RunId>,
    /// Only entries of runs of this kind; empty for all.
    pub kind: String,
}

/// Every shard with its newest committed position, in the order of shards.
pub fn shards(tx: &Tx<'_>) -> Result<Vec<(i64, i64)>, StoreError> {
    tx.query(&SHARDS, params![])?
        .iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect()
}

/// A scope's entries in a part of a shard, in the order of commits, at most `limit`; those of runs
/// that were removed are left out.
pub fn list(
    tx: &Tx<'_>,
    scope: &Scope,
    window: &Window,
    limit: i64,
) -> Result<Vec<EventRow>, StoreError> {
    let first = window.run.unwrap_or(RunId::from_bytes([0; 16]));
    let last = window.run.unwrap_or(RunId::from_bytes([0xff; 16]));
    let params = params![
        window.shard,
        window.after,
        window.until,
        &first,
        &last,
        &scope.organisation,
        &scope.workspace,
        &window.kind,
        limit
    ];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?
            .iter()
            .map(|row| event(row, window.shard))
            .collect()
    })
}

fn event(row: &Row, shard: i64) -> Result<EventRow, StoreError> {
    Ok(EventRow {
        shard,
        lsn: row.get(0)?,
        run: row.get(1)?,
        seq: row.get(2)?,
        kind: row.get(3)?,
        path: row.get(4)?,
        actor: row.get(5)?,
        at: row.get(6)?,
        hash: row.get(7)?,
        payload: row.get(8)?,
        payload_blob: row.get(9)?,
        run_kind: row.get(10)?,
    })
}
