//! What must hold of every life, whatever the weather was.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use matrix_core::RunId;
use matrix_engine::history::{History, reset_position};
use matrix_engine::runs::{self, ReplayVerdict, RunRead};
use matrix_engine::schedule::{self, ScheduleFunction};
use matrix_engine::{DurableFunction, Entry, EntryKind, Journal, journal};
use matrix_store::StoreError;
use matrix_store::tables::inbox;
use matrix_store::tables::runs::RunRow;
use serde_json::Value;

use super::super::host::may;
use super::link::Link;
use super::program::{Program, UNDONE};
use super::site::{SeededEntropy, SimulatedClock, Site};
use super::weather::{has_ended, rows};
use super::world::{Noted, Outside, TREE};
use super::{children, limits, schedules};

/// The largest number of attempts of a step that nobody resumes: that of the standard policy.
const ATTEMPTS: usize = 4;

/// Which runs did not end.
pub(super) fn stranded(site: &Site) -> String {
    let rows = rows(site);
    let open = rows.iter().filter(|row| !has_ended(row)).map(|row| {
        let waiting = row.waiting.clone().unwrap_or_default();
        format!("{} is {} {waiting} {:?}", row.run, row.state, row.owner)
    });
    format!("stranded: {}", open.collect::<Vec<_>>().join("; "))
}

/// Judges a life that has ended.
pub(super) async fn judge(site: &Arc<Site>) -> Result<(), String> {
    let rows = rows(site);
    let mut journals = BTreeMap::new();
    for row in &rows {
        if row.owner.is_some() {
            return Err(format!("run {} has ended and still has an owner", row.run));
        }
        journal::verify(&site.database, &site.blobs, row.run)
            .map_err(|error| format!("the chain is broken: {error}"))?;
        let entries = journal::read(&site.database, &site.blobs, row.run, -1)
            .map_err(|error| error.to_string())?;
        journals.insert(row.run, entries);
    }
    let whole: BTreeMap<RunId, Vec<Entry>> = rows
        .iter()
        .map(|row| (row.run, whole(row, &rows, &journals)))
        .collect();
    nothing_lost(site, &whole, &journals)?;
    limits::nothing_left(site)?;
    children::judge(site, &rows, &journals)?;
    for row in &rows {
        let (entries, whole) = (&journals[&row.run], &whole[&row.run]);
        let life = Life {
            site,
            row,
            entries,
            whole,
        };
        life.judge()
            .map_err(|what| format!("run {}: {what}", row.run))?;
        if row.kind == schedule::KIND {
            schedules::judge(entries).map_err(|what| format!("schedule {}: {what}", row.run))?;
        }
    }
    for row in &rows {
        again(site, row.run).await?;
    }
    Ok(())
}

/// A run's entries behind those that it shares with the one it was forked from.
fn whole(row: &RunRow, rows: &[RunRow], journals: &BTreeMap<RunId, Vec<Entry>>) -> Vec<Entry> {
    let from = row.lineage.forked_from;
    let from = rows.iter().find(|other| Some(other.run) == from);
    let mut entries = from.map_or_else(Vec::new, |from| whole(from, rows, journals));
    entries.retain(|entry| entry.seq <= row.lineage.fork_seq);
    entries.extend(journals[&row.run].iter().cloned());
    entries
}

/// The function, executed over the journal alone, ends as it ended.
async fn again(site: &Arc<Site>, run: RunId) -> Result<(), String> {
    let journal = Journal::new(
        site.database.clone(),
        site.blobs.clone(),
        Arc::new(SimulatedClock::new(site)),
        Arc::new(SeededEntropy::new(site)),
    );
    let find = |kind: &str, _: &str| -> Option<Arc<dyn DurableFunction>> {
        if kind == schedule::KIND {
            let function = ScheduleFunction::new(site.database.clone(), Vec::new());
            return Some(Arc::new(function));
        }
        let link = Link::new(site, "replay".into());
        let site = Arc::clone(site);
        Some(Arc::new(Program(Outside { site, link })))
    };
    let replay = runs::replay(&journal, &may(RunRead { run }), find).await;
    let replay = replay.map_err(|error| format!("run {run} cannot be replayed: {error}"))?;
    match replay.verdict {
        ReplayVerdict::Same { .. } => Ok(()),
        other => {
            let entries = journal::read(&site.database, &site.blobs, run, -1);
            for entry in entries.unwrap_or_default() {
                let (seq, kind, path) = (entry.seq, entry.kind.as_str(), &entry.path);
                let payload = entry.payload.unwrap_or_default();
                site.event(format_args!("{run} {seq} {kind} {path} {payload}"));
            }
            Err(format!("the replay of run {run}: {other:?}"))
        }
    }
}

