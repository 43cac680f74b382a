//! Runs that were started by runs: each is there exactly if the other's journal says so, and none goes
//! on unasked when that one has ended.

use std::collections::BTreeMap;

use matrix_core::RunId;
use matrix_engine::history::{ChildEnd, Spawned};
use matrix_engine::{Entry, EntryKind};
use matrix_store::StoreError;
use matrix_store::tables::inbox;
use matrix_store::tables::runs::RunRow;
use serde::de::DeserializeOwned;

use super::site::Site;

fn said<T: DeserializeOwned>(entry: &Entry, kind: EntryKind) -> Option<T> {
    let payload = entry.payload.clone().filter(|_| entry.kind == kind)?;
    serde_json::from_value(payload).ok()
}

/// Judges all runs by what those that started them say.
pub(super) fn judge(
    site: &Site,
    rows: &[RunRow],
    journals: &BTreeMap<RunId, Vec<Entry>>,
) -> Result<(), String> {
    let parents: BTreeMap<RunId, Option<RunId>> = rows
        .iter()
        .map(|row| (row.run, row.lineage.parent))
        .collect();
    let mut announced: BTreeMap<RunId, RunId> = BTreeMap::new();
    for (run, entries) in journals {
        for entry in entries {
            let Some(spawned) = said::<Spawned>(entry, EntryKind::ChildSpawned) else {
                continue;
            };
            let child = spawned.run;
            if parents.get(&child) != Some(&Some(*run)) {
                return Err(format!("run {run} started {child}, which does not exist"));
            }
            if announced.insert(child, *run).is_some() {
                return Err(format!("run {child} was started twice"));
            }
            if is_bound(&spawned, entry, entries) {
                does_not_outlive(site, *run, entries, child, &journals[&child])?;
            }
        }
        heard_once(*run, entries)?;
    }
    for (child, parent) in parents {
        if let Some(parent) = parent
            && announced.get(&child) != Some(&parent)
        {
            return Err(format!("run {parent} started {child} and does not say so"));
        }
    }
    Ok(())
}

/// A run that continues as new lets go of what it started.
fn is_bound(spawned: &Spawned, at: &Entry, entries: &[Entry]) -> bool {
    let let_go = |entry: &Entry| entry.kind == EntryKind::Continued && entry.seq > at.seq;
    !spawned.detached && !entries.iter().any(let_go)
}

fn does_not_outlive(
    site: &Site,
    run: RunId,
    entries: &[Entry],
    child: RunId,
    life: &[Entry],
) -> Result<(), String> {
    let (Some(end), Some(its_end)) = (entries.last(), life.last()) else {
        return Ok(());
    };
    if its_end.lsn < end.lsn {
        return Ok(());
    }
    let actor = format!("run:{run}");
    let heard = life
        .iter()
        .any(|entry| entry.kind == EntryKind::CancelRequested && entry.actor == actor);
    let left = site
        .database
        .read_now::<_, StoreError, _>(|tx| inbox::list(tx, child))
        .map_err(|error| error.to_string())?;
    let left = left
        .iter()
        .any(|mail| mail.kind == EntryKind::CancelRequested.as_str() && mail.actor == actor);
    if heard || left {
        return Ok(());
    }
    Err(format!("run {child} outlives {run}, which started it"))
}

/// Nobody's end is told twice.
fn heard_once(run: RunId, entries: &[Entry]) -> Result<(), String> {
    let ends = entries
        .iter()
        .filter_map(|entry| said::<ChildEnd>(entry, EntryKind::ChildEnded));
    let mut seen: Vec<RunId> = Vec::new();
    for end in ends {
        if seen.contains(&end.run) {
            return Err(format!("run {run} heard twice that {} has ended", end.run));
        }
        seen.push(end.run);
    }
    Ok(())
}
