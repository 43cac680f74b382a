//! What this process counts of calls.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_core::Money;
use matrix_core::meter::{Distribution, Histogram};

use crate::redact::{Action, Class, Counts, Policy};
use crate::registry::Model;
use crate::usage::Usage;

/// Upper bounds in microseconds.
const BOUNDS: &[u64] = &[
    1_000,
    5_000,
    10_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    30_000_000,
    60_000_000,
    300_000_000,
];

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It was answered.
    Answered,
    /// It failed.
    Failed,
    /// It was answered from the cache.
    Cached,
    /// Its asker hung up.
    HungUp,
}

impl Outcome {
    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Cached => "cached",
            Self::HungUp => "hung_up",
        }
    }
}

/// By what calls are told apart: model, provider, outcome.
pub type CallMeter = (String, &'static str, Outcome);

/// What calls of a model used and cost.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Paid {
    /// Tokens, of which kinds.
    pub usage: Usage,
    /// What they cost.
    pub cost: Money,
}

/// What this process counts of calls.
#[derive(Debug)]
pub struct Meters {
    calls: Mutex<BTreeMap<CallMeter, Arc<Histogram>>>,
    paid: Mutex<BTreeMap<(String, &'static str), Paid>>,
    first: Histogram,
    redactions: Mutex<BTreeMap<(String, &'static str), u64>>,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            calls: Mutex::default(),
            paid: Mutex::default(),
            first: Histogram::new(BOUNDS),
            redactions: Mutex::default(),
        }
    }
}

impl Meters {
    pub(super) fn call(&self, model: &Model, outcome: Outcome, took: Duration) {
        let key = (
            model.name.clone(),
            model.spec.provider.kind.as_str(),
            outcome,
        );
        let histogram = {
            let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
            let made = || Arc::new(Histogram::new(BOUNDS));
            Arc::clone(calls.entry(key).or_insert_with(made))
        };
        histogram.count_micros(took);
    }

    pub(super) fn paid(&self, model: &Model, usage: &Usage, cost: Money) {
        let key = (model.name.clone(), model.spec.provider.kind.as_str());
        let mut all = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let paid = all.entry(key).or_default();
        paid.usage = paid.usage.plus(*usage);
        let nanos = paid.cost.as_nanos().saturating_add(cost.as_nanos());
        paid.cost = Money::from_nanos(nanos);
    }

    pub(super) fn first(&self, took: Duration) {
        self.first.count_micros(took);
    }

    /// What was found in a request or an answer, and did not refuse it.
    pub(super) fn redacted(&self, policy: &Policy, counts: &Counts) {
        for (class, count) in counts {
            let action = policy.action(*class);
            if action != Action::Block {
                self.found(class.as_str(), action, *count);
            }
        }
    }

    /// The operator's service changed so many texts.
    pub(super) fn hooked(&self, texts: u64) {
        if texts > 0 {
            self.found("hook", Action::Redact, texts);
        }
    }

    /// Something was found that refuses a call or an answer.
    pub(super) fn blocked(&self, class: &str) {
        // What a service calls its classes is not counted one by one.
        let known = Class::ALL.into_iter().find(|known| known.as_str() == class);
        self.found(known.map_or("hook", Class::as_str), Action::Block, 1);
    }

    fn found(&self, class: &str, action: Action, count: u64) {
        let all = self.redactions.lock();
        let mut all = all.unwrap_or_else(PoisonError::into_inner);
        *all.entry((class.to_owned(), action.as_str())).or_default() += count;
    }

    /// How many things of each class were found, and what was done with them.
    pub fn redactions(&self) -> Vec<((String, &'static str), u64)> {
        let all = self.redactions.lock();
        let all = all.unwrap_or_else(PoisonError::into_inner);
        all.iter()
            .map(|(key, count)| (key.clone(), *count))
            .collect()
    }

    /// How long calls took, in microseconds.
    pub fn calls(&self) -> Vec<(CallMeter, Distribution)> {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls
            .iter()
            .map(|(key, one)| (key.clone(), one.get()))
            .collect()
    }

    /// What calls used and cost, by model and provider.
    pub fn spent(&self) -> Vec<((String, &'static str), Paid)> {
        let all = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, paid)| (key.clone(), *paid)).collect()
    }

    /// How long the first words of streams took, in microseconds.
    pub fn first_words(&self) -> Distribution {
        self.first.get()
    }
}
