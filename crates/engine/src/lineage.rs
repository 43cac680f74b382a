//! Which entries count for a run: those it shares with the run it was forked from, and its own.
//!
//! A fork copies nothing. Its own journal begins behind the entry it was forked at, with the same
//! numbers, and everything up to that one is read where it stands.

use matrix_core::{Digest, RunId, Scope};
use matrix_store::tables::journal as table;
use matrix_store::tables::runs::{self, RunRow};
use matrix_store::{Blobs, Database, StoreError, Tx};

use crate::entry::{Entry, genesis};
use crate::history::{ForkPoint, History};
use crate::journal;

/// The most forks of forks.
pub(crate) const DEPTH_MAX: usize = 64;

/// A run's own entries behind one position, up to and with another.
#[derive(Debug, Clone, Copy)]
struct Stretch {
    run: RunId,
    after: i64,
    upto: i64,
}

/// What a run's journal says has happened, with what it shares.
pub(crate) fn history(
    database: &Database,
    blobs: &Blobs,
    row: &RunRow,
) -> Result<History, StoreError> {
    Ok(History::replay(&entries(database, blobs, row, i64::MAX)?))
}

/// Every entry that counts for a run, in order, up to and with a position.
pub(crate) fn entries(
    database: &Database,
    blobs: &Blobs,
    row: &RunRow,
    upto: i64,
) -> Result<Vec<Entry>, StoreError> {
    let stretches = database.read_now::<_, StoreError, _>(|tx| stretches(tx, row, upto))?;
    let mut entries = Vec::new();
    for Stretch { run, after, upto } in stretches.into_iter().rev() {
        entries.extend(journal::between(database, blobs, run, after, upto)?);
    }
    Ok(entries)
}

/// Where the entries stand, the newest first.
fn stretches(tx: &Tx<'_>, row: &RunRow, mut upto: i64) -> Result<Vec<Stretch>, StoreError> {
    let base = row.lineage.base_seq;
    let mut stretches = Vec::new();
    let (mut run, mut lineage) = (row.run, row.lineage);
    loop {
        let after = base.max(lineage.fork_seq);
        if upto > after {
            stretches.push(Stretch { run, after, upto });
        }
        let Some(from) = lineage.forked_from.filter(|_| base < lineage.fork_seq) else {
            return Ok(stretches);
        };
        if stretches.len() > DEPTH_MAX {
            return Err(StoreError::corrupt(format_args!(
                "the forks of {}",
                row.run
            )));
        }
        upto = upto.min(lineage.fork_seq);
        let above = runs::get(tx, from)?
            .ok_or_else(|| StoreError::corrupt(format_args!("the fork {run} of {from}")))?;
        (run, lineage) = (above.run, above.lineage);
    }
}

/// The run, among a run and those it was forked from, whose own entry stands at a position, with
/// that entry's hash.
pub(crate) fn point(tx: &Tx<'_>, row: &RunRow, seq: i64) -> Result<Option<ForkPoint>, StoreError> {
    for Stretch { run, after, upto } in stretches(tx, row, i64::MAX)? {
        if after < seq && seq <= upto {
            let entry = table::list(tx, run, seq - 1, 1)?.into_iter().next();
            let entry = entry.filter(|entry| entry.seq == seq);
            return Ok(entry.map(|entry| ForkPoint {
                run,
                seq,
                hash: entry.hash,
            }));
        }
    }
    Ok(None)
}

/// Where a run was forked; nothing for a run that is no fork.
pub(crate) fn fork_point(tx: &Tx<'_>, row: &RunRow) -> Result<Option<ForkPoint>, StoreError> {
    let Some(run) = row.lineage.forked_from else {
        return Ok(None);
    };
    let seq = row.lineage.fork_seq;
    let entry = table::list(tx, run, seq - 1, 1)?.into_iter().next();
    let entry = entry
        .filter(|entry| entry.seq == seq)
        .ok_or_else(|| StoreError::corrupt(format_args!("the fork {} of {run}", row.run)))?;
    let hash = entry.hash;
    Ok(Some(ForkPoint { run, seq, hash }))
}

/// What stands before a run's first own entry.
pub(crate) fn before_first(
    run: RunId,
    scope: &Scope,
    fork: Option<&ForkPoint>,
) -> Result<Digest, StoreError> {
    let fork_point = fork.map_or_else(String::new, ToString::to_string);
    genesis(run, scope, &fork_point).map_err(StoreError::corrupt)
}
