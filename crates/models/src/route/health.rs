//! What this process has seen of each model: whether it answers, how fast, how much is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use matrix_core::{Clock, Scope};

use super::breaker::{Breaker, Gate};
use crate::provider::Refusal;
use crate::registry::{KeyLimits, Model};

/// How much a new answer counts in what answers took of late.
const NEW: u32 = 4;

/// A minute.
const MINUTE: Duration = Duration::from_mins(1);

/// How long a key is not tried again that was refused.
const REFUSED: Duration = Duration::from_mins(1);

/// How long somebody who was told that it is its turn has until it begins.
const PROMISE: Duration = Duration::from_secs(2);

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
    /// Until when its key is not asked with for it, because it was refused.
    refused: Option<Duration>,
}

/// What is used of a key's limits.
#[derive(Debug, Default, Clone, Copy)]
struct Load {
    busy: u32,
    /// When the minute began that is counted.
    minute: Duration,
    calls: u32,
    tokens: u64,
    /// Until when it is not asked with, because it was refused.
    refused: Option<Duration>,
    /// How many were told that it is their turn and have not begun, and until when that counts.
    promised: (u32, Duration),
}

/// How a model does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// It answers, or nobody has asked it.
    Well,
    /// It failed of late.
    Failing,
    /// It failed again and again, and is left alone.
    LeftAlone,
    /// Its provider refused our key, which is not tried again for a while.
    KeyRefused,
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

    /// How it does.
    pub fn state(&self, scope: &Scope, model: &Model) -> State {
        let (health, now) = (self.health(scope, model), self.clock.monotonic());
        let (refused, breaker) = {
            let health = locked(&health);
            (health.refused, health.breaker)
        };
        let key = locked(&self.load(scope, model)).refused;
        if [refused, key]
            .into_iter()
            .flatten()
            .any(|until| now < until)
        {
            return State::KeyRefused;
        }
        match breaker {
            Breaker::Closed => State::Well,
            Breaker::Failing(_) => State::Failing,
            Breaker::Open { .. } | Breaker::Probing { .. } => State::LeftAlone,
        }
    }

    /// Its provider took our key, or refused it, when somebody tried it out.
    pub fn tried(&self, scope: &Scope, model: &Model, refusal: Option<Refusal>) {
        let until = self.clock.monotonic() + REFUSED;
        let (health, load) = (self.health(scope, model), self.load(scope, model));
        locked(&health).refused = refusal
            .filter(|refusal| *refusal == Refusal::Model)
            .map(|_| until);
        locked(&load).refused = refusal
            .filter(|refusal| *refusal == Refusal::Everything)
            .map(|_| until);
    }

    /// Whether a call of about so many tokens could begin now, as far as is known here. Whoever is told
    /// so has a moment to begin, in which others are told to wait.
    pub fn open(&self, scope: &Scope, model: &Model, tokens: u64) -> Result<(), Shut> {
        let now = self.clock.monotonic();
        let (health, load) = (self.health(scope, model), self.load(scope, model));
        let mut load = locked(&load);
        load.accepts(now)?;
        load.turn_over(now);
        let promised = load.promised(now);
        let mut then = Load {
            busy: load.busy.saturating_add(promised),
            calls: load.calls.saturating_add(promised),
            ..*load
        };
        then.take(&model.spec.limits, now, tokens)?;
        locked(&health).open(now, promised)?;
        load.promised = (promised + 1, now + PROMISE);
        Ok(())
    }

    /// Begins a call of about so many tokens, unless its breaker or its key's limits are against it.
    pub fn begin(&self, scope: &Scope, model: &Model, tokens: u64) -> Result<Attempt, Shut> {
        let now = self.clock.monotonic();
        let load = self.load(scope, model);
        {
            let mut load = locked(&load);
            load.accepts(now)?;
            load.promised.0 = load.promised.0.saturating_sub(1);
            load.take(&model.spec.limits, now, tokens)?;
        }
        let health = self.health(scope, model);
        if let Err(shut) = locked(&health).begin(now) {
            locked(&load).give_back(tokens);
            return Err(shut);
        }
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

fn left_alone(retry_after: Duration) -> Shut {
    Shut {
        why: "it failed of late and is left alone",
        retry_after,
    }
}

/// Whether a key that may have been refused is asked with again.
fn accepted(refused: Option<Duration>, now: Duration) -> Result<(), Shut> {
    match refused.filter(|until| now < *until) {
        None => Ok(()),
        Some(until) => Err(Shut {
            why: "its provider refused the key",
            retry_after: until.saturating_sub(now),
        }),
    }
}

impl Health {
    fn accepts(&self, now: Duration) -> Result<(), Shut> {
        accepted(self.refused, now)
    }

    /// Who is left alone is asked by one, to find out whether it is well again.
    fn open(&self, now: Duration, promised: u32) -> Result<(), Shut> {
        self.accepts(now)?;
        match (self.breaker, self.breaker.peek(now)) {
            (_, Gate::Wait(retry_after)) => Err(left_alone(retry_after)),
            (Breaker::Closed | Breaker::Failing(_), Gate::Pass) => Ok(()),
            (_, Gate::Pass) if promised == 0 => Ok(()),
            (_, Gate::Pass) => Err(left_alone(Duration::from_secs(1))),
        }
    }

    fn begin(&mut self, now: Duration) -> Result<(), Shut> {
        self.accepts(now)?;
        match self.breaker.ask(now) {
            Gate::Wait(retry_after) => Err(left_alone(retry_after)),
            Gate::Pass => {
                self.busy += 1;
                Ok(())
            }
        }
    }
}

impl Load {
    fn accepts(&self, now: Duration) -> Result<(), Shut> {
        accepted(self.refused, now)
    }

    /// Begins another minute where one has passed.
    fn turn_over(&mut self, now: Duration) {
        if now.saturating_sub(self.minute) >= MINUTE {
            self.minute = now;
            self.calls = 0;
            self.tokens = 0;
        }
    }

    fn promised(&self, now: Duration) -> u32 {
        let (count, until) = self.promised;
        if now < until { count } else { 0 }
    }

    fn take(&mut self, limits: &KeyLimits, now: Duration, tokens: u64) -> Result<(), Shut> {
        self.turn_over(now);
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

    /// The provider refused our key: that says nothing about its health.
    pub fn refuse(&mut self, refusal: Refusal) {
        let until = Some(self.clock.monotonic() + REFUSED);
        match refusal {
            Refusal::Model => locked(&self.health).refused = until,
            Refusal::Everything => locked(&self.load).refused = until,
        }
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
