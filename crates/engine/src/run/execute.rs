//! A step: done once, recorded, and from then on answered from the journal.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use matrix_core::{Digest, Timestamp};
use matrix_store::tables::queue::Slot;
use matrix_store::tables::throttles;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::{Pulse, Run, waiting};
use crate::engine::PAUSE_MAX;
use crate::entry::{Draft, EntryKind};
use crate::error::{Retry, RunError, StepError};
use crate::history::{FailedAttempt, StepRecord};
use crate::journal::{Beside, Fence};
use crate::queue::is_key;
use crate::spans::{Span, SpanKind, drive_id, step_id};
use crate::step::{EffectClass, Later, Step, StepContext};
use crate::stopped::{Cause, Stopped};

/// How often a metered step is sent into crashes. Its own errors count by its retry policy; both
/// together never send it more often than the larger of the two.
const METERED_SENDS_MAX: u32 = 3;

/// The most characters of an error that say why a key is paused.
const BECAUSE_MAX: usize = 200;

impl Run {
    /// Does something once: its result is in the journal before it is returned, and is what every
    /// later execution of the function gets.
    pub fn step<T, F, Fut>(
        &self,
        step: Step,
        work: F,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T, F, Fut>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Fn(StepContext) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, StepError>> + Send,
    {
        let path = self.address(&step.name);
        let run = self.clone();
        async move { run.execute(path, step, work).await }
    }

    pub(super) async fn execute<T, F, Fut>(
        self,
        path: String,
        step: Step,
        work: F,
    ) -> Result<T, RunError>
    where
        T: Serialize + DeserializeOwned + Send,
        F: Fn(StepContext) -> Fut + Send + Sync,
        Fut: Future<Output = Result<T, StepError>> + Send,
    {
        let fingerprint = step.fingerprint()?;
        let board = Arc::clone(&self.execution.board);
        loop {
            let record = board
                .look(|history| history.step(&path).cloned())
                .unwrap_or_default();
            if let Some(outcome) = known(&path, &record, &fingerprint, &step)? {
                return decode(&path, outcome?, &fingerprint);
            }
            if let Some(due) = record.retry_at {
                self.wait_until(due, waiting("retry", &path, "an attempt failed", Some(due)))
                    .await?;
            }
            self.boundary(&path).await?;
            self.wait_for_turn(&path, &step).await?;
            let flight = board.in_flight();
            let context = self.context(&path, &record);
            if let Some(found) = self.settle_doubt(&step, &record, &context).await? {
                self.complete(&path, &fingerprint, &step, &found).await?;
                return decode(&path, found, &fingerprint);
            }
            let reaches_out = matches!(step.class, EffectClass::External | EffectClass::Metered);
            if reaches_out {
                self.hold().await?;
            }
            if step.class.begins() {
                let mut payload = json!({ "class": step.class.as_str(), "attempt": context.attempt,
                    "key": context.key });
                if step.carries {
                    payload["carries_files"] = true.into();
                }
                self.record(EntryKind::StepBegun, &path, &fingerprint, payload)
                    .await?;
            }
            if reaches_out {
                // The beginning may have taken its time.
                self.hold().await?;
            }
            let about = context.clone();
            let done = {
                let work = pin!(work(context));
                self.attempt(&step, &about, work).await?
            };
            match done {
                Ok(result) => {
                    let value = serde_json::to_value(&result)
                        .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
                    self.complete(&path, &fingerprint, &step, &value).await?;
                    return Ok(result);
                }
                Err(error) => {
                    if !self.shielded && *self.execution.cancelled.borrow() {
                        return Err(self.cancellation());
                    }
                    // An outage is no failure of what can simply be done again: the run rests.
                    if !reaches_out && let Some(outage) = error.outage() {
                        return Err(RunError::Store(outage));
                    }
                    let failures = record.failures + 1;
                    let actor = &self.execution.actor;
                    self.failed((&path, &fingerprint, &step), failures, error, (actor, None))
                        .await?;
                }
            }
            drop(flight);
        }
    }

    /// Waits until a step says that its turn has come.
    async fn wait_for_turn(&self, path: &str, step: &Step) -> Result<(), RunError> {
        let Some(turn) = &step.turn else {
            return Ok(());
        };
        loop {
            let later = {
                let _flight = self.execution.board.in_flight();
                turn().await
            };
            let Some(Later { because, after }) = later else {
                return Ok(());
            };
            let due = self.execution.journal.clock.now().plus(after);
            let wait = waiting("turn", path, &because, Some(due));
            self.wait_until(due, wait).await?;
            self.boundary(path).await?;
        }
    }

    /// Makes an attempt as long as it shows signs of life, and tells how long it took.
    async fn attempt<T>(
        &self,
        step: &Step,
        context: &StepContext,
        work: Pin<&mut impl Future<Output = Result<T, StepError>>>,
    ) -> Result<Result<T, StepError>, RunError> {
        let began = self.execution.journal.clock.now();
        let attended = context.pulse.attend(step.heartbeat_timeout, work);
        let done = attended.await?;
        self.tell(step, context, began, done.as_ref().err());
        Ok(done)
    }

    /// Tells how long an attempt took.
    fn tell(
        &self,
        step: &Step,
        context: &StepContext,
        began: Timestamp,
        error: Option<&StepError>,
    ) {
        let StepContext {
            run,
            path,
            epoch,
            attempt,
            ..
        } = context;
        let journal = &self.execution.journal;
        journal.tell(|| Span {
            kind: SpanKind::Internal,
            trace: self.execution.started.trace.clone(),
            id: step_id(*run, *epoch, path, *attempt),
            parent: Some(drive_id(*run, *epoch)),
            continues: None,
            name: path.clone(),
            began,
            ended: journal.clock.now(),
            attributes: vec![
                ("matrix.run", run.to_string().into()),
                ("matrix.step", path.clone().into()),
                ("matrix.step.class", step.class.as_str().into()),
                ("matrix.step.attempt", attempt.to_string().into()),
            ],
            error: error.map(|error| error.code.clone()),
        });
    }

    pub(super) fn context(&self, path: &str, record: &StepRecord) -> StepContext {
        let Fence { run, epoch } = self.execution.fence;
        // What began before a reset of something else is the same effect as before, to everyone who
        // knows its key.
        let generation = self.execution.board.look(|history| {
            let begun = history.step(path).map(|record| record.generation);
            begun.unwrap_or(history.generation)
        });
        let key = format!("{run}\n{path}\n{generation}");
        StepContext {
            run,
            path: path.to_owned(),
            key: Digest::of(key),
            epoch,
            attempt: record.begun.max(record.failures) + 1,
            interrupted: record.open || record.in_doubt,
            pulse: Pulse::new(self, path),
            cancelled: if self.shielded {
                watch::channel(false).1
            } else {
                self.execution.cancelled.subscribe()
            },
        }
    }

    /// What to do about a beginning without a result, and about an error that leaves open whether
    /// the effect happened.
    pub(super) async fn settle_doubt(
        &self,
        step: &Step,
        record: &StepRecord,
        context: &StepContext,
    ) -> Result<Option<Value>, RunError> {
        if !record.open && !record.in_doubt {
            return Ok(None);
        }
        let how = if record.open {
            "was interrupted"
        } else {
            "failed in a way that does not tell what it did"
        };
        let interrupted = record.begun.saturating_sub(record.failures);
        let doubt = |reason: String| {
            let tries = record.begun.max(record.failures);
            RunError::needs_person(Stopped::at(Cause::Doubt, &context.path, tries), reason)
        };
        match (step.class, &step.probe) {
            (EffectClass::External, Some(probe)) => probe(context.clone()).await.map_err(|error| {
                doubt(format!(
                    "step `{}` {how} and cannot be probed: {error}",
                    context.path
                ))
            }),
            (EffectClass::External, None) => Err(doubt(format!(
                "step `{}` {how}; nobody but you can tell whether it happened \
                 (`matrix run retry` does it again)",
                context.path
            ))),
            (EffectClass::Metered, _)
                if interrupted >= METERED_SENDS_MAX
                    || record.begun >= step.retry.attempts.max(METERED_SENDS_MAX) =>
            {
                Err(doubt(format!(
                    "step `{}` was interrupted {interrupted} times, sent {} times, and costs money \
                     each time (`matrix run retry` does it again)",
                    context.path, record.begun
                )))
            }
            _ => Ok(None),
        }
    }

    /// Records that an attempt failed, with its author and what is written beside it.
    pub(super) async fn failed(
        &self,
        (path, fingerprint, step): (&str, &str, &Step),
        failures: u32,
        error: StepError,
        (actor, beside): (&str, Option<Beside>),
    ) -> Result<(), RunError> {
        let exhausted = failures >= step.retry.attempts;
        let is_final = error.retry == Retry::Never;
        let in_doubt = step.class == EffectClass::External && !is_final && !error.nothing_done;
        // Without a probe, time does not tell what happened.
        let unknowable = in_doubt && step.probe.is_none();
        let waits = !(is_final || exhausted || unknowable);
        let retry_at = waits.then(|| {
            let mut random = [0_u8; 2];
            self.execution.journal.entropy.fill(&mut random);
            let delay = step.retry.delay(failures, u16::from_le_bytes(random));
            let delay = delay.max(error.retry_after().unwrap_or_default());
            self.execution.journal.clock.now().plus(delay)
        });
        let message = error.message.clone();
        let pause = self.pause_of(&error);
        let failed = FailedAttempt {
            error,
            is_final,
            in_doubt,
            retry_at,
        };
        let payload = serde_json::to_value(&failed)
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        let draft = Draft {
            kind: EntryKind::StepFailed,
            path: path.into(),
            fingerprint: fingerprint.into(),
            payload,
        };
        let beside = both(beside, self.execution.forget_progress(path));
        self.append_as(actor, draft, both(beside, pause)).await?;
        if exhausted && !is_final {
            return Err(RunError::needs_person(
                Stopped::at(Cause::Retries, path, failures),
                format!("step `{path}` failed {failures} times; last: {message}"),
            ));
        }
        Ok(())
    }

    /// What an error says about everybody with a key: written with it.
    fn pause_of(&self, error: &StepError) -> Option<Beside> {
        let (key, after) = (error.pauses.as_deref()?, error.retry_after()?);
        if !is_key(key) {
            return None;
        }
        let scope = &self.execution.started.caller.scope;
        let (organisation, workspace) = (scope.organisation.clone(), scope.workspace.clone());
        let slot = Slot::Key(organisation, workspace, key.to_owned());
        let until = self
            .execution
            .journal
            .clock
            .now()
            .plus(after.min(PAUSE_MAX));
        let because: String = error.message.chars().take(BECAUSE_MAX).collect();
        Some(Box::new(move |tx| {
            // Whoever asked for longer, such as a person, keeps it.
            let known = throttles::get(tx, &slot)?;
            if known.is_some_and(|known| known.paused_until > until) {
                return Ok(());
            }
            throttles::pause(tx, &slot, until, &because)
        }))
    }

    async fn complete(
        &self,
        path: &str,
        print: &str,
        step: &Step,
        value: &Value,
    ) -> Result<(), RunError> {
        let draft = Draft {
            kind: EntryKind::StepCompleted,
            path: path.into(),
            fingerprint: print.into(),
            payload: value.clone(),
        };
        let at = self.execution.journal.clock.now();
        let beside = step.projection.clone().map(|project| -> Beside {
            let value = value.clone();
            Box::new(move |tx| project(tx, &value, at))
        });
        let beside = both(beside, self.execution.forget_progress(path));
        self.append(draft, beside).await
    }
}

/// Both of two things that are written beside an entry.
fn both(one: Option<Beside>, other: Option<Beside>) -> Option<Beside> {
    match (one, other) {
        (Some(one), Some(other)) => Some(Box::new(move |tx| {
            one(tx)?;
            other(tx)
        })),
        (one, other) => one.or(other),
    }
}

fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect()
}

