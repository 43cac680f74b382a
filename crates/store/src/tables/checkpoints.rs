//! The journal's Merkle tree and its signed heads. Leaves are the journal's own hashes; what is
//! kept here are the roots of complete subtrees, the heads, and the leaves of removed entries.

use std::collections::BTreeMap;

use matrix_core::{Digest, RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const NEWEST: Statement = Statement::new(
    "checkpoints.newest",
    "SELECT size, origin, root, note, at FROM checkpoints WHERE shard = $1
     ORDER BY size DESC LIMIT 1",
);
const INSERT: Statement = Statement::new(
    "checkpoints.insert",
    "INSERT INTO checkpoints (shard, size, origin, root, note, at) VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (shard, size) DO NOTHING",
);
const NODE: Statement = Statement::new(
    "tree.insert",
    "INSERT INTO tree (shard, level, position, hash) VALUES ($1, $2, $3, $4)
     ON CONFLICT (shard, level, position) DO NOTHING",
);
const NODES: Statement = Statement::new(
    "tree.list",
    "SELECT hash FROM tree WHERE shard = $1 AND level = $2 AND position >= $3
     ORDER BY position LIMIT $4",
);
const LEAVES: Statement = Statement::new(
    "journal.hashes",
    "SELECT lsn, hash FROM journal WHERE shard = $1 AND lsn > $2 AND lsn <= $3 ORDER BY lsn",
);
const KEEP_LEAVES: Statement = Statement::new(
    "leaves.insert",
    "INSERT INTO leaves (shard, first, hashes) VALUES ($1, $2, $3)",
);
/// A range has at most 256 hashes.
const KEPT_LEAVES: Statement = Statement::new(
    "leaves.list",
    "SELECT first, hashes FROM leaves WHERE shard = $1 AND first > $2 - 256 AND first <= $3
     ORDER BY first",
);
const LAST_LEAVES: Statement = Statement::new(
    "leaves.last",
    "SELECT first, hashes FROM leaves WHERE shard = $1 ORDER BY first DESC LIMIT 1",
);
const SHARDS: Statement = Statement::new(
    "checkpoints.shards",
    "SELECT shard FROM shards ORDER BY shard",
);
const LENGTH: Statement = Statement::new(
    "journal.length",
    "SELECT lsn FROM journal WHERE shard = $1 ORDER BY lsn DESC LIMIT 1",
);
const POSITION: Statement = Statement::new(
    "journal.position",
    "SELECT shard, lsn FROM journal WHERE run = $1 AND seq = $2",
);

/// Every statement of these tables.
pub const STATEMENTS: &[Statement] = &[
    NEWEST,
    INSERT,
    NODE,
    NODES,
    LEAVES,
    KEEP_LEAVES,
    KEPT_LEAVES,
    LAST_LEAVES,
    SHARDS,
    LENGTH,
    POSITION,
];

/// A signed head of a shard's tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRow {
    /// The shard.
    pub shard: i64,
    /// How many entries.
    pub size: i64,
    /// The log's name.
    pub origin: String,
    /// The root over them.
    pub root: Digest,
    /// The signed note.
    pub note: String,
    /// When it was made.
    pub at: Timestamp,
}

