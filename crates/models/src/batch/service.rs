//! Adding, showing and cancelling batches.

use std::collections::BTreeSet;

use matrix_core::{Authorised, Caller, RunId, Timestamp};
use matrix_engine::history::History;
use matrix_engine::queue::Placing;
use matrix_engine::runs::{self, RunCancel, RunRead};
use matrix_engine::{Engine, NewRun, StepError};
use matrix_store::StoreError;
use matrix_store::tables::model_batches::{self, BatchRow, NewBatchRow};
use serde_json::Value;

use super::files::{file_row, input};
use super::function::{BATCH, BatchInput, address};
use super::line::{Endpoint, Outcome, lines};
use super::names::{self, Made, none};
use super::quota::{Quota, create};
use crate::admission::Granted;
use crate::budget::Labels;
use crate::error::ModelError;
use crate::gateway::{Gateway, ModelUse};
use crate::wire::WireError;

/// The most of what a client says of a batch: pairs, and characters of each.
const METADATA_MAX: usize = 16;
const METADATA_TEXT_MAX: usize = 512;

/// A batch to be done.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// The file with its requests.
    pub file: String,
    /// What they are.
    pub endpoint: Endpoint,
    /// What the client says of it: texts by name.
    pub metadata: Value,
    /// What it is for.
    pub project: Option<String>,
    /// Who it is for.
    pub agent: Option<String>,
}

/// How a batch is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchStatus {
    /// It is being done, or waits for its turn.
    InProgress,
    /// Every request has its answer, or has failed.
    Completed,
    /// It could not be done.
    Failed,
    /// It is being cancelled.
    Cancelling,
    /// It was.
    Cancelled,
}

/// A batch.
#[derive(Debug, Clone, PartialEq)]
pub struct BatchView {
    /// Its id.
    pub id: String,
    /// What its requests are.
    pub endpoint: Endpoint,
    /// How it is.
    pub status: BatchStatus,
    /// Why it failed, or waits for a person.
    pub error: Option<String>,
    /// The file with its requests.
    pub input: String,
    /// The file with the answers, once there is one.
    pub output: Option<String>,
    /// The file with what failed, once something has.
    pub errors: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its client wanted it to end.
    pub cancelled_at: Option<Timestamp>,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many requests it has.
    pub total: u64,
    /// How many were answered.
    pub completed: u64,
    /// How many failed.
    pub failed: u64,
    /// What the client said of it.
    pub metadata: Value,
}

/// Begins a batch, where there is room for one more. Every request is read, and every model that is
/// asked for is looked at, before it begins.
pub async fn add_batch(
    (engine, gateway): (&Engine, &Gateway),
    caller: &Caller,
    new: NewBatch,
    quota: Quota,
) -> Result<BatchView, ModelError> {
    check_metadata(&new.metadata)?;
    let (of, by, named) = (engine.clone(), caller.clone(), new.file.clone());
    let endpoint = new.endpoint;
    let read = move || {
        let row = file_row(&of, &by, &named)?;
        let lines = lines(&input(&of, &by, &row)?.content, endpoint)?;
        let models = lines.iter().map(|line| line.call.model().to_owned());
        let models: BTreeSet<String> = models.collect();
        Ok((row, lines.len(), models))
    };
    let (file, total, models) = aside(read).await?;
    for model in models {
        let labels = Labels {
            project: new.project.clone(),
            agent: new.agent.clone(),
            run: None,
        };
        let asks = ModelUse {
            model: model.clone(),
            labels,
            ..ModelUse::default()
        };
        Authorised::obtain(gateway.authorizer(), caller.clone(), asks)?;
        if !gateway.knows(&caller.scope, &model).await? {
            return Err(ModelError::NoModel(model));
        }
    }
    let metadata = new.metadata.to_string();
    let input = BatchInput {
        file: file.run,
        endpoint,
        total,
        metadata: new.metadata,
        project: new.project,
        agent: new.agent,
    };
    let requests = if total == 1 { "request" } else { "requests" };
    let run = NewRun {
        kind: BATCH.into(),
        title: format!("{total} {requests} of {}", file.filename),
        input: serde_json::to_value(&input).map_err(StoreError::corrupt)?,
        caller: caller.clone(),
        placing: Placing::default(),
    };
    let (scope, owner) = (caller.scope.clone(), caller.principal.to_string());
    let run = create(engine, run, move |tx, run| {
        let full = quota.of_batch(tx, &scope)?;
        if full.is_none() {
            let row = NewBatchRow {
                run,
                owner,
                file: file.run,
                endpoint: endpoint.as_str().to_owned(),
                metadata,
                total: i64::try_from(total).unwrap_or(i64::MAX),
            };
            model_batches::put(tx, &scope, &row)?;
        }
        Ok(full)
    })
    .await?;
    let (of, by) = (engine.clone(), caller.clone());
    aside(move || show_batch(&of, &by, &names::batch(run))).await
}

