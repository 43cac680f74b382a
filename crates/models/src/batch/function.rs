//! Batches and the files that they read, as runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use matrix_core::{Authorised, Money, RunId, Timestamp};
use matrix_engine::error::Retry;
use matrix_engine::runs::{RunRead, entries};
use matrix_engine::spans::step_id;
use matrix_engine::{
    DurableFunction, Later, RetryPolicy, Run, RunError, Step, StepContext, StepError,
};
use matrix_store::tables::model_batches;
use matrix_store::{Blobs, Database};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::line::{Call, Endpoint, Line, Outcome, lines};
use super::names;
use crate::admission::Granted;
use crate::budget::Labels;
use crate::error::{BUSY, ModelError, NONE_LEFT};
use crate::gateway::{Gateway, ModelUse};
use crate::inference::{failed, may, within};
use crate::wire::openai::embeddings;

/// The kind of runs that are files.
pub(super) const FILE: &str = "model_file";

/// The kind of runs that are batches.
pub(super) const BATCH: &str = "model_batch";

/// How many requests of a batch are asked at once.
const AT_ONCE: usize = 8;

/// How often a request is tried that a provider fails.
const TRIES: u32 = 4;

/// The window of a batch: until it has passed, a request waits for its turn.
const WINDOW: Duration = Duration::from_hours(24);

/// The longest and the shortest that it waits before it looks again.
const LOOK: (Duration, Duration) = (Duration::from_millis(100), Duration::from_mins(1));

/// When a failed attempt is made again. How often is decided with each failure: that a provider wants
/// fewer calls is none.
const AGAIN: RetryPolicy = RetryPolicy {
    attempts: u32::MAX,
    base: Duration::from_millis(500),
    cap: Duration::from_secs(2),
};

/// A file: all that it is is its run's input.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct FileInput {
    pub(super) purpose: String,
    pub(super) filename: String,
    pub(super) content: String,
}

/// What a batch is asked to do.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct BatchInput {
    pub(super) file: RunId,
    pub(super) endpoint: Endpoint,
    pub(super) total: usize,
    pub(super) metadata: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) project: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) agent: Option<String>,
}

/// The durable function of a file: it is whole when it is there.
#[derive(Debug, Clone, Copy)]
pub struct FileFunction;

#[async_trait]
impl DurableFunction for FileFunction {
    fn kind(&self) -> &'static str {
        FILE
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, _: Run, input: Value) -> Result<Value, RunError> {
        let content = input.get("content").and_then(Value::as_str);
        Ok(json!({ "bytes": content.unwrap_or_default().len() }))
    }
}

/// The durable function of a batch: each request is a step, and its answer the step's result.
#[derive(Debug, Clone)]
pub struct BatchFunction {
    gateway: Gateway,
    database: Database,
    blobs: Blobs,
}

/// The address of a request's step.
pub(super) fn address(index: usize) -> String {
    format!("lines/{index}/call#1")
}

impl BatchFunction {
    /// Asks through a gateway; the files are runs of this database.
    pub fn new(gateway: Gateway, database: Database, blobs: Blobs) -> Self {
        Self {
            gateway,
            database,
            blobs,
        }
    }

    /// A file's input, which never changes, so that reading it is no step.
    fn file(&self, run: &Run, file: RunId) -> Result<FileInput, RunError> {
        let gone = |why: String| StepError::permanent("no_file", why);
        let read = Authorised::obtain(&Granted, run.caller().clone(), RunRead { run: file });
        let read = read.map_err(|denied| gone(denied.to_string()))?;
        let first = entries(&self.database, &self.blobs, &read, -1, 1);
        let first = first.map_err(|error| gone(error.to_string()))?;
        let input = first.into_iter().next().and_then(|entry| entry.payload);
        let input = input.and_then(|mut payload| payload.get_mut("input").map(Value::take));
        let input = input.ok_or_else(|| gone("the batch's file was removed".into()))?;
        Ok(serde_json::from_value(input).map_err(|error| gone(error.to_string()))?)
    }
}

#[async_trait]
impl DurableFunction for BatchFunction {
    fn kind(&self) -> &'static str {
        BATCH
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let wrong = |why: String| StepError::permanent("bad_batch", why);
        let input: BatchInput =
            serde_json::from_value(input).map_err(|error| wrong(error.to_string()))?;
        let lines = {
            let text = self.file(&run, input.file)?.content;
            lines(&text, input.endpoint).map_err(|error| wrong(error.to_string()))?
        };
        let labels = Labels {
            project: input.project,
            agent: input.agent,
            run: None,
        };
        let keyed = lines.into_iter().enumerate();
        let keyed = keyed.map(|(index, line)| (index.to_string(), (index, line)));
        let until = run.started_at().plus(WINDOW);
        let work = |branch: Run, (index, line): (usize, Line)| {
            let request = Request {
                gateway: self.gateway.clone(),
                endpoint: input.endpoint,
                labels: labels.clone(),
                index,
                line: Arc::new(line),
                until,
                busy: AtomicU32::new(0),
            };
            async move { request.step(&branch).await }
        };
        let done = run.join("lines", AT_ONCE, keyed.collect(), work).await?;
        // Those that had not begun when it was cancelled.
        let mut left = done.iter().filter_map(|done| done.as_ref().err());
        if let Some(reason) = left.next() {
            return Err(RunError::Cancelled(reason.clone()));
        }
        let done: Vec<(bool, Money)> = done.into_iter().flatten().collect();
        let good = done.iter().filter(|(good, _)| *good).count();
        let cost = done.iter().map(|(_, cost)| cost.as_nanos()).sum();
        Ok(json!({
            "completed": good,
            "failed": done.len() - good,
            "cost": Money::from_nanos(cost),
        }))
    }
}