pub(super) fn decode<T: DeserializeOwned>(
    path: &str,
    value: Value,
    print: &str,
) -> Result<T, RunError> {
    serde_json::from_value(value).map_err(|error| RunError::Diverged {
        path: path.to_owned(),
        recorded: format!("a result that does not fit ({error})"),
        now: short(print),
    })
}

/// What is recorded of a step as its end, unless nobody can know it any more.
pub(super) fn known(
    path: &str,
    record: &StepRecord,
    fingerprint: &str,
    step: &Step,
) -> Result<Option<Result<Value, StepError>>, RunError> {
    recognise(path, record, fingerprint, step)?;
    if record.erased {
        return Err(RunError::needs_person(
            Stopped::at(Cause::Erased, path, 0),
            format!(
                "what step `{path}` gave was erased, so the run cannot go on from it \
                 (`matrix run retry` does the step again)"
            ),
        ));
    }
    Ok(record.outcome.clone())
}

fn recognise(
    path: &str,
    record: &StepRecord,
    fingerprint: &str,
    step: &Step,
) -> Result<(), RunError> {
    if record.fingerprint.is_empty() || record.fingerprint == fingerprint {
        return Ok(());
    }
    Err(RunError::Diverged {
        path: path.to_owned(),
        recorded: short(&record.fingerprint),
        now: format!(
            "{} ({} `{}`)",
            short(fingerprint),
            step.class.as_str(),
            step.name
        ),
    })
}