/// Reads on a thread that may block.
pub(super) async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    let stopped = |_| StoreError::Unavailable("the process is ending".into());
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

/// What is noted of a batch of the caller's; `named` is what it, or a file of it, was called.
pub(super) fn batch_row(
    engine: &Engine,
    caller: &Caller,
    (run, named): (RunId, &str),
) -> Result<BatchRow, ModelError> {
    let database = engine.database().within(&caller.scope);
    let found =
        database.read_now::<_, StoreError, _>(|tx| model_batches::get(tx, &caller.scope, run))?;
    let owner = caller.principal.to_string();
    found
        .filter(|row| row.new.owner == owner)
        .ok_or_else(|| none(named))
}

/// A batch of the caller's, with all that it has done.
pub(super) struct Own {
    row: BatchRow,
    history: History,
}

/// A batch of the caller's, read from its journal.
pub(super) fn own(
    engine: &Engine,
    caller: &Caller,
    named: (RunId, &str),
) -> Result<Own, ModelError> {
    let row = batch_row(engine, caller, named)?;
    let read = reading(caller, row.new.run)?;
    let history = runs::history(engine.database(), engine.blobs(), &read)?;
    Ok(Own { row, history })
}

/// The lines of one of a batch's files, as far as it is.
pub(super) fn written(own: &Own, made: Made) -> String {
    let run = own.row.new.run;
    let mut text = String::new();
    for index in 0..usize::try_from(own.row.new.total).unwrap_or(0) {
        let step = own.history.step(&address(index));
        let result = step.and_then(|step| step.outcome.as_ref()?.as_ref().ok());
        let outcome =
            result.and_then(|value| serde_json::from_value::<Outcome>(value.clone()).ok());
        if let Some(outcome) = outcome.filter(|outcome| outcome.made() == made) {
            text.push_str(&outcome.line(&names::answer(run, index)));
        }
    }
    text
}

/// A batch of the caller's. It costs the same however many requests it has.
pub fn show_batch(engine: &Engine, caller: &Caller, batch: &str) -> Result<BatchView, ModelError> {
    let run = names::batch_of(batch)?;
    let row = batch_row(engine, caller, (run, batch))?;
    view(engine, caller, &row)
}

fn view(engine: &Engine, caller: &Caller, row: &BatchRow) -> Result<BatchView, ModelError> {
    let run = row.new.run;
    let (status, error) = match &*row.state {
        "succeeded" => (BatchStatus::Completed, None),
        "failed" => (BatchStatus::Failed, last_error(engine, caller, row)?),
        "cancelled" => (BatchStatus::Cancelled, None),
        _ if row.cancelled_at.is_some() => (BatchStatus::Cancelling, None),
        // What waits for a person says so.
        _ if !row.stopped.is_empty() => (BatchStatus::InProgress, because(row)),
        _ => (BatchStatus::InProgress, None),
    };
    let ended = !matches!(status, BatchStatus::InProgress | BatchStatus::Cancelling);
    let made = |count: i64, made: Made| (ended && count > 0).then(|| names::made(run, made));
    let count = |count: i64| u64::try_from(count).unwrap_or(0);
    Ok(BatchView {
        id: names::batch(run),
        endpoint: row.new.endpoint.parse()?,
        status,
        error,
        input: names::file(row.new.file),
        output: made(row.done.completed, Made::Output),
        errors: made(row.done.failed, Made::Errors),
        created_at: run.created_at(),
        cancelled_at: row.cancelled_at,
        ended_at: ended.then_some(row.updated_at),
        total: count(row.new.total),
        completed: count(row.done.completed),
        failed: count(row.done.failed),
        metadata: serde_json::from_str(&row.new.metadata).unwrap_or_default(),
    })
}

