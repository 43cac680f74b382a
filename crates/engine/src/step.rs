//! A step: one effect, its class, and what happens when it fails or is interrupted.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use matrix_core::canonical::{self, NotCanonical};
use matrix_core::{Digest, RunId, Timestamp};
use matrix_store::{StoreError, Tx};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::watch;

use crate::error::StepError;
use crate::run::{Progress, Pulse};

/// What a crash between a step's beginning and its result means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EffectClass {
    /// Changes nothing outside: runs again.
    Read,
    /// The other side knows the key: runs again with the same one.
    Idempotent,
    /// Changes files of its own: they are restored, then it runs again.
    Workspace,
    /// Costs money each time: runs again a bounded number of times, each journaled.
    Metered,
    /// Changes the world: in doubt after a crash, and after an error that does not say
    /// [`StepError::nothing_done`], until a probe or a person says what happened.
    External,
}

impl EffectClass {
    /// The class's name in the journal.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Idempotent => "idempotent",
            Self::Workspace => "workspace",
            Self::Metered => "metered",
            Self::External => "external",
        }
    }

    /// The class of this name.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let all = [
            Self::Read,
            Self::Idempotent,
            Self::Workspace,
            Self::Metered,
            Self::External,
        ];
        all.into_iter().find(|class| class.as_str() == text)
    }

    /// Whether the beginning is journaled before the effect.
    pub(crate) const fn begins(self) -> bool {
        matches!(self, Self::Workspace | Self::Metered | Self::External)
    }
}

/// How often and when a failed attempt is made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// The most attempts, the first included.
    pub attempts: u32,
    /// The delay after the first failure; doubled after each further one.
    pub base: Duration,
    /// The longest delay.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self {
            attempts: 4,
            base: Duration::from_millis(500),
            cap: Duration::from_mins(1),
        }
    }
}

impl RetryPolicy {
    /// The delay after the given number of failures, with full jitter: uniformly between zero and
    /// the doubled base, `random` being that share of it in 1/65536.
    pub fn delay(&self, failures: u32, random: u16) -> Duration {
        let doubled = self
            .base
            .saturating_mul(1_u32 << failures.saturating_sub(1).min(16));
        doubled.min(self.cap).mul_f64(f64::from(random) / 65_536.0)
    }
}

pub(crate) type Probe =
    Box<dyn Fn(StepContext) -> BoxFuture<'static, Result<Option<Value>, StepError>> + Send + Sync>;

pub(crate) type Projection =
    Arc<dyn Fn(&Tx<'_>, &Value, Timestamp) -> Result<(), StoreError> + Send + Sync>;

pub(crate) type Turn = Box<dyn Fn() -> BoxFuture<'static, Option<Later>> + Send + Sync>;

/// Why a step does not begin yet, and when to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Later {
    /// In words.
    pub because: String,
    /// After so long.
    pub after: Duration,
}

/// The description of a step.
pub struct Step {
    pub(crate) name: String,
    pub(crate) class: EffectClass,
    pub(crate) input: Result<Digest, NotCanonical>,
    pub(crate) retry: RetryPolicy,
    pub(crate) carries: bool,
    pub(crate) heartbeat_timeout: Option<Duration>,
    pub(crate) probe: Option<Probe>,
    pub(crate) projection: Option<Projection>,
    pub(crate) turn: Option<Turn>,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("name", &self.name)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

impl Step {
    fn new(name: impl Into<String>, class: EffectClass) -> Self {
        Self {
            name: name.into(),
            class,
            input: Ok(Digest::of(b"")),
            retry: RetryPolicy::default(),
            carries: false,
            heartbeat_timeout: None,
            probe: None,
            projection: None,
            turn: None,
        }
    }

    /// A step that changes nothing outside.
    pub fn read(name: impl Into<String>) -> Self {
        Self::new(name, EffectClass::Read)
    }

    /// A step that may be repeated with the same key.
    pub fn idempotent(name: impl Into<String>) -> Self {
        Self::new(name, EffectClass::Idempotent)
    }

    /// A step that changes files of its own. Its work starts from nothing each time: it must
    /// remove what an interrupted attempt left ([`StepContext::interrupted`]).
    pub fn workspace(name: impl Into<String>) -> Self {
        Self::new(name, EffectClass::Workspace)
    }

    /// A step that costs money each time.
    pub fn metered(name: impl Into<String>) -> Self {
        Self::new(name, EffectClass::Metered)
    }

    /// A step that changes the world.
    pub fn external(name: impl Into<String>) -> Self {
        Self::new(name, EffectClass::External)
    }

    /// What the step depends on; part of its fingerprint.
    #[must_use]
    pub fn input<T: Serialize>(mut self, input: &T) -> Self {
        self.input = canonical::digest(input);
        self
    }

    /// Of a step that changes files of its own: its result says all that it wrote, so that whoever has
    /// the result can make the files again. A fork shares such a step, and none that does not say so.
    #[must_use]
    pub fn carries_files(mut self) -> Self {
        self.carries = true;
        self
    }