/// Whatever somebody was told is durable stands in a journal.
fn nothing_lost(
    site: &Site,
    whole: &BTreeMap<RunId, Vec<Entry>>,
    journals: &BTreeMap<RunId, Vec<Entry>>,
) -> Result<(), String> {
    let none = Vec::new();
    let entries = |run: &RunId| journals.get(run).unwrap_or(&none);
    for (run, seq, hash) in &*site.durable.lock().unwrap() {
        let there = |entry: &Entry| entry.seq == *seq && entry.hash == *hash;
        if !entries(run).iter().any(there) {
            return Err(format!(
                "entry {seq} of run {run} was acknowledged and is lost"
            ));
        }
    }
    for (run, path, number) in &*site.seen.lock().unwrap() {
        let recorded = whole.get(run).unwrap_or(&none).iter().any(|entry| {
            entry.kind == EntryKind::StepCompleted
                && entry.path == *path
                && noted(entry).is_some_and(|noted| noted.number == *number)
        });
        if !recorded {
            return Err(format!("run {run} went on from {path}, which is lost"));
        }
    }
    for (run, word) in &*site.accepted.lock().unwrap() {
        let says = |entry: &&Entry| {
            let payload = entry.payload.clone().unwrap_or_default();
            payload == **word || payload["reason"] == **word
        };
        let heard = |entry: &Entry| {
            matches!(
                entry.kind,
                EntryKind::SignalReceived
                    | EntryKind::ApprovalDecided
                    | EntryKind::Paused
                    | EntryKind::Resumed
                    | EntryKind::CancelRequested
            )
        };
        let times = entries(run)
            .iter()
            .filter(|entry| heard(entry))
            .filter(says)
            .count();
        let left = site
            .database
            .read_now::<_, StoreError, _>(|tx| inbox::list(tx, *run))
            .map_err(|error| error.to_string())?;
        let left = left
            .iter()
            .filter(|mail| String::from_utf8_lossy(&mail.payload).contains(&format!("\"{word}\"")))
            .count();
        if times + left != 1 {
            return Err(format!(
                "message {word} to run {run} was accepted, and is lost or doubled: \
                 {times} times heard, {left} waiting"
            ));
        }
    }
    Ok(())
}

fn noted(entry: &Entry) -> Option<Noted> {
    serde_json::from_value(entry.payload.clone()?).ok()
}

struct Life<'a> {
    site: &'a Site,
    row: &'a RunRow,
    /// Its own.
    entries: &'a [Entry],
    /// With those it shares.
    whole: &'a [Entry],
}

