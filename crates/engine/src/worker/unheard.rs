//! Runs that a run started without its owner knowing.
//!
//! A function may drop what it is about to do: the first error of branches ends the others, and so
//! does the branch that is chosen. Where one of them was about to start a run, that may stand in the
//! journal all the same. And a reset takes back what was started between the look of whoever asked for
//! it and the reset. Such runs are bound as all others are, so they are looked up in the transaction
//! that has to tell them.

use matrix_core::RunId;
use matrix_store::tables::{journal, runs};
use matrix_store::{StoreError, Tx};

use crate::entry::EntryKind;
use crate::history::Spawned;

/// How many entries are read at once.
const PAGE: i64 = 1_000;

/// The runs that were started by this one since it last began as new, have not ended, were not
/// detached and are not known.
pub(super) fn unheard(tx: &Tx<'_>, run: RunId, known: &[RunId]) -> Result<Vec<RunId>, StoreError> {
    let mut live = runs::live_children(tx, run)?;
    live.retain(|child| !known.contains(child));
    if live.is_empty() {
        return Ok(live);
    }
    let mut after = runs::get(tx, run)?.map_or(-1, |row| row.lineage.base_seq);
    let mut bound = Vec::new();
    loop {
        let page = journal::list(tx, run, after, PAGE)?;
        let spawned = page
            .iter()
            .filter(|entry| entry.kind == EntryKind::ChildSpawned.as_str())
            .filter_map(|entry| serde_json::from_slice::<Spawned>(entry.payload.as_deref()?).ok())
            .filter(|spawned| !spawned.detached && live.contains(&spawned.run));
        bound.extend(spawned.map(|spawned| spawned.run));
        match page.last() {
            Some(last) if i64::try_from(page.len()).is_ok_and(|length| length == PAGE) => {
                after = last.seq;
            }
            _ => return Ok(bound),
        }
    }
}