/// A request of a batch.
struct Request {
    gateway: Gateway,
    endpoint: Endpoint,
    labels: Labels,
    index: usize,
    line: Arc<Line>,
    /// Until when it waits for its turn.
    until: Timestamp,
    /// How many attempts found that it was not its turn, as far as this process knows.
    busy: AtomicU32,
}

impl Request {
    /// A request as a step; whether it was answered, and what it cost. When the batch is cancelled those
    /// that have begun go on to their end, and the others say why they did not begin.
    async fn step(&self, branch: &Run) -> Result<Result<(bool, Money), String>, RunError> {
        let (scope, run) = (branch.caller().scope.clone(), branch.id());
        let answer = names::answer(run, self.index);
        let step = Step::metered("call")
            .input(&self.line.name)
            .retry(AGAIN)
            .turn(self.turn(branch))
            .project(move |tx, outcome: Outcome, _| {
                model_batches::count(tx, &scope, run, outcome.done(&answer))
            });
        let done = branch.step(step, |context| self.attempt(branch, context));
        match done.await {
            Ok(Outcome { status, cost, .. }) => Ok(Ok((status < 400, cost))),
            Err(RunError::Cancelled(reason)) => Ok(Err(reason)),
            Err(error) => Err(error),
        }
    }

    /// Whether limits, a provider that is left alone, or a key that was refused let it be asked now. It
    /// waits before it begins, so that whatever dies meanwhile has interrupted nothing.
    fn turn(
        &self,
        run: &Run,
    ) -> impl Fn() -> BoxFuture<'static, Option<Later>> + Send + Sync + 'static {
        let (gateway, line, until) = (self.gateway.clone(), Arc::clone(&self.line), self.until);
        let (caller, asks) = (run.caller().clone(), self.asks());
        move || {
            let (gateway, line) = (gateway.clone(), Arc::clone(&line));
            let (caller, asks) = (caller.clone(), asks.clone());
            Box::pin(async move {
                if gateway.now() >= until {
                    return None;
                }
                let shut = gateway.turn(&caller, &asks, &line.call.needs()).await?;
                let (shortest, longest) = LOOK;
                Some(Later {
                    because: shut.why.to_owned(),
                    after: shut.retry_after.clamp(shortest, longest),
                })
            })
        }
    }

    /// A request that fails for good has failed alone: that is its outcome, and not the batch's.
    async fn attempt(&self, run: &Run, context: StepContext) -> Result<Outcome, StepError> {
        let error = match self.ask(run, &context).await {
            Ok((body, cost)) => {
                return Ok(Outcome {
                    name: self.line.name.clone(),
                    status: 200,
                    body,
                    cost,
                });
            }
            Err(error) => error,
        };
        let mut step = failed(&error);
        if let Retry::Later { after_ms } = &mut step.retry
            && self.goes_on(&error, context.attempt)
        {
            *after_ms = after_ms.or_else(|| self.rest());
            return Err(step);
        }
        let complaint = error.complaint();
        Ok(Outcome {
            name: self.line.name.clone(),
            status: complaint.status,
            body: self.endpoint.wire().complaint(&complaint),
            cost: Money::ZERO,
        })
    }

    /// Whether what may pass is tried again.
    fn goes_on(&self, error: &ModelError, attempt: u32) -> bool {
        if [BUSY, NONE_LEFT].contains(&error.code()) {
            self.busy.fetch_add(1, Ordering::Relaxed);
            return self.gateway.now() < self.until;
        }
        attempt.saturating_sub(self.busy.load(Ordering::Relaxed)) < TRIES
    }

    /// How long to wait for a provider that wants fewer calls and does not say when, in milliseconds:
    /// longer each time.
    fn rest(&self) -> Option<u64> {
        let busy = self.busy.load(Ordering::Relaxed);
        let rest = LOOK.0.saturating_mul(1 << busy.min(16)).min(LOOK.1);
        (busy > 0).then(|| u64::try_from(rest.as_millis()).unwrap_or(0))
    }

    fn asks(&self) -> ModelUse {
        ModelUse {
            model: self.line.call.model().to_owned(),
            labels: self.labels.clone(),
            ..ModelUse::default()
        }
    }

    async fn ask(&self, run: &Run, context: &StepContext) -> Result<(Value, Money), ModelError> {
        let parent = step_id(context.run, context.epoch, &context.path, context.attempt);
        let asks = within(run, &self.asks(), parent);
        let allowed = may(&self.gateway, run.caller().clone(), asks)?;
        match &self.line.call {
            Call::Chat(request) => {
                let request = request.as_ref().clone();
                let answered = self.gateway.chat(&allowed, request).await?;
                let created = run.started_at().as_micros() / 1_000_000;
                let created = u64::try_from(created).unwrap_or(0);
                let wire = self.endpoint.wire();
                let body = wire.answer(&answered.answer, created);
                Ok((body, answered.receipt.cost))
            }
            Call::Embed(asked) => {
                let embedded = self.gateway.embed(&allowed, asked.request.clone());
                let (answer, receipt) = embedded.await?;
                let body = embeddings::answer(&answer, receipt.usage.input, asked.encoding);
                Ok((body, receipt.cost))
            }
        }
    }
}
