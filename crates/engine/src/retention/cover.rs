//! Keeping the hashes of entries that are to go.
//!
//! The tree over the journal is read in tiles of 256 leaves. As soon as one entry of a tile is to go,
//! the hashes of all its entries that a signed head covers are kept beside the journal, in one
//! range behind another. A range is never changed, so what was kept stands whatever becomes of the
//! removal.

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::RunId;
use matrix_evidence::tlog::merkle::TILE_WIDTH;
use matrix_store::tables::{checkpoints, removal};
use matrix_store::{StoreError, Tx};

/// Entries whose hashes are made sure of in one transaction; each may be in a tile of its own.
const PAGE: i64 = 64;

/// How far a run's hashes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Covered {
    /// Up to and with this position; there are more.
    UpTo(i64),
    /// All of them.
    Whole,
    /// No signed head covers the next ones.
    Unsealed,
}

/// Keeps the hashes of a run's next entries after a position.
pub(super) fn cover(tx: &Tx<'_>, run: RunId, after: i64) -> Result<Covered, StoreError> {
    removal::lock(tx)?;
    let places = removal::places(tx, run, after, PAGE)?;
    let Some((last, ..)) = places.last() else {
        return Ok(Covered::Whole);
    };
    let mut sizes = BTreeMap::new();
    let mut tiles = BTreeSet::new();
    for (_, shard, lsn) in &places {
        if !sizes.contains_key(shard) {
            let size = checkpoints::newest(tx, *shard)?.map_or(0, |head| head.size);
            sizes.insert(*shard, size);
        }
        if *lsn > sizes[shard] {
            return Ok(Covered::Unsealed);
        }
        tiles.insert((*shard, (lsn - 1) / WIDTH));
    }
    for (shard, tile) in tiles {
        keep(tx, shard, tile, sizes[&shard])?;
    }
    Ok(Covered::UpTo(*last))
}

const WIDTH: i64 = TILE_WIDTH.cast_signed();

/// Keeps what is not kept yet of a tile, as far as the newest head reaches.
fn keep(tx: &Tx<'_>, shard: i64, tile: i64, size: i64) -> Result<(), StoreError> {
    let (before, end) = (tile * WIDTH, size.min((tile + 1) * WIDTH));
    let ranges = checkpoints::kept_leaves(tx, shard, before + 1, end)?;
    let ranges = ranges.into_iter().filter(|(first, _)| *first > before);
    let reach = |(first, hashes): (i64, Vec<_>)| {
        first - 1 + i64::try_from(hashes.len()).unwrap_or(i64::MAX)
    };
    let kept = ranges.map(reach).max().unwrap_or(before);
    if kept >= end {
        return Ok(());
    }
    let leaves = checkpoints::leaves(tx, shard, kept, end - kept)?;
    let gap = (kept + 1..)
        .zip(&leaves)
        .find(|(wanted, (lsn, _))| wanted != lsn);
    if gap.is_some() || leaves.len() as u64 != (end - kept).cast_unsigned() {
        return Err(StoreError::corrupt(format_args!(
            "the journal after position {kept}"
        )));
    }
    let hashes: Vec<_> = leaves.into_iter().map(|(_, hash)| hash).collect();
    checkpoints::keep_leaves(tx, shard, kept + 1, &hashes)
}
