//! Recomputing a run's chain from its rows.

use matrix_core::{Digest, RunId};
use matrix_store::tables::journal::{self as table, EntryRow};
use matrix_store::tables::runs;
use matrix_store::{Blobs, Database, StoreError};

use super::{PAGE, canonical};
use crate::error::RequestError;
use crate::lineage;

/// What a check of a run's chain found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChainCheck {
    /// Entries whose hash was recomputed.
    pub entries: u64,
    /// Entries whose payload was erased, so that only the chain could be checked.
    pub erased: u64,
    /// The newest hash.
    pub head: Digest,
}

/// Recomputes a run's chain from its rows; of a fork, that of its own entries, which names the entry
/// it was forked at.
pub fn verify(database: &Database, blobs: &Blobs, run: RunId) -> Result<ChainCheck, RequestError> {
    let (row, fork) = database
        .read_now::<_, StoreError, _>(|tx| {
            let row = runs::get(tx, run)?;
            let fork = row.as_ref().map(|row| lineage::fork_point(tx, row));
            Ok(row.zip(fork.transpose()?))
        })?
        .ok_or(RequestError::NotFound(run))?;
    let broken = |seq: i64, what: &str| RequestError::Broken {
        run,
        seq,
        what: what.into(),
    };
    let mut position = row.lineage.fork_seq;
    let mut hash = lineage::before_first(run, &row.scope, fork.as_ref())?;
    let mut check = ChainCheck {
        entries: 0,
        erased: 0,
        head: hash,
    };
    loop {
        let limit = i64::from(PAGE);
        let rows: Vec<EntryRow> =
            database.read_now::<_, StoreError, _>(|tx| table::list(tx, run, position, limit))?;
        if rows.is_empty() {
            break;
        }
        for entry in rows {
            if entry.seq != position + 1 {
                return Err(broken(position + 1, "the entry is missing"));
            }
            position = entry.seq;
            check_entry(&entry, &mut hash, blobs, &mut check)
                .map_err(|what| broken(position, &what))?;
        }
    }
    if position != row.head_seq || hash != row.head_hash {
        return Err(broken(
            row.head_seq,
            "the journal does not end where the run says",
        ));
    }
    check.head = hash;
    Ok(check)
}

fn check_entry(
    entry: &EntryRow,
    hash: &mut Digest,
    blobs: &Blobs,
    check: &mut ChainCheck,
) -> Result<(), String> {
    *hash = canonical(entry)
        .chain(hash)
        .map_err(|error| error.to_string())?;
    if *hash != entry.hash {
        return Err("the hash differs".into());
    }
    check.entries += 1;
    let payload = match (&entry.payload, &entry.payload_blob) {
        (Some(bytes), _) => Some(bytes.clone()),
        (None, Some(digest)) => Some(
            blobs
                .get(digest)
                .map_err(|error| error.to_string())?
                .ok_or("the payload's blob is missing")?,
        ),
        (None, None) => None,
    };
    match (&entry.salt, payload) {
        (Some(salt), Some(payload)) => {
            if Digest::of_parts(&[salt, &payload]) != entry.payload_digest {
                return Err("the payload differs".into());
            }
        }
        // An erasure takes both. One without the other could be read, but not checked.
        (None, Some(_)) => return Err("the payload's salt is missing".into()),
        (Some(_), None) => return Err("the payload is missing".into()),
        (None, None) => check.erased += 1,
    }
    Ok(())
}