    /// How often and when a failed attempt is made again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.retry = retry;
        self
    }

    /// How long an attempt may show no sign of life ([`StepContext::heartbeat`] or
    /// [`StepContext::progress`]) before it is given up: its work is dropped, and what follows is what
    /// follows an error that may go away. A read or an idempotent step is tried again, and an external
    /// one is in doubt. Without it an attempt may take as long as it likes.
    #[must_use]
    pub fn heartbeat_timeout(mut self, timeout: Duration) -> Self {
        self.heartbeat_timeout = Some(timeout);
        self
    }

    /// How to find out whether an interrupted effect happened: its result, or nothing if it did
    /// not happen.
    #[must_use]
    pub fn probe<F, T>(mut self, probe: F) -> Self
    where
        F: Fn(StepContext) -> BoxFuture<'static, Result<Option<T>, StepError>>
            + Send
            + Sync
            + 'static,
        T: Serialize + Send + 'static,
    {
        self.probe = Some(Box::new(move |context| {
            let asked = probe(context);
            Box::pin(async move {
                let Some(found) = asked.await? else {
                    return Ok(None);
                };
                serde_json::to_value(found)
                    .map(Some)
                    .map_err(|error| StepError::permanent("not_json", error.to_string()))
            })
        }));
        self
    }

    /// Whether the step's turn has come: nothing, or when to look again. It is asked before each attempt
    /// begins, so that a wait for a turn, however long and whatever dies meanwhile, is no attempt. What it
    /// says is not remembered.
    #[must_use]
    pub fn turn<F>(mut self, turn: F) -> Self
    where
        F: Fn() -> BoxFuture<'static, Option<Later>> + Send + Sync + 'static,
    {
        self.turn = Some(Box::new(turn));
        self
    }

    /// Rows that follow from the step's result, written in the transaction that records it.
    #[must_use]
    pub fn project<T, F>(mut self, projection: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(&Tx<'_>, T, Timestamp) -> Result<(), StoreError> + Send + Sync + 'static,
    {
        self.projection = Some(Arc::new(move |tx, value, at| {
            let result = serde_json::from_value(value.clone()).map_err(StoreError::corrupt)?;
            projection(tx, result, at)
        }));
        self
    }

    pub(crate) fn fingerprint(&self) -> Result<String, NotCanonical> {
        let parts = (self.class.as_str(), &self.name, self.input.clone()?);
        canonical::digest(&parts).map(|digest| digest.to_string())
    }
}

/// What the work of a step is told.
#[derive(Debug, Clone)]
pub struct StepContext {
    /// The run.
    pub run: RunId,
    /// The step's address.
    pub path: String,
    /// The idempotency key: the same for every attempt of one generation.
    pub key: Digest,
    /// The owner's epoch, a fencing token for targets of our own.
    pub epoch: i64,
    /// Which attempt this is, from one.
    pub attempt: u32,
    /// Whether an earlier attempt may have done something: it began and was never heard of again,
    /// or it failed without anyone knowing what it did.
    pub interrupted: bool,
    /// Becomes true when the run is cancelled.
    pub cancelled: watch::Receiver<bool>,
    pub(crate) pulse: Pulse,
}

impl StepContext {
    /// Says that the attempt lives. An error means that nobody wants it any more, because it was
    /// silent for too long or the run is another worker's by now: its work is to end.
    pub async fn heartbeat(&self) -> Result<(), StepError> {
        self.pulse.beat(None).await
    }

    /// Says that the attempt lives, and how far it is, for whoever watches: how much is done of how
    /// much, in units of the step's own, and what it is doing. It may be said as often as it is known;
    /// the newest is kept, is written at most once a second, and is no entry of the journal.
    pub async fn progress(
        &self,
        done: u64,
        total: Option<u64>,
        message: &str,
    ) -> Result<(), StepError> {
        let message = message.to_owned();
        let progress = Progress {
            done,
            total,
            message,
        };
        self.pulse.beat(Some(progress)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_cap_and_never_pass_it() {
        let policy = RetryPolicy {
            attempts: 9,
            base: Duration::from_secs(1),
            cap: Duration::from_secs(10),
        };
        let longest: Vec<_> = (1..7)
            .map(|n| policy.delay(n, u16::MAX).as_secs_f64())
            .collect();
        for (found, wanted) in longest.iter().zip([1.0, 2.0, 4.0, 8.0, 10.0, 10.0]) {
            assert!((wanted - 0.01..=wanted).contains(found), "{longest:?}");
        }
        assert_eq!(policy.delay(40, 0), Duration::ZERO);
    }

    #[test]
    fn a_fingerprint_depends_on_name_class_and_input() {
        let print = |step: Step| step.fingerprint().unwrap();
        let one = print(Step::read("a").input(&1));
        assert_eq!(one, print(Step::read("a").input(&1)));
        assert_ne!(one, print(Step::read("a").input(&2)));
        assert_ne!(one, print(Step::read("b").input(&1)));
        assert_ne!(one, print(Step::external("a").input(&1)));
    }
}
