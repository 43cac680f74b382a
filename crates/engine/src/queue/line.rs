//! The part of a flow that was looked at: a few of its first runs.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use matrix_core::{RunId, Timestamp};
use matrix_store::tables::queue::Queued;

/// The most runs of a flow that are kept in memory.
pub(super) const KEPT_MAX: usize = 512;

/// How far a flow was looked into in this pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Seen {
    /// Only what was known before.
    Known,
    /// Its first runs.
    Head,
    /// The first of each key, too.
    Keys,
}

/// What is known of a flow.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// The first ones, in order.
    queued: VecDeque<Queued>,
    /// Those before them whose key is taken in this pass, in order.
    aside: Vec<Queued>,
    seen: Option<Seen>,
    /// Whether the last look at its first runs gave all there are.
    whole: bool,
    /// The last key that was looked at, when there are too many for one look.
    key: String,
}

impl Line {
    /// A pass begins: whoever was set aside is looked at again.
    pub(super) fn begin(&mut self) {
        for one in std::mem::take(&mut self.aside).into_iter().rev() {
            self.queued.push_front(one);
        }
        self.seen = Some(Seen::Known);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queued.is_empty() && self.aside.is_empty()
    }

    /// How far the flow was looked into; nothing if it was not part of this pass.
    pub(super) fn seen(&self) -> Option<Seen> {
        self.seen
    }

    /// Nothing more comes from it in this pass.
    pub(super) fn end(&mut self) {
        self.seen = None;
    }

    pub(super) fn first(&self) -> Option<&Queued> {
        self.queued.front()
    }

    pub(super) fn pop(&mut self) -> Option<Queued> {
        self.queued.pop_front()
    }

    pub(super) fn set_aside(&mut self) {
        let first = self.queued.pop_front();
        self.aside.extend(first);
    }

    /// Whether looking at the first of each key may give more.
    pub(super) fn has_more_keys(&self) -> bool {
        !self.whole && !self.aside.is_empty()
    }

    /// The key behind which the next look begins.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// Its first runs, of which there are more if they are as many as were asked for.
    pub(super) fn fill_head(&mut self, found: Vec<Queued>, asked: usize) {
        self.whole = found.len() < asked;
        self.seen = Some(Seen::Head);
        self.merge(found);
    }

    /// The first runs of some keys and some without one. The next look begins behind the last key,
    /// or from the beginning when these were all.
    pub(super) fn fill_keys(&mut self, found: Vec<Queued>, asked: usize) {
        let keyed = found.iter().filter(|one| !one.key.is_empty());
        let (count, last) = (keyed.clone().count(), keyed.map(|one| &one.key).max());
        self.key = match last {
            Some(last) if count >= asked => last.clone(),
            _ => String::new(),
        };
        self.seen = Some(Seen::Keys);
        self.merge(found);
    }

    /// Whether there are keys that this pass did not look at.
    pub(super) fn is_cut(&self) -> bool {
        !self.key.is_empty()
    }

    /// What was found counts before what was known: a run may have another key by now.
    fn merge(&mut self, found: Vec<Queued>) {
        let keys: BTreeMap<RunId, &str> = found.iter().map(|one| (one.run, &*one.key)).collect();
        let holds = |one: &Queued| keys.get(&one.run).is_none_or(|key| *key == one.key);
        self.aside.retain(holds);
        self.queued.retain(holds);
        let known: BTreeSet<RunId> = self.aside.iter().map(|one| one.run).collect();
        self.queued.extend(found);
        let place = |one: &Queued| (one.queued_at, one.run);
        self.queued.make_contiguous().sort_by_key(place);
        let mut last: Option<(Timestamp, RunId)> = None;
        self.queued.retain(|one| {
            let new = last != Some(place(one)) && !known.contains(&one.run);
            last = Some(place(one));
            new
        });
        self.queued.truncate(KEPT_MAX);
    }
}
