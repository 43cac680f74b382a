//! What a journal says has happened: the state that any prefix of a run's entries gives.
//!
//! Pure: entries in, state out. The same function serves replay after a crash, the live owner
//! (which applies each entry as it is committed) and views.

mod payload;

use std::collections::{BTreeMap, HashMap};

use matrix_core::Timestamp;
use matrix_core::id::ApprovalId;
use serde_json::Value;

pub use self::payload::{
    ChildEnd, Continued, Ended, FailedAttempt, ForkPoint, Origin, Spawned, Started,
};

use crate::entry::{Entry, EntryKind};
use crate::error::StepError;
use crate::run::{Decision, Verdict};
use crate::step::EffectClass;
use crate::stopped::Stopped;

/// What is recorded of a run that this one started.
#[derive(Debug, Clone, PartialEq)]
pub struct Child {
    /// What was started.
    pub spawned: Spawned,
    /// What was asked for, so that replay recognises it.
    pub fingerprint: String,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Position of the entry that started it.
    pub seq: i64,
}

/// What is recorded of one step.
#[derive(Debug, Clone, Default, PartialEq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is known from another entry, and none says anything about the others"
)]
pub struct StepRecord {
    /// What the step was.
    pub fingerprint: String,
    /// Beginnings, of which at most the last has no result.
    pub begun: u32,
    /// Whether the last beginning has neither result nor error.
    pub open: bool,
    /// Whether the last attempt failed without anyone knowing what it did to the world.
    pub in_doubt: bool,
    /// Failed attempts.
    pub failures: u32,
    /// When the next attempt is due.
    pub retry_at: Option<Timestamp>,
    /// How it ended.
    pub outcome: Option<Result<Value, StepError>>,
    /// Whether a result or an error was recorded and later erased: nobody knows it any more.
    pub erased: bool,
    /// Whether its result has all the files that it made.
    pub carries: bool,
    /// Its class, if its beginning was recorded.
    pub class: Option<EffectClass>,
    /// Position of the first entry about it.
    pub first_seq: i64,
    /// The generation in which it began; a reset of something later does not change it.
    pub generation: u32,
}

impl StepRecord {
    /// Whether a fork may have it: it ended, and made no files of the run's own but such as its result
    /// has.
    pub fn is_shared(&self) -> bool {
        let has_files = self.class != Some(EffectClass::Workspace) || self.carries;
        self.outcome.is_some() && has_files
    }
}

/// The state that a run's entries give.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct History {
    /// How it began.
    pub started: Option<Started>,
    /// When it began.
    pub started_at: Timestamp,
    steps: HashMap<String, StepRecord>,
    timers: HashMap<String, (Timestamp, bool)>,
    requested: HashMap<String, ApprovalId>,
    decisions: HashMap<ApprovalId, Vec<Decision>>,
    signals: HashMap<String, Vec<Value>>,
    children: HashMap<String, Child>,
    /// Why it is to be cancelled.
    pub cancel: Option<String>,
    /// Why it rests.
    pub paused: Option<String>,
    /// How it came to rest by itself; nothing if a person let it rest.
    pub stopped: Option<Stopped>,
    /// Whether it was cancelled while it rested: if it cannot go on, it ends.
    pub given_up: bool,
    /// Raised by each reset.
    pub generation: u32,
    /// How it ended.
    pub ended: Option<Ended>,
    /// Position of the newest entry.
    pub seq: i64,
}

fn text(payload: &Value, key: &str) -> String {
    payload
        .get(key)
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned()
}

impl History {
    /// The state after all these entries.
    pub fn replay(entries: &[Entry]) -> Self {
        // Each with the generation in which it was written.
        let mut live: Vec<(&Entry, u32)> = Vec::with_capacity(entries.len());
        let mut history = Self {
            seq: -1,
            ..Self::default()
        };
        for entry in entries {
            if entry.kind == EntryKind::Reset {
                let from = reset_position(entry);
                live.retain(|(earlier, _)| earlier.seq < from || begins(earlier.kind));
                let mut again = Self {
                    seq: -1,
                    ..Self::default()
                };
                for (earlier, generation) in &live {
                    again.generation = *generation;
                    again.apply(earlier);
                }
                // Whoever resets a run also wants it to go on.
                (again.paused, again.stopped) = (None, None);
                again.ended = None;
                again.generation = history.generation + 1;
                again.seq = entry.seq;
                history = again;
            } else {
                if entry.kind == EntryKind::Continued {
                    live.clear();
                }
                live.push((entry, history.generation));
                history.apply(entry);
            }
        }
        history
    }

