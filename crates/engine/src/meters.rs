//! What an engine counts of itself, from what happens anyway: nothing here reads a table.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use matrix_core::meter::{Counter, Distribution, Histogram};
use matrix_core::{RunId, Timestamp};

use crate::entry::{Entry, EntryKind};

/// Upper bounds of the time from a run's creation to its end, in microseconds.
const DURATION: &[u64] = &[
    10_000,
    100_000,
    500_000,
    1_000_000,
    5_000_000,
    15_000_000,
    60_000_000,
    300_000_000,
    900_000_000,
    3_600_000_000,
    21_600_000_000,
    86_400_000_000,
    604_800_000_000,
];

/// Upper bounds of the number of entries that an owner replays.
const REPLAY: &[u64] = &[1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 100_000];

/// A run that is driven by this process.
#[derive(Debug, Clone)]
struct Driven {
    kind: String,
    /// The epoch under which it was driven before.
    before: Option<i64>,
}

/// How runs of one kind ended in one way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The kind of function.
    pub kind: String,
    /// `succeeded`, `failed` or `cancelled`.
    pub status: &'static str,
    /// From creation to end, in microseconds.
    pub took: Distribution,
}

/// The counters of one engine.
#[derive(Debug)]
pub struct Meters {
    /// Runs of a dead owner that were returned to the queue.
    pub takeovers: Counter,
    /// How many entries an owner replays when it takes a run.
    pub replayed: Histogram,
    created: Mutex<BTreeMap<String, u64>>,
    driven: Mutex<BTreeMap<RunId, Driven>>,
    ended: Mutex<BTreeMap<(String, &'static str), Histogram>>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            takeovers: Counter::default(),
            replayed: Histogram::new(REPLAY),
            created: Mutex::default(),
            driven: Mutex::default(),
            ended: Mutex::default(),
        }
    }
}

impl Meters {
    /// How many runs of each kind were created here.
    pub fn created(&self) -> BTreeMap<String, u64> {
        lock(&self.created).clone()
    }

    /// How runs ended that were driven here.
    pub fn ended(&self) -> Vec<Ended> {
        let ended = lock(&self.ended);
        let all = ended.iter().map(|((kind, status), took)| Ended {
            kind: kind.clone(),
            status,
            took: took.get(),
        });
        all.collect()
    }

    pub(crate) fn create(&self, kind: &str) {
        *lock(&self.created).entry(kind.to_owned()).or_default() += 1;
    }

    pub(crate) fn drive(&self, run: RunId, kind: &str) {
        let driven = Driven {
            kind: kind.to_owned(),
            before: None,
        };
        lock(&self.driven).insert(run, driven);
    }

    /// An owner has read what was recorded before it.
    pub(crate) fn replay(&self, run: RunId, epoch: i64, entries: &[Entry]) {
        self.replayed.count(entries.len() as u64);
        let others = |entry: &&Entry| entry.epoch > 0 && entry.epoch != epoch;
        let before = entries.iter().rev().find(others).map(|entry| entry.epoch);
        if let Some(driven) = lock(&self.driven).get_mut(&run) {
            driven.before = before;
        }
    }

    /// The epoch under which a driven run was driven before.
    pub(crate) fn before(&self, run: RunId) -> Option<i64> {
        lock(&self.driven).get(&run)?.before
    }

    /// The run is let go of.
    pub(crate) fn let_go(&self, run: RunId) {
        lock(&self.driven).remove(&run);
    }

    /// Entries were committed. A run's id says when it was created.
    pub(crate) fn append(&self, entries: &[Entry], now: Timestamp) {
        for entry in entries {
            let status = match entry.kind {
                EntryKind::RunCompleted => "succeeded",
                EntryKind::RunFailed => "failed",
                EntryKind::RunCancelled => "cancelled",
                _ => continue,
            };
            let driven = lock(&self.driven).get(&entry.run).cloned();
            let kind = driven.map(|driven| driven.kind).unwrap_or_default();
            lock(&self.ended)
                .entry((kind, status))
                .or_insert_with(|| Histogram::new(DURATION))
                .count_micros(now.since(entry.run.created_at()));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
