//! The surface a durable function sees.
//!
//! Addresses are fixed when a step is *created*: branch keys, name, occurrence
//! (`verify/lint.base/run#1`). A function must create its steps in an order that depends only on
//! its input and on what earlier steps gave.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use matrix_core::id::ApprovalId;
use matrix_core::{Caller, Digest, RunId, Timestamp, canonical};
use matrix_store::tables::approvals::{self, ApprovalRow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::entry::{Draft, EntryKind};
use crate::error::{Retry, RunError, StepError};
use crate::history::{FailedAttempt, Started, StepRecord};
use crate::journal::{AppendError, Beside, Fence, Journal};
use crate::step::{EffectClass, Step, StepContext};
use crate::wait::{Board, Waiting};

/// A delay up to this long is slept through; a longer one parks the run.
const SLEEP_IN_PLACE: Duration = Duration::from_secs(2);

/// How often an interrupted metered step is sent again.
const METERED_SENDS_MAX: u32 = 3;

/// What a person said.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Yes.
    Approve,
    /// No.
    Reject,
}

/// A person's answer to a question.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// The question.
    pub approval: ApprovalId,
    /// The answer.
    pub verdict: Verdict,
    /// Who, as `user:name`.
    pub actor: String,
    /// When.
    pub at: Timestamp,
    /// Why, in the person's words.
    pub reason: String,
    /// Whether the submitter approved their own change, as a directory's only user.
    pub self_approval: bool,
    /// Position in the journal.
    pub seq: i64,
}

/// What the parts of one execution share.
#[derive(Debug)]
pub(crate) struct Execution {
    pub(crate) journal: Journal,
    pub(crate) board: Arc<Board>,
    pub(crate) fence: Fence,
    pub(crate) actor: String,
    pub(crate) started: Started,
    pub(crate) cancelled: watch::Sender<bool>,
    /// Raised when the owner wants to let go at the next step boundary.
    pub(crate) draining: watch::Receiver<bool>,
    pub(crate) occurrences: Mutex<BTreeMap<String, u32>>,
}

/// A run, as its durable function sees it. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Run {
    pub(crate) execution: Arc<Execution>,
    branch: String,
    shielded: bool,
}

impl Run {
    pub(crate) fn new(execution: Arc<Execution>) -> Self {
        Self {
            execution,
            branch: String::new(),
            shielded: false,
        }
    }

    /// The run's id.
    pub fn id(&self) -> RunId {
        self.execution.fence.run
    }

    /// Who asked for it.
    pub fn caller(&self) -> &Caller {
        &self.execution.started.caller
    }

    /// When it was created.
    pub fn started_at(&self) -> Timestamp {
        self.execution.board.look(|history| history.started_at)
    }

    /// The trace all its log lines carry.
    pub fn trace(&self) -> &str {
        &self.execution.started.trace
    }

    /// Where its journal ends now: position and generation.
    pub fn position(&self) -> (i64, u32) {
        self.execution
            .board
            .look(|history| (history.seq, history.generation))
    }

    /// A part of the run with addresses of its own; keys are unique within their parent.
    #[must_use]
    pub fn branch(&self, key: &str) -> Self {
        let branch = format!("{}{key}/", self.branch);
        Self {
            execution: Arc::clone(&self.execution),
            branch,
            shielded: self.shielded,
        }
    }

    /// The same part of the run, but a request to cancel is not heard: what has begun to change
    /// the world is brought to its end.
    #[must_use]
    pub fn shielded(&self) -> Self {
        Self {
            shielded: true,
            ..self.clone()
        }
    }

    fn address(&self, name: &str) -> String {
        let base = format!("{}{name}", self.branch);
        let mut seen = self
            .execution
            .occurrences
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(base.clone()).or_insert(0);
        *count += 1;
        format!("{base}#{count}")
    }

