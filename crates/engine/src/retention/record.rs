//! Whether every removal is on record.

use std::collections::BTreeSet;

use matrix_core::RunId;
use matrix_store::tables::removal::{self, EndRow};
use matrix_store::tables::runs;
use matrix_store::{Blobs, Database, StoreError};
use serde_json::Value;

use super::function::KIND;
use super::remove::{Page, digest, last_id};
use crate::entry::EntryKind;
use crate::error::RequestError;
use crate::journal;
use crate::worker::is_terminal;

/// Makes sure that each run which says that it was removed is among those that a removal names in
/// its journal, as that one ended; gives how many there are. Those of a removal under way may not be
/// named yet.
///
/// # Errors
/// [`RequestError::Broken`] for the newest run that nobody removed.
pub fn accounted(database: &Database, blobs: &Blobs) -> Result<u64, RequestError> {
    let removals = database.read_now::<_, StoreError, _>(removal::removals)?;
    let mut counted = 0;
    for by in removals {
        let first = RunId::from_bytes([0; 16]);
        let removed = recorded(database, by, first, last_id())?;
        counted += removed.len() as u64;
        let row = database.read_now::<_, StoreError, _>(|tx| runs::get(tx, by))?;
        let known = match row.filter(|row| row.kind == KIND && row.removed_at.is_none()) {
            Some(row) if !is_terminal(&row.state) => continue,
            Some(_) => named(database, blobs, by)?,
            None => BTreeSet::new(),
        };
        if let Some(end) = removed.iter().find(|end| !known.contains(&end.run)) {
            return Err(RequestError::Broken {
                run: end.run,
                seq: end.head_seq,
                what: "it is marked as removed, and no removal says so".into(),
            });
        }
    }
    Ok(counted)
}

/// The runs that a removal names and that are as it names them.
fn named(database: &Database, blobs: &Blobs, by: RunId) -> Result<BTreeSet<RunId>, StoreError> {
    let mut known = BTreeSet::new();
    for entry in journal::read(database, blobs, by, -1)? {
        let is_page = entry.kind == EntryKind::StepCompleted && entry.path.starts_with("remove#");
        let page = entry.payload.filter(|_| is_page).and_then(page);
        let Some((page, (newest, oldest))) =
            page.and_then(|page| Some((page.digest, page.between?)))
        else {
            continue;
        };
        let rows = recorded(database, by, oldest, newest)?;
        if digest(&rows) == page {
            known.extend(rows.into_iter().map(|end| end.run));
        }
    }
    Ok(known)
}

fn recorded(
    database: &Database,
    by: RunId,
    oldest: RunId,
    newest: RunId,
) -> Result<Vec<EndRow>, StoreError> {
    database.read_now(|tx| removal::recorded(tx, by, oldest, newest))
}

fn page(payload: Value) -> Option<Page> {
    serde_json::from_value(payload).ok()
}
