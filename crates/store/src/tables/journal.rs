//! The journal: append only, never updated; salt and payload may be erased.

use matrix_core::{Digest, RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const INSERT: Statement = Statement::new(
    "journal.insert",
    "INSERT INTO journal (run, seq, kind, path, fingerprint, actor, epoch, at, payload_digest,
                          hash, salt, payload, payload_blob, shard, lsn)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
);
/// On SQLite entries are found by position and run, so each position that the run can have is looked
/// up; see the migration.
const LIST: Statement = Statement::new(
    "journal.list",
    "WITH RECURSIVE place (seq, last) AS (
       SELECT max($2, fork_seq) + 1, head_seq FROM runs WHERE run = $1 AND removed_at IS NULL
       UNION ALL SELECT seq + 1, last FROM place WHERE seq < last)
     SELECT j.lsn, j.run, j.seq, j.kind, j.path, j.fingerprint, j.actor, j.epoch, j.at,
            j.payload_digest, j.hash, j.salt, j.payload, j.payload_blob
     FROM place CROSS JOIN journal j ON j.seq = place.seq AND j.run = $1 LIMIT $3",
)
.on_postgres(
    "SELECT lsn, run, seq, kind, path, fingerprint, actor, epoch, at, payload_digest, hash, salt,
            payload, payload_blob
     FROM journal
     WHERE run = $1 AND seq > $2
           AND EXISTS (SELECT FROM runs r WHERE r.run = $1 AND r.removed_at IS NULL)
     ORDER BY seq LIMIT $3",
);
const REMOVED: Statement = Statement::new(
    "journal.removed",
    "SELECT removed_at FROM runs WHERE run = $1 AND removed_at IS NOT NULL",
);
const SINCE: Statement = Statement::new(
    "journal.since",
    "SELECT lsn, run, seq, kind, path, fingerprint, actor, epoch, at, payload_digest, hash, salt,
            payload, payload_blob
     FROM journal WHERE shard = $1 AND lsn > $2 ORDER BY lsn LIMIT $3",
);
const ERASE: Statement = Statement::new(
    "journal.erase",
    "UPDATE journal SET salt = NULL, payload = NULL, payload_blob = NULL
     WHERE run = $1 AND seq = $2",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[INSERT, LIST, REMOVED, SINCE, ERASE];

/// A journal entry as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryRow {
    /// Position among all entries of the shard, in the order of commits; given by the database.
    pub lsn: i64,
    /// The run.
    pub run: RunId,
    /// Position in the run, from zero.
    pub seq: i64,
    /// What sort of entry.
    pub kind: String,
    /// The address of the step, timer, signal or approval; may be empty.
    pub path: String,
    /// What the step was, to recognise it again; may be empty.
    pub fingerprint: String,
    /// Who wrote it, as `user:name` or `worker:id`.
    pub actor: String,
    /// The owner's epoch.
    pub epoch: i64,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of salt and payload.
    pub payload_digest: Digest,
    /// The chain's hash up to and with this entry.
    pub hash: Digest,
    /// 32 random bytes, unless erased.
    pub salt: Option<Vec<u8>>,
    /// The payload, unless erased or kept as a blob.
    pub payload: Option<Vec<u8>>,
    /// Where a large payload is kept.
    pub payload_blob: Option<Digest>,
}

fn entry(row: &Row) -> Result<EntryRow, StoreError> {
    Ok(EntryRow {
        lsn: row.get(0)?,
        run: row.get(1)?,
        seq: row.get(2)?,
        kind: row.get(3)?,
        path: row.get(4)?,
        fingerprint: row.get(5)?,
        actor: row.get(6)?,
        epoch: row.get(7)?,
        at: row.get(8)?,
        payload_digest: row.get(9)?,
        hash: row.get(10)?,
        salt: row.get(11)?,
        payload: row.get(12)?,
        payload_blob: row.get(13)?,
    })
}

/// Appends an entry; its `lsn` is not used. Its row is refused, at the latest when the closure
/// ends, where the run has an entry of this position already.
pub fn insert(tx: &Tx<'_>, entry: &EntryRow) -> Result<(), StoreError> {
    tx.require_run(entry.run)?;
    let (shard, lsn) = tx.next_position()?;
    let EntryRow {
        run,
        seq,
        kind,
        path,
        fingerprint,
        actor,
        epoch,
        at,
        ..
    } = entry;
    tx.send(
        &INSERT,
        params![
            run,
            *seq,
            kind,
            path,
            fingerprint,
            actor,
            *epoch,
            *at,
            &entry.payload_digest,
            &entry.hash,
            entry.salt.as_deref(),
            entry.payload.as_deref(),
            entry.payload_blob.as_ref(),
            shard,
            lsn
        ],
    )
}

/// Entries of a run after a position (`-1` for all), in order, at most `limit`. A removed run has
/// none, also while some are still there, and says so instead.
pub fn list(tx: &Tx<'_>, run: RunId, after: i64, limit: i64) -> Result<Vec<EntryRow>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    let rows = tx.query(&LIST, params![&run, after, limit])?;
    if rows.is_empty()
        && let Some(removed) = tx.query_one(&REMOVED, params![&run])?
    {
        let at = removed.get(0)?;
        return Err(StoreError::Removed { run, at });
    }
    rows.iter().map(entry).collect()
}

/// Entries of all runs in a shard after a position, in the order in which they were committed, at
/// most `limit`. Whoever has seen a position has seen every one before it.
pub fn since(tx: &Tx<'_>, shard: i64, after: i64, limit: i64) -> Result<Vec<EntryRow>, StoreError> {
    tx.require_engine("the journal")?;
    tx.query(&SINCE, params![shard, after, limit])?
        .iter()
        .map(entry)
        .collect()
}

/// Erases salt and payload of an entry; the chain stays whole.
pub fn erase(tx: &Tx<'_>, run: RunId, seq: i64) -> Result<bool, StoreError> {
    Ok(tx.owns_run(run)? && tx.execute(&ERASE, params![&run, seq])? == 1)
}