    /// Runs branches side by side, at most `limit` at once, and gives their results in the order
    /// of their keys. The first error ends the others.
    pub async fn join<T, I, F, Fut>(
        &self,
        name: &str,
        limit: usize,
        items: Vec<(String, I)>,
        work: F,
    ) -> Result<Vec<T>, RunError>
    where
        F: Fn(Self, I) -> Fut,
        Fut: Future<Output = Result<T, RunError>>,
    {
        let keys: BTreeSet<_> = items.iter().map(|(key, _)| key.clone()).collect();
        if keys.len() != items.len() {
            return Err(StepError::permanent(
                "branch_keys",
                format!("the branches of `{name}` do not have keys of their own"),
            )
            .into());
        }
        let parent = self.branch(name);
        let mut waiting = items.into_iter().enumerate();
        let start = |(index, (key, item)): (usize, (String, I))| {
            let future = work(parent.branch(&key), item);
            async move { (index, future.await) }
        };
        let mut running: FuturesUnordered<_> =
            waiting.by_ref().take(limit.max(1)).map(start).collect();
        let mut results = BTreeMap::new();
        while let Some((index, result)) = running.next().await {
            results.insert(index, result?);
            if let Some(next) = waiting.next() {
                running.push(start(next));
            }
        }
        Ok(results.into_values().collect())
    }

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

