//! What a durable function says of a step that a worker outside does.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::{INPUT_BYTES_MAX, is_name};
use crate::error::{RunError, StepError};
use crate::step::{RetryPolicy, Step, StepContext};

/// The queue of tasks that name none.
pub(super) const QUEUE: &str = "default";

/// How long a worker may show no heartbeat, unless its task says otherwise.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// A step that a worker outside does.
#[derive(Debug)]
pub struct Task {
    pub(crate) step: Step,
    pub(crate) name: String,
    pub(crate) queue: String,
    pub(crate) lease: Duration,
    pub(crate) timeout: Option<Duration>,
    input: Value,
    /// The first thing that is wrong with it.
    fault: Option<String>,
}

impl Task {
    fn new(name: impl Into<String>, step: impl FnOnce(String) -> Step) -> Self {
        let name = name.into();
        let fault = (!is_name(&name)).then(|| format!("`{name}` cannot name a task"));
        Self {
            step: step(name.clone()),
            name,
            queue: QUEUE.into(),
            lease: LEASE,
            timeout: None,
            input: Value::Null,
            fault,
        }
    }

    /// A task that changes nothing outside: offered again when its worker is lost.
    pub fn read(name: impl Into<String>) -> Self {
        Self::new(name, Step::read)
    }

    /// A task that may be repeated with the same key: offered again when its worker is lost.
    pub fn idempotent(name: impl Into<String>) -> Self {
        Self::new(name, Step::idempotent)
    }

    /// A task that costs money each time: offered again a bounded number of times.
    pub fn metered(name: impl Into<String>) -> Self {
        Self::new(name, Step::metered)
    }

    /// A task that changes the world: in doubt when its worker is lost.
    pub fn external(name: impl Into<String>) -> Self {
        Self::new(name, Step::external)
    }

    /// What the worker is given; part of the step's fingerprint.
    #[must_use]
    pub fn input<T: Serialize>(mut self, input: &T) -> Self {
        match serde_json::to_value(input) {
            Ok(value) => self.input = value,
            Err(error) => self.fault = Some(error.to_string()),
        }
        self
    }

    /// The step's name in the run, where it is not the task's.
    #[must_use]
    pub fn step_name(mut self, name: impl Into<String>) -> Self {
        self.step.name = name.into();
        self
    }

    /// The queue whose workers may take it; `default` without.
    #[must_use]
    pub fn queue(mut self, queue: impl Into<String>) -> Self {
        self.queue = queue.into();
        if !is_name(&self.queue) {
            self.fault = Some(format!("`{}` cannot name a queue", self.queue));
        }
        self
    }

    /// How often and when a failed attempt is made again.
    #[must_use]
    pub fn retry(mut self, retry: RetryPolicy) -> Self {
        self.step = self.step.retry(retry);
        self
    }

    /// How long a worker may take from its lease to its report; as long as it lives, without.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// How long a worker may show no heartbeat; 15 seconds without.
    #[must_use]
    pub fn lease(mut self, lease: Duration) -> Self {
        self.lease = lease;
        self
    }

    /// The task with its input as part of what the step is, or what is wrong with it.
    pub(crate) fn checked(mut self) -> Result<Self, RunError> {
        let bytes = self.input.to_string().len();
        let too_large = (bytes > INPUT_BYTES_MAX).then(|| {
            format!(
                "the input of task `{}` has {bytes} bytes; {INPUT_BYTES_MAX} are allowed",
                self.name
            )
        });
        if let Some(fault) = self.fault.take().or(too_large) {
            return Err(StepError::permanent("bad_task", fault).into());
        }
        let step = std::mem::replace(&mut self.step, Step::read(""));
        self.step = step.input(&(&self.name, &self.input));
        Ok(self)
    }

    /// What a worker is told, as it is kept.
    pub(crate) fn offer(&self, context: &StepContext) -> String {
        json!({
            "name": self.name, "input": self.input, "step": context.path, "key": context.key,
            "attempt": context.attempt, "class": self.step.class.as_str(),
        })
        .to_string()
    }
}