/// Every shard, in their order.
pub fn shards(tx: &Tx<'_>) -> Result<Vec<i64>, StoreError> {
    tx.require_engine("the journal's heads")?;
    tx.query(&SHARDS, params![])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// The newest head of a shard.
pub fn newest(tx: &Tx<'_>, shard: i64) -> Result<Option<CheckpointRow>, StoreError> {
    tx.require_engine("the journal's heads")?;
    tx.query_one(&NEWEST, params![shard])?
        .map(|row| {
            Ok(CheckpointRow {
                shard,
                size: row.get(0)?,
                origin: row.get(1)?,
                root: row.get(2)?,
                note: row.get(3)?,
                at: row.get(4)?,
            })
        })
        .transpose()
}

/// Adds a head; false if there is one of this size.
pub fn insert(tx: &Tx<'_>, row: &CheckpointRow) -> Result<bool, StoreError> {
    tx.require_engine("the journal's heads")?;
    let CheckpointRow {
        shard,
        size,
        origin,
        root,
        note,
        at,
    } = row;
    Ok(tx.execute(&INSERT, params![*shard, *size, origin, root, note, *at])? == 1)
}

/// Keeps the root of a complete subtree; one that is kept already stays.
pub fn keep_node(
    tx: &Tx<'_>,
    shard: i64,
    level: i64,
    position: i64,
    hash: &Digest,
) -> Result<(), StoreError> {
    tx.require_engine("the journal's tree")?;
    tx.execute(&NODE, params![shard, level, position, hash])
        .map(drop)
}

/// The roots of complete subtrees of a level, from a position on.
pub fn nodes(
    tx: &Tx<'_>,
    shard: i64,
    level: i64,
    first: i64,
    count: i64,
) -> Result<Vec<Digest>, StoreError> {
    tx.require_engine("the journal's tree")?;
    tx.query(&NODES, params![shard, level, first, count])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// Positions and hashes of a shard's entries after a position, in order, of the next `count`
/// positions: those of the journal, and between them those that are kept of removed entries.
pub fn leaves(
    tx: &Tx<'_>,
    shard: i64,
    after: i64,
    count: i64,
) -> Result<Vec<(i64, Digest)>, StoreError> {
    tx.require_engine("the journal")?;
    let last = after.saturating_add(count);
    let mut leaves = BTreeMap::new();
    for (first, hashes) in kept_leaves(tx, shard, after + 1, last)? {
        let placed = (first..).zip(hashes);
        leaves.extend(placed.filter(|(lsn, _)| (after + 1..=last).contains(lsn)));
    }
    for row in tx.query(&LEAVES, params![shard, after, last])? {
        leaves.insert(row.get(0)?, row.get(1)?);
    }
    Ok(leaves.into_iter().collect())
}

/// Keeps the hashes of a shard's entries from a position on, so that the entries can go. They are
/// not kept yet, and are all of one complete subtree of 256, or of its beginning.
pub fn keep_leaves(
    tx: &Tx<'_>,
    shard: i64,
    first: i64,
    hashes: &[Digest],
) -> Result<(), StoreError> {
    tx.require_engine("the journal's leaves")?;
    let bytes: Vec<u8> = hashes.iter().flat_map(Digest::as_bytes).copied().collect();
    tx.execute(&KEEP_LEAVES, params![shard, first, bytes.as_slice()])
        .map(drop)
}

/// The ranges of kept hashes that have any between two positions, each with its first position.
pub fn kept_leaves(
    tx: &Tx<'_>,
    shard: i64,
    first: i64,
    last: i64,
) -> Result<Vec<(i64, Vec<Digest>)>, StoreError> {
    tx.require_engine("the journal's leaves")?;
    let rows = tx.query(&KEPT_LEAVES, params![shard, first, last])?;
    let mut ranges = rows.iter().map(range).collect::<Result<Vec<_>, _>>()?;
    ranges.retain(|(start, hashes)| reach(*start, hashes) >= first);
    Ok(ranges)
}

/// The last position of a range.
fn reach(first: i64, hashes: &[Digest]) -> i64 {
    first - 1 + i64::try_from(hashes.len()).unwrap_or(i64::MAX)
}

fn range(row: &Row) -> Result<(i64, Vec<Digest>), StoreError> {
    let bytes: Vec<u8> = row.get(1)?;
    let (hashes, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() {
        return Err(StoreError::corrupt("the journal's leaves"));
    }
    let hashes = hashes.iter().copied().map(Digest::from_bytes);
    Ok((row.get(0)?, hashes.collect()))
}

/// The position of a shard's newest entry, whether it is there or was removed; zero without one.
pub fn length(tx: &Tx<'_>, shard: i64) -> Result<i64, StoreError> {
    tx.require_engine("the journal")?;
    let there: i64 = tx
        .query_one(&LENGTH, params![shard])?
        .map_or(Ok(0), |row| row.get(0))?;
    let kept = tx.query_one(&LAST_LEAVES, params![shard])?;
    let kept = kept.as_ref().map(range).transpose()?;
    let kept = kept.map_or(0, |(first, hashes)| reach(first, &hashes));
    Ok(there.max(kept))
}

/// The shard of an entry and its position there.
pub fn position(tx: &Tx<'_>, run: RunId, seq: i64) -> Result<Option<(i64, i64)>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(None);
    }
    tx.query_one(&POSITION, params![&run, seq])?
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .transpose()
}