impl Life<'_> {
    fn judge(&self) -> Result<(), String> {
        if !self.entries.is_sorted_by_key(|entry| entry.epoch) {
            return Err("an older owner wrote after a newer one".into());
        }
        let ends = |entry: &Entry| {
            matches!(
                entry.kind,
                EntryKind::RunCompleted | EntryKind::RunFailed | EntryKind::RunCancelled
            )
        };
        let end = self.entries.iter().position(ends);
        if end.is_none_or(|end| end + 1 != self.entries.len()) {
            return Err("its journal goes on after its end, or has none".into());
        }
        let (live, lives) = self.once()?;
        self.world(&live, &lives)?;
        self.result(&live)?;
        taken_back(&live)?;
        self.replay()
    }

    /// What counts after every reset, and how often each step that reaches out was given a new
    /// life by one; nothing that counts is recorded twice.
    fn once(&self) -> Result<(Vec<&Entry>, BTreeMap<String, u32>), String> {
        let mut live: Vec<&Entry> = Vec::new();
        let mut lives: BTreeMap<String, u32> = BTreeMap::new();
        for entry in self.entries {
            if entry.kind == EntryKind::Continued {
                let begun = |old: &&Entry| old.kind == EntryKind::StepBegun;
                let begun: BTreeSet<&String> = live
                    .iter()
                    .copied()
                    .filter(begun)
                    .map(|old| &old.path)
                    .collect();
                for path in begun {
                    *lives.entry(path.clone()).or_default() += 1;
                }
                live.clear();
                continue;
            }
            if entry.kind == EntryKind::Reset {
                let from = reset_position(entry);
                let void: BTreeSet<&String> = live
                    .iter()
                    .filter(|old| old.seq >= from && old.kind == EntryKind::StepBegun)
                    .map(|old| &old.path)
                    .collect();
                for path in void {
                    *lives.entry(path.clone()).or_default() += 1;
                }
                live.retain(|old| old.seq < from);
                continue;
            }
            let once = matches!(
                entry.kind,
                EntryKind::StepCompleted
                    | EntryKind::TimerSet
                    | EntryKind::TimerFired
                    | EntryKind::ApprovalRequested
                    | EntryKind::ChildSpawned
            );
            let same = |old: &&Entry| old.kind == entry.kind && old.path == entry.path;
            if once && live.iter().any(same) {
                let (kind, path) = (entry.kind.as_str(), &entry.path);
                return Err(format!("{kind} of {path} is recorded twice"));
            }
            live.push(entry);
        }
        Ok((live, lives))
    }

    /// What the world says was done to it.
    fn world(&self, live: &[&Entry], lives: &BTreeMap<String, u32>) -> Result<(), String> {
        let world = self.site.world.lock().unwrap();
        let run = self.row.run;
        let count = |kind: EntryKind, path: &str| {
            let those = |entry: &&Entry| entry.kind == kind && entry.path == path;
            self.entries.iter().filter(those).count()
        };
        let resumed = self
            .entries
            .iter()
            .filter(|entry| matches!(entry.kind, EntryKind::Resumed | EntryKind::Reset))
            .count();
        let anew = |entry: &&Entry| entry.kind == EntryKind::Continued;
        let generations = 1 + self.entries.iter().filter(anew).count();
        for ((_, path), times) in world.sent.iter().filter(|((of, _), _)| *of == run) {
            let (sent, begun) = (*times as usize, count(EntryKind::StepBegun, path));
            if sent > begun {
                return Err(format!(
                    "{path} was sent {sent} times, {begun} of them begun: some without a beginning"
                ));
            }
            if sent > ATTEMPTS * generations + resumed {
                return Err(format!(
                    "{path} was sent {sent} times and resumed {resumed} times"
                ));
            }
        }
        for ((of, path), times) in &world.effects {
            let allowed = 1 + lives.get(path).copied().unwrap_or(0);
            if *of == run && *times > allowed {
                return Err(format!(
                    "{path} happened twice: {times} times, {allowed} wanted"
                ));
            }
        }
        let trees = live
            .iter()
            .filter(|entry| entry.kind == EntryKind::StepCompleted && entry.path.contains("tree#"));
        for entry in trees {
            let owner = noted(entry).map_or(0, |noted| noted.epoch);
            let tree = world.trees.get(&(run, entry.path.clone(), owner));
            if tree.is_none_or(|tree| tree != &TREE) {
                return Err(format!("the tree of {} holds {tree:?}", entry.path));
            }
        }
        Ok(())
    }

    /// The result is made of what is recorded, and of nothing else.
    fn result(&self, live: &[&Entry]) -> Result<(), String> {
        let Some(end) = live
            .last()
            .filter(|end| end.kind == EntryKind::RunCompleted)
        else {
            return Ok(());
        };
        let own = self.row.lineage.fork_seq + 1;
        let shared = self.whole.iter().filter(|entry| entry.seq < own);
        let live: Vec<&Entry> = shared.chain(live.iter().copied()).collect();
        let mut given = Vec::new();
        collect(&end.payload.clone().unwrap_or_default(), &mut given);
        for noted in given {
            let recorded = live.iter().any(|entry| {
                entry.kind == EntryKind::StepCompleted
                    && entry.path == noted.path
                    && self::noted(entry).as_ref() == Some(&noted)
            });
            if !recorded {
                return Err(format!("its result holds {noted:?}, which no step gave"));
            }
        }
        Ok(())
    }

    /// Any prefix of the journal, replayed and gone on from, gives the same state.
    fn replay(&self) -> Result<(), String> {
        let mut history = History::replay(&[]);
        for (at, entry) in self.whole.iter().enumerate() {
            let replayed = History::replay(&self.whole[..=at]);
            if entry.kind == EntryKind::Reset {
                history = replayed;
                continue;
            }
            history.apply(entry);
            if history != replayed {
                return Err(format!("replay differs at entry {at}"));
            }
        }
        Ok(())
    }
}

/// Whatever was done in a saga that failed was taken back.
fn taken_back(live: &[&Entry]) -> Result<(), String> {
    let completed = |path: &str| {
        live.iter()
            .any(|entry| entry.kind == EntryKind::StepCompleted && entry.path == path)
    };
    for entry in live {
        let step = entry.path.strip_prefix(UNDONE);
        let step = step.filter(|step| !step.starts_with("/undo/"));
        if step.is_none() || entry.kind != EntryKind::StepCompleted {
            continue;
        }
        let undo = format!("{UNDONE}/undo/{}#1", entry.path.replace('#', "."));
        if !completed(&undo) {
            return Err(format!("{} was never taken back", entry.path));
        }
    }
    Ok(())
}

fn collect(value: &Value, given: &mut Vec<Noted>) {
    if let Ok(noted) = serde_json::from_value::<Noted>(value.clone()) {
        given.push(noted);
    } else if let Value::Array(parts) = value {
        for part in parts {
            collect(part, given);
        }
    }
}