/// Why a batch failed: its journal's last entry says so.
fn last_error(
    engine: &Engine,
    caller: &Caller,
    row: &BatchRow,
) -> Result<Option<String>, ModelError> {
    let read = reading(caller, row.new.run)?;
    let before = row.head_seq.saturating_sub(1);
    let last = runs::entries(engine.database(), engine.blobs(), &read, before, 1)?;
    let payload = last.into_iter().next().and_then(|entry| entry.payload);
    let error = payload.and_then(|payload| serde_json::from_value::<StepError>(payload).ok());
    Ok(error.map(|error| error.message))
}

/// Why a run waits, in words.
fn because(row: &BatchRow) -> Option<String> {
    let waiting: Value = serde_json::from_str(row.waiting.as_deref()?).ok()?;
    waiting.get("because")?.as_str().map(str::to_owned)
}

/// The caller's newest batches, older than one, at most so many; and whether there are more.
pub fn list_batches(
    engine: &Engine,
    caller: &Caller,
    (after, limit): (Option<&str>, usize),
) -> Result<(Vec<BatchView>, bool), ModelError> {
    let after = after.map(names::batch_of).transpose()?;
    let (scope, owner) = (&caller.scope, caller.principal.to_string());
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let rows = engine
        .database()
        .within(scope)
        .read_now::<_, StoreError, _>(|tx| model_batches::list(tx, scope, &owner, after, most))?;
    let more = rows.len() > limit;
    let views = rows.into_iter().take(limit);
    let views = views
        .map(|row| view(engine, caller, &row))
        .collect::<Result<_, _>>()?;
    Ok((views, more))
}

/// Cancels a batch of the caller's: requests under way are answered, and no other is asked.
pub async fn cancel_batch(engine: &Engine, caller: &Caller, batch: &str) -> Result<(), ModelError> {
    let run = names::batch_of(batch)?;
    let (of, by, named) = (engine.clone(), caller.clone(), batch.to_owned());
    aside(move || batch_row(&of, &by, (run, &named)).map(drop)).await?;
    let cancel = RunCancel {
        run,
        submitter: caller.principal.to_string(),
        reason: "its client cancelled it".into(),
    };
    let cancel = Authorised::obtain(&Granted, caller.clone(), cancel)?;
    runs::cancel(engine, &cancel).await?;
    let (scope, at) = (caller.scope.clone(), engine.clock().now());
    engine
        .database()
        .within(&caller.scope)
        .write::<_, StoreError, _>(move |tx| model_batches::cancel(tx, &scope, run, at))
        .await?;
    Ok(())
}

/// The right to read one's own.
pub(super) fn reading(caller: &Caller, run: RunId) -> Result<Authorised<RunRead>, ModelError> {
    Ok(Authorised::obtain(
        &Granted,
        caller.clone(),
        RunRead { run },
    )?)
}

fn check_metadata(metadata: &Value) -> Result<(), WireError> {
    let refuse = |why: String| Err(WireError::invalid("metadata", why));
    let pairs = match metadata {
        Value::Null => return Ok(()),
        Value::Object(pairs) if pairs.len() <= METADATA_MAX => pairs,
        _ => return refuse(format!("must be an object of at most {METADATA_MAX} texts")),
    };
    let short = |text: &str| text.chars().count() <= METADATA_TEXT_MAX;
    let fits = |(name, value): (&String, &Value)| short(name) && value.as_str().is_some_and(short);
    if pairs.iter().all(fits) {
        return Ok(());
    }
    refuse(format!(
        "must hold texts of at most {METADATA_TEXT_MAX} characters"
    ))
}