    /// What a fork has of the run it comes from: what ended. What was under way is the other run's
    /// affair, as are its questions to people and the files it made.
    fn inherited(&self) -> Self {
        let steps = self.steps.iter().filter(|(_, step)| step.is_shared());
        let timers = self.timers.iter().filter(|(_, (_, fired))| *fired);
        let children = self
            .children
            .iter()
            .filter(|(_, child)| child.ended.is_some());
        let copy = |(path, step): (&String, &StepRecord)| {
            let step = StepRecord {
                generation: 0,
                ..step.clone()
            };
            (path.clone(), step)
        };
        Self {
            steps: steps.map(copy).collect(),
            timers: timers.map(|(path, timer)| (path.clone(), *timer)).collect(),
            children: children
                .map(|(path, child)| (path.clone(), child.clone()))
                .collect(),
            signals: self.signals.clone(),
            seq: self.seq,
            ..Self::default()
        }
    }

    /// What is left when the function starts again with another input. Where that was erased,
    /// nobody can go on.
    fn continued(&self, continued: Option<Continued>) -> Self {
        let Some(continued) = continued else {
            return Self {
                generation: self.generation + 1,
                seq: self.seq,
                ..Self::default()
            };
        };
        Self {
            started: Some(continued.started),
            started_at: continued.started_at,
            signals: continued.signals.into_iter().collect(),
            cancel: continued.cancel,
            paused: continued.paused,
            generation: continued.generation,
            seq: self.seq,
            ..Self::default()
        }
    }

    fn begin(&mut self, entry: &Entry, payload: &Value) {
        let class = EffectClass::parse(&text(payload, "class"));
        let carries = payload.get("carries_files");
        let carries = carries.is_some_and(|value| value == true);
        let step = self.record(entry);
        step.class = class;
        step.carries = carries;
        step.begun += 1;
        step.open = true;
        step.in_doubt = false;
        step.retry_at = None;
    }

    /// The state after one more entry. A reset needs the whole journal: see [`Self::replay`].
    pub fn apply(&mut self, entry: &Entry) {
        // What the function wrote and what came by mail may be heard of in another order than
        // they were committed in.
        self.seq = self.seq.max(entry.seq);
        let payload = entry.payload.clone().unwrap_or_default();
        match entry.kind {
            EntryKind::RunStarted => self.start(entry, payload),
            EntryKind::StepBegun => self.begin(entry, &payload),
            EntryKind::StepCompleted => {
                let step = self.record(entry);
                step.open = false;
                step.in_doubt = false;
                step.erased = entry.payload.is_none();
                step.outcome = Some(Ok(payload));
            }
            EntryKind::StepFailed => self.fail(entry, payload),
            EntryKind::TimerSet => {
                let due = payload.get("due").and_then(Value::as_i64);
                let due = Timestamp::from_micros(due.unwrap_or_default());
                self.timers.insert(entry.path.clone(), (due, false));
            }
            EntryKind::TimerFired => {
                self.timers.entry(entry.path.clone()).or_default().1 = true;
            }
            EntryKind::ApprovalRequested => {
                if let Ok(id) = text(&payload, "approval").parse() {
                    self.requested.insert(entry.path.clone(), id);
                }
            }
            EntryKind::ApprovalDecided => self.decide(entry, &payload),
            EntryKind::SignalReceived => {
                self.signals
                    .entry(entry.path.clone())
                    .or_default()
                    .push(payload);
            }
            EntryKind::ChildSpawned => self.spawn(entry, payload),
            EntryKind::ChildEnded => self.bury(entry, payload),
            EntryKind::CancelRequested => {
                self.cancel = Some(text(&payload, "reason"));
                // Whoever ends a run that rests wants it to go on to its end.
                self.given_up |= self.paused.take().is_some();
                self.stopped = None;
            }
            EntryKind::Paused => {
                self.paused = Some(text(&payload, "reason"));
                let stopped: Option<Stopped> = serde_json::from_value(payload).ok();
                self.stopped = stopped.map(|stopped| Stopped {
                    since: entry.at,
                    ..stopped
                });
            }
            EntryKind::Resumed => (self.paused, self.stopped) = (None, None),
            EntryKind::Reset => self.generation += 1,
            EntryKind::Continued => *self = self.continued(serde_json::from_value(payload).ok()),
            EntryKind::RunCompleted => self.ended = Some(Ended::Completed(payload)),
            EntryKind::RunFailed => {
                let error = serde_json::from_value(payload)
                    .unwrap_or_else(|_| StepError::permanent("erased", "the error was erased"));
                self.ended = Some(Ended::Failed(error));
            }
            EntryKind::RunCancelled => {
                self.ended = Some(Ended::Cancelled(text(&payload, "reason")));
            }
        }
    }

    fn start(&mut self, entry: &Entry, payload: Value) {
        let started: Option<Started> = serde_json::from_value(payload).ok();
        let origin = started.as_ref().map(|started| &started.origin);
        if matches!(origin, Some(Origin::ForkOf(_))) {
            *self = self.inherited();
        }
        self.started = started;
        self.started_at = entry.at;
    }

    fn spawn(&mut self, entry: &Entry, payload: Value) {
        if let Ok(spawned) = serde_json::from_value(payload) {
            let child = Child {
                spawned,
                fingerprint: entry.fingerprint.clone(),
                ended: None,
                seq: entry.seq,
            };
            self.children.insert(entry.path.clone(), child);
        }
    }

