//! The workers of this process that wait for tasks.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use matrix_core::{RunId, Scope};
use matrix_store::tables::tasks::TaskRow;

use super::choice::{Candidate, Wanted, WorkerChoice, choose};

/// The most runs, and the most workers, that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// What a worker that waits would take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Guest {
    pub(super) scope: Scope,
    pub(super) worker: String,
    pub(super) queues: Vec<String>,
    /// The names of the tasks it can do; all, if there are none.
    pub(super) names: Vec<String>,
    pub(super) max: usize,
}

impl Guest {
    fn fits(&self, task: &TaskRow) -> bool {
        self.scope == task.scope
            && self.queues.contains(&task.queue)
            && (self.names.is_empty() || self.names.contains(&task.name))
    }
}

/// Where they wait.
#[derive(Debug, Default)]
pub(crate) struct Lounge(Mutex<Inner>);

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    guests: BTreeMap<u64, Guest>,
    /// Whether somebody left something to another.
    left: bool,
    given: u64,
    served: HashMap<String, u64>,
    last: HashMap<RunId, String>,
    /// The runs of `last`, oldest first.
    runs: VecDeque<RunId>,
}

/// A worker that waits; it has gone when this is dropped.
#[derive(Debug)]
pub(super) struct Chair {
    lounge: Arc<Lounge>,
    number: u64,
}

impl Lounge {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker begins to wait.
    pub(super) fn sit(self: &Arc<Self>, guest: &Guest) -> Chair {
        let mut inner = self.lock();
        inner.next += 1;
        let number = inner.next;
        inner.guests.insert(number, guest.clone());
        Chair {
            lounge: Arc::clone(self),
            number,
        }
    }

    /// A worker was given tasks of these runs.
    pub(super) fn served(&self, worker: &str, runs: impl Iterator<Item = RunId>) {
        let mut inner = self.lock();
        if inner.served.len() >= REMEMBERED_MAX && !inner.served.contains_key(worker) {
            inner.served.clear();
        }
        for run in runs {
            inner.given += 1;
            let given = inner.given;
            inner.served.insert(worker.to_owned(), given);
            if inner.last.insert(run, worker.to_owned()).is_none() {
                inner.runs.push_back(run);
            }
        }
        while inner.runs.len() > REMEMBERED_MAX {
            if let Some(oldest) = inner.runs.pop_front() {
                inner.last.remove(&oldest);
            }
        }
    }
}

impl Chair {
    /// How many tasks all together would take that wait with this one; nothing, if it is alone.
    pub(super) fn company(&self) -> Option<usize> {
        let inner = self.lounge.lock();
        let own = inner.guests.get(&self.number)?;
        let others = inner
            .guests
            .values()
            .filter(|guest| guest.scope == own.scope);
        let (count, room) =
            others.fold((0, 0), |(count, room), guest| (count + 1, room + guest.max));
        (count > 1).then_some(room)
    }

    /// Which of these tasks this worker is to take; the others are left to those it waits with.
    pub(super) fn share(
        &self,
        tasks: &[TaskRow],
        loads: &HashMap<String, i64>,
        choice: impl Fn(&str) -> WorkerChoice,
    ) -> Vec<bool> {
        let mut inner = self.lounge.lock();
        let (numbers, guests): (Vec<&u64>, Vec<&Guest>) = inner.guests.iter().unzip();
        let candidates = guests.iter().map(|guest| Candidate {
            worker: guest.worker.clone(),
            room: guest.max,
            load: loads.get(&guest.worker).copied().unwrap_or_default(),
            served: inner.served.get(&guest.worker).copied().unwrap_or_default(),
        });
        let wanted = tasks.iter().map(|task| Wanted {
            choice: choice(&task.queue),
            last: inner.last.get(&task.run).cloned(),
            fits: guests.iter().map(|guest| guest.fits(task)).collect(),
        });
        let own = numbers.iter().position(|number| **number == self.number);
        let given = choose(&wanted.collect::<Vec<_>>(), candidates.collect());
        let share: Vec<_> = given
            .iter()
            .map(|given| given.is_some() && *given == own)
            .collect();
        inner.left |= given.iter().any(|given| given.is_some() && *given != own);
        share
    }

    /// Waits no longer. Says whether something was left to somebody, who is now asked anew: it may
    /// have been this worker.
    pub(super) fn leave(self) -> bool {
        std::mem::take(&mut self.lounge.lock().left)
    }
}

impl Drop for Chair {
    fn drop(&mut self) {
        self.lounge.lock().guests.remove(&self.number);
    }
}
