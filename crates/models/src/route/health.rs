//! What this process has seen of each model: whether it answers, how fast, how much is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Scope};

use super::breaker::{Breaker, Gate};
use crate::registry::{KeyLimits, Model};

/// How much a new answer counts in what answers took of late.
const NEW: u32 = 4;

/// A minute.
const MINUTE: Duration = Duration::from_mins(1);

/// Something of each name of each tenant.
type Named<T> = HashMap<(Scope, String), Arc<Mutex<T>>>;

/// Every model's health. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Board {
    clock: Arc<dyn Clock>,
    models: Arc<Mutex<Named<Health>>>,
    keys: Arc<Mutex<Named<Load>>>,
}

#[derive(Debug, Default)]
struct Health {
    breaker: Breaker,
    latency: Option<Duration>,
    busy: u32,
}

/// What is used of a key's limits.
#[derive(Debug, Default)]
struct Load {
    busy: u32,
    /// When the minute began that is counted.
    minute: Duration,
    calls: u32,
    tokens: u64,
}

/// Why a model is not asked now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shut {
    /// In words.
    pub why: &'static str,
    /// When it may be.
    pub retry_after: Duration,
}

/// A call under way. Dropped without a word it says nothing about the provider.
#[derive(Debug)]
pub struct Attempt {
    clock: Arc<dyn Clock>,
    began: Duration,
    health: Arc<Mutex<Health>>,
    load: Arc<Mutex<Load>>,
    over: bool,
}

impl Board {
    /// Nothing was seen yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            models: Arc::default(),
            keys: Arc::default(),
        }
    }

    /// How long a model's answers took of late, how many calls are under way, and whether it would
    /// be asked now.
    pub fn look(&self, scope: &Scope, model: &Model) -> (Option<Duration>, u32, Gate) {
        let health = self.health(scope, model);
        let health = locked(&health);
        let gate = health.breaker.peek(self.clock.monotonic());
        (health.latency, health.busy, gate)
    }

    /// Its breaker.
    pub fn breaker(&self, scope: &Scope, model: &Model) -> Breaker {
        locked(&self.health(scope, model)).breaker
    }

    /// Begins a call of about so many tokens, unless its breaker or its key's limits are against it.
    pub fn begin(&self, scope: &Scope, model: &Model, tokens: u64) -> Result<Attempt, Shut> {
        let now = self.clock.monotonic();
        let load = self.load(scope, model);
        {
            let mut load = locked(&load);
            load.take(&model.spec.limits, now, tokens)?;
        }
        let health = self.health(scope, model);
        let gate = locked(&health).breaker.ask(now);
        if let Gate::Wait(retry_after) = gate {
            locked(&load).give_back(tokens);
            return Err(Shut {
                why: "it failed of late and is left alone",
                retry_after,
            });
        }
        locked(&health).busy += 1;
        Ok(Attempt {
            clock: Arc::clone(&self.clock),
            began: now,
            health,
            load,
            over: false,
        })
    }

    fn health(&self, scope: &Scope, model: &Model) -> Arc<Mutex<Health>> {
        let mut models = locked(&self.models);
        let key = (scope.clone(), model.full_name());
        Arc::clone(models.entry(key).or_default())
    }

    fn load(&self, scope: &Scope, model: &Model) -> Arc<Mutex<Load>> {
        let provider = &model.spec.provider;
        let key = provider.key.as_ref().map(ToString::to_string);
        let place = provider.base_url.as_deref().unwrap_or_default();
        let key = format!("{} {place} {}", provider.kind, key.unwrap_or_default());
        let mut keys = locked(&self.keys);
        Arc::clone(keys.entry((scope.clone(), key)).or_default())
    }
}

impl Load {
    fn take(&mut self, limits: &KeyLimits, now: Duration, tokens: u64) -> Result<(), Shut> {
        if now.saturating_sub(self.minute) >= MINUTE {
            self.minute = now;
            self.calls = 0;
            self.tokens = 0;
        }
        let rest = MINUTE.saturating_sub(now.saturating_sub(self.minute));
        let shut = |why, retry_after| Err(Shut { why, retry_after });
        if limits.concurrency.is_some_and(|most| self.busy >= most) {
            return shut(
                "its key has as many calls under way as it may",
                Duration::from_secs(1),
            );
        }
        if limits
            .requests_per_minute
            .is_some_and(|most| self.calls >= most)
        {
            return shut("its key has made all the calls of this minute", rest);
        }
        let full = |most: u64| self.tokens > 0 && self.tokens.saturating_add(tokens) > most;
        if limits.tokens_per_minute.is_some_and(full) {
            return shut("its key has used up the tokens of this minute", rest);
        }
        self.busy += 1;
        self.calls += 1;
        self.tokens = self.tokens.saturating_add(tokens);
        Ok(())
    }
}

impl Load {
    /// A call that was taken in is not made.
    fn give_back(&mut self, tokens: u64) {
        self.busy = self.busy.saturating_sub(1);
        self.calls = self.calls.saturating_sub(1);
        self.tokens = self.tokens.saturating_sub(tokens);
    }
}

impl Attempt {
    /// When it began.
    pub fn took(&self) -> Duration {
        self.clock.monotonic().saturating_sub(self.began)
    }

    /// It was answered, or began to be.
    pub fn succeed(&mut self) {
        let took = self.took();
        let mut health = locked(&self.health);
        health.breaker.succeed();
        health.latency = Some(match health.latency {
            Some(before) => (before * (NEW - 1) + took) / NEW,
            None => took,
        });
        self.over = true;
    }

    /// It failed in a way that says something about the provider.
    pub fn fail(&mut self) {
        locked(&self.health).breaker.fail(self.clock.monotonic());
        self.over = true;
    }
}

impl Drop for Attempt {
    fn drop(&mut self) {
        let mut health = locked(&self.health);
        health.busy = health.busy.saturating_sub(1);
        if !self.over {
            health.breaker.forget(self.clock.monotonic());
        }
        let mut load = locked(&self.load);
        load.busy = load.busy.saturating_sub(1);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