    async fn execute<T, F, Fut>(self, path: String, step: Step, work: F) -> Result<T, RunError>
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
            recognise(&path, &record, &fingerprint, &step)?;
            if record.erased {
                return Err(RunError::NeedsPerson(format!(
                    "what step `{path}` gave was erased, so the run cannot go on from it \
                     (`matrix run retry` does the step again)"
                )));
            }
            if let Some(outcome) = record.outcome {
                return decode(&path, outcome?, &fingerprint);
            }
            if let Some(due) = record.retry_at {
                self.wait_until(due, waiting("retry", &path, "an attempt failed", Some(due)))
                    .await?;
            }
            self.boundary(&path).await?;
            let flight = board.in_flight();
            let context = self.context(&path, &record);
            if let Some(found) = self.settle_doubt(&step, &record, &context).await? {
                self.complete(&path, &fingerprint, &step, &found).await?;
                return decode(&path, found, &fingerprint);
            }
            if step.class.begins() {
                let payload = json!({ "class": step.class.as_str(), "attempt": context.attempt,
                    "key": context.key });
                self.record(EntryKind::StepBegun, &path, &fingerprint, payload)
                    .await?;
            }
            match work(context).await {
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
                    self.failed(&path, &fingerprint, &step, record.failures + 1, error)
                        .await?;
                }
            }
            drop(flight);
        }
    }

    fn context(&self, path: &str, record: &StepRecord) -> StepContext {
        let Fence { run, epoch } = self.execution.fence;
        let generation = self.execution.board.look(|history| history.generation);
        let key = format!("{run}\n{path}\n{generation}");
        StepContext {
            run,
            path: path.to_owned(),
            key: Digest::of(key),
            epoch,
            attempt: record.begun.max(record.failures) + 1,
            interrupted: record.open,
            cancelled: if self.shielded {
                watch::channel(false).1
            } else {
                self.execution.cancelled.subscribe()
            },
        }
    }

    /// What to do about a beginning without a result.
    async fn settle_doubt(
        &self,
        step: &Step,
        record: &StepRecord,
        context: &StepContext,
    ) -> Result<Option<Value>, RunError> {
        if !record.open {
            return Ok(None);
        }
        let interrupted = record.begun.saturating_sub(record.failures);
        match (step.class, &step.probe) {
            (EffectClass::External, Some(probe)) => probe(context.clone()).await.map_err(|error| {
                RunError::NeedsPerson(format!(
                    "step `{}` was interrupted and cannot be probed: {error}",
                    context.path
                ))
            }),
            (EffectClass::External, None) => Err(RunError::NeedsPerson(format!(
                "step `{}` was interrupted; nobody but you can tell whether it happened \
                 (`matrix run retry` does it again)",
                context.path
            ))),
            (EffectClass::Metered, _) if interrupted >= METERED_SENDS_MAX => {
                Err(RunError::NeedsPerson(format!(
                    "step `{}` was interrupted {interrupted} times and costs money each time \
                     (`matrix run retry` does it again)",
                    context.path
                )))
            }
            _ => Ok(None),
        }
    }

    async fn failed(
        &self,
        path: &str,
        fingerprint: &str,
        step: &Step,
        failures: u32,
        error: StepError,
    ) -> Result<(), RunError> {
        let exhausted = failures >= step.retry.attempts;
        let is_final = error.retry == Retry::Never;
        let retry_at = (!is_final && !exhausted).then(|| {
            let mut random = [0_u8; 2];
            self.execution.journal.entropy.fill(&mut random);
            let delay = step.retry.delay(failures, u16::from_le_bytes(random));
            let delay = delay.max(error.retry_after().unwrap_or_default());
            self.execution.journal.clock.now().plus(delay)
        });
        let message = error.message.clone();
        let failed = FailedAttempt {
            error,
            is_final,
            retry_at,
        };
        let payload = serde_json::to_value(&failed)
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        self.record(EntryKind::StepFailed, path, fingerprint, payload)
            .await?;
        if exhausted && !is_final {
            return Err(RunError::NeedsPerson(format!(
                "step `{path}` failed {failures} times; last: {message}"
            )));
        }
        Ok(())
    }

    fn cancellation(&self) -> RunError {
        let reason = self.execution.board.look(|history| history.cancel.clone());
        RunError::Cancelled(reason.unwrap_or_default())
    }

    /// The place where a run lets go, rests or ends by request: before a new effect, never in one.
    async fn boundary(&self, path: &str) -> Result<(), RunError> {
        if !self.shielded
            && self
                .execution
                .board
                .look(|history| history.cancel.is_some())
        {
            return Err(self.cancellation());
        }
        let draining = self.execution.draining.clone();
        let wait = waiting("host", path, "the run moves to another host", None);
        self.execution
            .board
            .wait(wait, move |history| {
                let rests = history.paused.is_some() || *draining.borrow();
                (!rests).then_some(())
            })
            .await;
        Ok(())
    }

    async fn record(
        &self,
        kind: EntryKind,
        path: &str,
        fingerprint: &str,
        payload: Value,
    ) -> Result<(), RunError> {
        let draft = Draft {
            kind,
            path: path.into(),
            fingerprint: fingerprint.into(),
            payload,
        };
        self.append(vec![draft], None).await
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
        self.append(vec![draft], beside).await
    }

    async fn append(&self, drafts: Vec<Draft>, beside: Option<Beside>) -> Result<(), RunError> {
        let Execution {
            journal,
            fence,
            actor,
            board,
            ..
        } = &*self.execution;
        // What is being recorded changes what the run waits for, so it cannot be parked now.
        let flight = board.in_flight();
        let entries = journal
            .append(*fence, actor, drafts, beside)
            .await
            .map_err(|error| match error {
                AppendError::Refused => RunError::Lost,
                AppendError::Store(error) => RunError::Store(error),
            })?;
        board.change(|history| entries.iter().for_each(|entry| history.apply(entry)));
        drop(flight);
        Ok(())
    }

    /// Waits for a time. A short wait is slept through; a longer one ends at once when the run is
    /// cancelled.
    async fn wait_until(&self, due: Timestamp, wait: Waiting) -> Result<(), RunError> {
        let clock = Arc::clone(&self.execution.journal.clock);
        let left = due.since(clock.now());
        if left <= SLEEP_IN_PLACE {
            let flight = self.execution.board.in_flight();
            tokio::time::sleep(left).await;
            drop(flight);
            return Ok(());
        }
        let shielded = self.shielded;
        self.execution
            .board
            .wait(wait, move |history| {
                let cancelled = history.cancel.clone().filter(|_| !shielded);
                match cancelled {
                    Some(reason) => Some(Err(RunError::Cancelled(reason))),
                    None => (clock.now() >= due).then_some(Ok(())),
                }
            })
            .await
    }

    /// Waits for a time that a crash, a restart and a clock set back do not change.
    pub fn sleep(
        &self,
        name: &str,
        duration: Duration,
    ) -> impl Future<Output = Result<(), RunError>> + Send + use<> {
        let path = self.address(name);
        let run = self.clone();
        async move {
            let board = Arc::clone(&run.execution.board);
            run.boundary(&path).await?;
            if board.look(|history| history.timer(&path).is_none()) {
                let due = run.execution.journal.clock.now().plus(duration);
                run.record(EntryKind::TimerSet, &path, "", json!({ "due": due }))
                    .await?;
            }
            let (due, fired) = board
                .look(|history| history.timer(&path))
                .unwrap_or_default();
            if !fired {
                run.wait_until(
                    due,
                    waiting("timer", &path, "the function sleeps", Some(due)),
                )
                .await?;
                run.record(EntryKind::TimerFired, &path, "", json!({}))
                    .await?;
            }
            Ok(())
        }
    }

    /// The next value sent to the run under a signal's name.
    pub fn signal<T: DeserializeOwned + Send>(
        &self,
        name: &str,
    ) -> impl Future<Output = Result<T, RunError>> + Send + use<T> {
        let path = self.address(&format!("signal:{name}"));
        let index: usize = path
            .rsplit('#')
            .next()
            .and_then(|count| count.parse().ok())
            .unwrap_or(1)
            - 1;
        let (run, name) = (self.clone(), name.to_owned());
        async move {
            let because = format!("`matrix run signal {} {name}` sends it", run.id());
            let wait = waiting("signal", &name, &because, None);
            let received = run
                .execution
                .board
                .wait(wait, move |history| {
                    let value = history.signals(&name).get(index).cloned();
                    value.map(Ok).or_else(|| history.cancel.clone().map(Err))
                })
                .await;
            let value = received.map_err(RunError::Cancelled)?;
            decode(&path, value, "")
        }
    }

    /// Asks a person. The same name and subject are the same question; each call gives the next
    /// answer to it. Asking with another subject makes the earlier question stale. It never
    /// expires.
    pub fn approval<S: Serialize>(
        &self,
        name: &str,
        subject: &S,
    ) -> impl Future<Output = Result<Decision, RunError>> + Send + use<S> {
        let path = self.address(&format!("approval:{name}"));
        let question = self.question(name, subject);
        let (run, name) = (self.clone(), name.to_owned());
        async move {
            let (id, index, subject) = question?;
            match run.execution.board.look(|history| history.requested(&path)) {
                Some(asked) if asked == id => {}
                Some(asked) => {
                    return Err(RunError::Diverged {
                        path,
                        recorded: asked.to_string(),
                        now: id.to_string(),
                    });
                }
                None => {
                    run.boundary(&path).await?;
                    run.ask(&path, &name, id, subject).await?;
                }
            }
            let wait = waiting("approval", &id.to_string(), "a person must decide", None);
            run.execution
                .board
                .wait(wait, move |history| {
                    let decision = history.decisions(id).get(index).cloned();
                    decision.map(Ok).or_else(|| history.cancel.clone().map(Err))
                })
                .await
                .map_err(RunError::Cancelled)
        }
    }

    /// A question's id, how many answers to it were taken before, and its subject. Fixed when it
    /// is asked, as addresses are.
    fn question<S: Serialize>(
        &self,
        name: &str,
        subject: &S,
    ) -> Result<(ApprovalId, usize, Value), RunError> {
        let subject = serde_json::to_value(subject)
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        let id = approval_id(self.id(), name, &subject)?;
        let mut seen = self
            .execution
            .occurrences
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let count = seen.entry(format!("approval answers {id}")).or_insert(0);
        *count += 1;
        Ok((id, *count as usize - 1, subject))
    }

    async fn ask(
        &self,
        path: &str,
        name: &str,
        id: ApprovalId,
        subject: Value,
    ) -> Result<(), RunError> {
        let at = self.execution.journal.clock.now();
        let row = ApprovalRow {
            approval: id,
            run: self.id(),
            name: name.to_owned(),
            state: "open".into(),
            subject: subject.to_string(),
            requested_at: at,
            closed_at: None,
        };
        let payload = json!({ "approval": id, "name": name, "subject": subject });
        let draft = Draft::at(EntryKind::ApprovalRequested, path, payload);
        let beside: Beside = Box::new(move |tx| {
            approvals::close_others(tx, row.run, Some(id), "stale", at)?;
            approvals::open(tx, &row)
        });
        self.append(vec![draft], Some(beside)).await
    }

    /// The answers that were given to a question so far, oldest first.
    pub fn decisions<S: Serialize>(
        &self,
        name: &str,
        subject: &S,
    ) -> Result<Vec<Decision>, RunError> {
        let subject = serde_json::to_value(subject)
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        let id = approval_id(self.id(), name, &subject)?;
        Ok(self
            .execution
            .board
            .look(|history| history.decisions(id).to_vec()))
    }
}

/// The id of a question: from the run, its name and what it is about.
pub fn approval_id(run: RunId, name: &str, subject: &Value) -> Result<ApprovalId, RunError> {
    let digest = canonical::digest(&(run, name, subject))?;
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    Ok(ApprovalId::from_bytes(bytes))
}

fn waiting(what: &str, name: &str, because: &str, until: Option<Timestamp>) -> Waiting {
    Waiting {
        what: what.into(),
        name: name.into(),
        because: because.into(),
        until,
    }
}

fn short(fingerprint: &str) -> String {
    fingerprint.chars().take(12).collect()
}

fn decode<T: DeserializeOwned>(path: &str, value: Value, print: &str) -> Result<T, RunError> {
    serde_json::from_value(value).map_err(|error| RunError::Diverged {
        path: path.to_owned(),
        recorded: format!("a result that does not fit ({error})"),
        now: short(print),
    })
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