    fn bury(&mut self, entry: &Entry, payload: Value) {
        let end: Option<ChildEnd> = serde_json::from_value(payload).ok();
        let child = self.children.get_mut(&entry.path);
        // The end of a run that a reset took back is not news any more.
        if let (Some(child), Some(end)) = (child, end)
            && child.spawned.run == end.run
        {
            child.ended = Some(end.ended);
        }
    }

    fn record(&mut self, entry: &Entry) -> &mut StepRecord {
        let generation = self.generation;
        self.steps
            .entry(entry.path.clone())
            .or_insert_with(|| StepRecord {
                fingerprint: entry.fingerprint.clone(),
                first_seq: entry.seq,
                generation,
                ..StepRecord::default()
            })
    }

    fn fail(&mut self, entry: &Entry, payload: Value) {
        let failed: Option<FailedAttempt> = serde_json::from_value(payload).ok();
        let step = self.record(entry);
        step.open = false;
        step.failures += 1;
        let Some(failed) = failed else {
            step.erased = true;
            return;
        };
        step.in_doubt = failed.in_doubt;
        step.retry_at = failed.retry_at;
        if failed.is_final {
            step.outcome = Some(Err(failed.error));
        }
    }

    fn decide(&mut self, entry: &Entry, payload: &Value) {
        let Ok(approval) = text(payload, "approval").parse::<ApprovalId>() else {
            return;
        };
        let verdict = match text(payload, "verdict").as_str() {
            "approve" => Verdict::Approve,
            _ => Verdict::Reject,
        };
        self.decisions.entry(approval).or_default().push(Decision {
            approval,
            verdict,
            actor: entry.actor.clone(),
            at: entry.at,
            reason: text(payload, "reason"),
            self_approval: payload.get("self_approval").and_then(Value::as_bool) == Some(true),
            seq: entry.seq,
        });
    }

    /// What is recorded of the step at an address.
    pub fn step(&self, path: &str) -> Option<&StepRecord> {
        self.steps.get(path)
    }

    /// All recorded steps with their addresses, in the order in which they began.
    pub fn steps(&self) -> Vec<(&str, &StepRecord)> {
        let mut steps: Vec<_> = self
            .steps
            .iter()
            .map(|(path, step)| (path.as_str(), step))
            .collect();
        steps.sort_by_key(|(_, step)| step.first_seq);
        steps
    }

    /// When the timer at an address is due, and whether it has fired.
    pub fn timer(&self, path: &str) -> Option<(Timestamp, bool)> {
        self.timers.get(path).copied()
    }

    /// Whether the question at an address was asked.
    pub fn requested(&self, path: &str) -> Option<ApprovalId> {
        self.requested.get(path).copied()
    }

    /// The answers to a question, oldest first.
    pub fn decisions(&self, approval: ApprovalId) -> &[Decision] {
        self.decisions.get(&approval).map_or(&[], Vec::as_slice)
    }

    /// The address of everything that is recorded of steps, timers, questions and runs started.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = &str> {
        let steps = self.steps.keys().chain(self.timers.keys());
        let others = self.requested.keys().chain(self.children.keys());
        steps.chain(others).map(String::as_str)
    }

    /// What is recorded of the run that was started at an address.
    pub fn child(&self, path: &str) -> Option<&Child> {
        self.children.get(path)
    }

    /// The runs that this one started, with the addresses they were started at, oldest first.
    pub fn children(&self) -> Vec<(&str, &Child)> {
        let mut all: Vec<_> = self
            .children
            .iter()
            .map(|(path, child)| (path.as_str(), child))
            .collect();
        all.sort_by_key(|(_, child)| child.seq);
        all
    }

    /// Those of [`Self::children`] that have not ended.
    pub fn live_children(&self) -> Vec<(&str, &Child)> {
        let mut live = self.children();
        live.retain(|(_, child)| child.ended.is_none());
        live
    }

    /// The signals that are left when so many of each name were taken.
    pub(crate) fn signals_after(
        &self,
        taken: impl Fn(&str) -> usize,
    ) -> BTreeMap<String, Vec<Value>> {
        self.signals
            .iter()
            .map(|(name, values)| {
                let left = values.iter().skip(taken(name)).cloned().collect::<Vec<_>>();
                (name.clone(), left)
            })
            .filter(|(_, left)| !left.is_empty())
            .collect()
    }

    /// The values received under a signal's name, oldest first.
    pub fn signals(&self, name: &str) -> &[Value] {
        self.signals.get(name).map_or(&[], Vec::as_slice)
    }
}

/// Whether a history begins with an entry of this kind; no reset takes it back.
fn begins(kind: EntryKind) -> bool {
    matches!(kind, EntryKind::RunStarted | EntryKind::Continued)
}

/// The position from which a reset takes back.
pub fn reset_position(entry: &Entry) -> i64 {
    let from = entry
        .payload
        .as_ref()
        .and_then(|payload| payload.get("from_seq"));
    from.and_then(Value::as_i64).unwrap_or(entry.seq)
}
