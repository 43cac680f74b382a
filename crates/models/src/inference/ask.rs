//! A call as a step of a run.

use std::time::Duration;

use matrix_core::{Authorised, Caller, Digest, Money};
use matrix_engine::spans::step_id;
use matrix_engine::{Run, RunError, Step, StepError};
use serde::{Deserialize, Serialize};

use super::Trace;
use crate::chat::{ChatAnswer, ChatRequest};
use crate::error::{BUSY, ModelError, NO_MODEL, NONE_LEFT, SLOW, UPSTREAM};
use crate::gateway::{Gateway, ModelUse, Receipt};
use crate::redact::Counts;
use crate::usage::Usage;

/// An answer as a run's journal has it, with what it cost.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The answer; its `id` is the provider's.
    pub answer: ChatAnswer,
    /// The digest of the request as it was sent, without what was kept back from the model.
    pub request: Digest,
    /// The model, by its name and version here.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// What was used.
    pub usage: Usage,
    /// Whether that was estimated.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub estimated: bool,
    /// Whether the answer was kept from an earlier call.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
    /// What was reserved for it.
    pub reserved: Money,
    /// What it cost.
    pub cost: Money,
    /// Why models that came before were passed over.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed: Vec<String>,
    /// How many things of each class were kept back from the model. A journal forgets nothing, so their
    /// placeholders stay in the answer.
    #[serde(default, skip_serializing_if = "Counts::is_empty")]
    pub redacted: Counts,
}

/// Asks for an answer as a step of a run: a metered one, which is never asked for again once it is
/// recorded, and sent a bounded number of times into crashes. `asks` is what the call is for; its run and
/// trace are filled in here. The caller is the run's.
///
/// What may go away by itself (a provider that is busy, slow or down) is tried again later; everything
/// else is the step's error, with the code of the model's error.
pub async fn ask(
    run: &Run,
    gateway: &Gateway,
    (name, asks): (&str, &ModelUse),
    request: &ChatRequest,
) -> Result<Recorded, RunError> {
    // Of what was asked for: it must stay the same when a policy changes in the middle of a run.
    let digest = matrix_core::canonical::digest(&(&asks.model, request))?;
    ask_known(run, gateway, (name, asks), digest, || request.clone()).await
}

/// The same for a request whose digest is known, so that a long conversation is put together only where
/// it is really sent, and not in a replay.
pub async fn ask_known(
    run: &Run,
    gateway: &Gateway,
    (name, asks): (&str, &ModelUse),
    digest: Digest,
    request: impl Fn() -> ChatRequest + Send + Sync,
) -> Result<Recorded, RunError> {
    let step = Step::metered(name).input(&digest);
    run.step(step, |context| {
        let parent = step_id(context.run, context.epoch, &context.path, context.attempt);
        let asks = within(run, asks, parent);
        let (caller, request) = (run.caller().clone(), request());
        async move {
            let allowed = may(gateway, caller, asks).map_err(|error| failed(&error))?;
            let answered = gateway.chat(&allowed, request).await;
            let answered = answered.map_err(|error| failed(&error))?;
            let sent = answered.receipt.request.unwrap_or(digest);
            Ok(recorded(answered.answer, sent, answered.receipt))
        }
    })
    .await
}

/// A call of this run.
pub(crate) fn within(run: &Run, asks: &ModelUse, parent: [u8; 8]) -> ModelUse {
    let mut asks = asks.clone();
    asks.labels.run = Some(run.id().to_string());
    asks.journaled = true;
    asks.trace = Some(Trace {
        trace: run.trace().to_owned(),
        parent,
    });
    asks
}

/// Asks whether a run's caller may; what it may is looked at with each call, not when the run began.
pub(crate) fn may(
    gateway: &Gateway,
    caller: Caller,
    asks: ModelUse,
) -> Result<Authorised<ModelUse>, ModelError> {
    Ok(Authorised::obtain(gateway.authorizer(), caller, asks)?)
}

fn recorded(answer: ChatAnswer, request: Digest, receipt: Receipt) -> Recorded {
    Recorded {
        answer,
        request,
        model: receipt.model,
        provider: receipt.provider.to_owned(),
        usage: receipt.usage,
        estimated: receipt.estimated,
        cached: receipt.cached.as_str().is_some(),
        reserved: receipt.reserved,
        cost: receipt.cost,
        passed: receipt.passed,
        redacted: receipt.redacted,
    }
}

/// A failed call as a failed attempt of a step.
pub(crate) fn failed(error: &ModelError) -> StepError {
    if let ModelError::Store(error) = error {
        return StepError::transient("storage", error.to_string());
    }
    let code = error.code();
    let mut text = error.to_string();
    if code == NO_MODEL {
        text.push_str(
            "; `matrix model list` shows those that there are, `matrix model add` adds one",
        );
    }
    if ![UPSTREAM, BUSY, SLOW, NONE_LEFT].contains(&code) {
        return StepError::permanent(code.text, text).nothing_done();
    }
    let mut failed = StepError::transient(code.text, text);
    if let Some(after) = error.retry_after() {
        let after = after.min(Duration::from_hours(1));
        failed.retry = matrix_engine::error::Retry::Later {
            after_ms: u64::try_from(after.as_millis()).ok(),
        };
    }
    failed
}
