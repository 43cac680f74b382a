//! Adding, showing and cancelling batches and their files.

use std::collections::BTreeSet;

use matrix_core::{Authorised, Caller, RunId, Timestamp};
use matrix_engine::history::{Ended, History};
use matrix_engine::queue::Placing;
use matrix_engine::runs::{self, RunCancel, RunList, RunRead};
use matrix_engine::stopped::Stopped;
use matrix_engine::{Engine, NewRun};
use matrix_store::StoreError;
use matrix_store::tables::runs::{Filter, RunRow};
use serde_json::Value;

use super::function::{BATCH, BatchInput, FILE, FileInput, address};
use super::line::{Endpoint, Outcome, lines};
use crate::admission::Granted;
use crate::budget::Labels;
use crate::error::ModelError;
use crate::gateway::{Gateway, ModelUse};
use crate::wire::WireError;

/// What files are for.
pub const PURPOSE: &str = "batch";

/// The name that somebody must be allowed to ask for who puts files here.
pub const RIGHT: &str = "batch";

/// How the ids of files begin.
const FILE_ID: &str = "file-";

/// How the ids of batches begin.
const BATCH_ID: &str = "batch_";

/// How the ids of a batch's own files end.
const OUTPUT: &str = "-output";
const ERRORS: &str = "-errors";

/// The most characters of a file's name.
const NAME_MAX: usize = 200;

/// The most of what a client says of a batch: pairs, and characters of each.
const METADATA_MAX: usize = 16;
const METADATA_TEXT_MAX: usize = 512;

/// A file to be kept.
#[derive(Debug, Clone)]
pub struct NewFile {
    /// Its name, for people.
    pub filename: String,
    /// What it is for.
    pub purpose: String,
    /// Its content.
    pub content: String,
}

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileView {
    /// Its id.
    pub id: String,
    /// Its name.
    pub filename: String,
    /// What it is for: `batch`, or `batch_output`.
    pub purpose: String,
    /// How long it is.
    pub bytes: usize,
    /// When it was made.
    pub created_at: Timestamp,
}

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
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How many requests it has.
    pub total: usize,
    /// How many were answered.
    pub completed: usize,
    /// How many failed.
    pub failed: usize,
    /// What the client said of it.
    pub metadata: Value,
}

/// Keeps a file, for whoever may ask for [`RIGHT`].
pub async fn add_file(
    engine: &Engine,
    request: &Authorised<ModelUse>,
    file: NewFile,
) -> Result<FileView, ModelError> {
    let NewFile {
        filename,
        purpose,
        content,
    } = file;
    if purpose != PURPOSE {
        let why = format!("must be `{PURPOSE}`, which is what files are for here");
        return Err(WireError::invalid("purpose", why).into());
    }
    let filename: String = filename.chars().take(NAME_MAX).collect();
    let bytes = content.len();
    let input = FileInput {
        purpose: purpose.clone(),
        filename: filename.clone(),
        content,
    };
    let title = format!("file {filename}");
    let run = create(engine, request.caller(), (FILE, title), &input).await?;
    Ok(FileView {
        id: id(FILE_ID, run),
        filename,
        purpose,
        bytes,
        created_at: run.created_at(),
    })
}

/// A file of the caller's: one that it put here, or one of its batches has made.
pub fn show_file(engine: &Engine, caller: &Caller, file: &str) -> Result<FileView, ModelError> {
    let (run, made) = parse_file(file)?;
    if let Some(made) = made {
        let batch = own::<BatchInput>(engine, caller, (run, BATCH), file)?;
        return Ok(FileView {
            id: file.to_owned(),
            filename: format!("{}{}.jsonl", id(BATCH_ID, run), made.word()),
            purpose: "batch_output".into(),
            bytes: batch.made(made).len(),
            created_at: run.created_at(),
        });
    }
    let found = own::<FileInput>(engine, caller, (run, FILE), file)?;
    Ok(FileView {
        id: file.to_owned(),
        filename: found.input.filename,
        purpose: found.input.purpose,
        bytes: found.input.content.len(),
        created_at: run.created_at(),
    })
}

/// What is in a file of the caller's.
pub fn content(engine: &Engine, caller: &Caller, file: &str) -> Result<String, ModelError> {
    let (run, made) = parse_file(file)?;
    match made {
        Some(made) => {
            let batch = own::<BatchInput>(engine, caller, (run, BATCH), file)?;
            Ok(batch.made(made))
        }
        None => Ok(own::<FileInput>(engine, caller, (run, FILE), file)?
            .input
            .content),
    }
}

/// Erases what is in a file that the caller put here. That there was one, when, and its digest stay in the
/// journal. A batch that has not ended fails without it when it goes on in another process.
pub async fn delete_file(engine: &Engine, caller: &Caller, file: &str) -> Result<(), ModelError> {
    let (run, made) = parse_file(file)?;
    if made.is_some() {
        let why = "is what a batch has made, and goes with it";
        return Err(WireError::invalid("file", why).into());
    }
    let (of, by, named) = (engine.clone(), caller.clone(), file.to_owned());
    aside(move || own::<FileInput>(&of, &by, (run, FILE), &named).map(drop)).await?;
    let database = engine.database().within(&caller.scope);
    if matrix_engine::journal::erase(&database, run, 0).await? {
        Ok(())
    } else {
        Err(none(file))
    }
}

/// The caller's newest files, older than one, at most so many.
pub fn list_files(
    engine: &Engine,
    caller: &Caller,
    (after, limit): (Option<&str>, usize),
) -> Result<(Vec<FileView>, bool), ModelError> {
    let after = after.map(parse_file).transpose()?.map(|(run, _)| run);
    own_runs(engine, caller, FILE, (after, limit), |run| {
        show_file(engine, caller, &id(FILE_ID, run))
    })
}

/// Begins a batch. Every request is read, and every model that is asked for is looked at, before it
/// begins.
pub async fn add_batch(
    (engine, gateway): (&Engine, &Gateway),
    caller: &Caller,
    new: NewBatch,
) -> Result<BatchView, ModelError> {
    check_metadata(&new.metadata)?;
    let (file, None) = parse_file(&new.file)? else {
        return Err(none(&new.file));
    };
    let (of, by, named) = (engine.clone(), caller.clone(), new.file.clone());
    let endpoint = new.endpoint;
    let read = move || {
        let found = own::<FileInput>(&of, &by, (file, FILE), &named)?.input;
        let lines = lines(&found.content, endpoint)?;
        let models = lines.iter().map(|line| line.call.model().to_owned());
        let models: BTreeSet<String> = models.collect();
        Ok((found.filename, lines.len(), models))
    };
    let (filename, total, models) = aside(read).await?;
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
    let input = BatchInput {
        file,
        endpoint,
        total,
        metadata: new.metadata,
        project: new.project,
        agent: new.agent,
    };
    let requests = if total == 1 { "request" } else { "requests" };
    let title = format!("{total} {requests} of {filename}");
    let run = create(engine, caller, (BATCH, title), &input).await?;
    let (of, by) = (engine.clone(), caller.clone());
    aside(move || show_batch(&of, &by, &id(BATCH_ID, run))).await
}

/// Reads on a thread that may block.
async fn aside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ModelError> + Send + 'static,
) -> Result<T, ModelError> {
    let stopped = |_| StoreError::Unavailable("the process is ending".into());
    tokio::task::spawn_blocking(work).await.map_err(stopped)?
}

/// A batch of the caller's.
pub fn show_batch(engine: &Engine, caller: &Caller, batch: &str) -> Result<BatchView, ModelError> {
    let run = parse(BATCH_ID, batch).ok_or_else(|| none(batch))?;
    let own = own::<BatchInput>(engine, caller, (run, BATCH), batch)?;
    let row = runs::row(engine.database(), &reading(caller, run)?)?;
    let (mut completed, mut failed) = (0, 0);
    for index in 0..own.input.total {
        match own.outcome(index) {
            Some(outcome) if outcome.is_good() => completed += 1,
            Some(_) => failed += 1,
            None => {}
        }
    }
    let history = &own.history;
    let (status, error) = match &history.ended {
        Some(Ended::Completed(_)) => (BatchStatus::Completed, None),
        Some(Ended::Failed(error)) => (BatchStatus::Failed, Some(error.message.clone())),
        Some(Ended::Cancelled(_)) => (BatchStatus::Cancelled, None),
        None if history.cancel.is_some() => (BatchStatus::Cancelling, None),
        // What waits for a person says so.
        None => (
            BatchStatus::InProgress,
            Stopped::of(&row).and_then(|_| because(&row)),
        ),
    };
    let ended = history.ended.is_some();
    let made = |count: usize, word: &str| {
        (ended && count > 0).then(|| format!("{}{word}", id(FILE_ID, run)))
    };
    Ok(BatchView {
        id: batch.to_owned(),
        endpoint: own.input.endpoint,
        status,
        error,
        input: id(FILE_ID, own.input.file),
        output: made(completed, OUTPUT),
        errors: made(failed, ERRORS),
        created_at: run.created_at(),
        ended_at: ended.then_some(row.updated_at),
        total: own.input.total,
        completed,
        failed,
        metadata: own.input.metadata,
    })
}

/// Why a run waits, in words.
fn because(row: &RunRow) -> Option<String> {
    let waiting: Value = serde_json::from_str(row.waiting.as_deref()?).ok()?;
    waiting.get("because")?.as_str().map(str::to_owned)
}

/// The caller's newest batches, older than one, at most so many; and whether there are more.
pub fn list_batches(
    engine: &Engine,
    caller: &Caller,
    (after, limit): (Option<&str>, usize),
) -> Result<(Vec<BatchView>, bool), ModelError> {
    let after = after.map(|batch| parse(BATCH_ID, batch).ok_or_else(|| none(batch)));
    own_runs(engine, caller, BATCH, (after.transpose()?, limit), |run| {
        show_batch(engine, caller, &id(BATCH_ID, run))
    })
}

/// Cancels a batch of the caller's: requests under way are answered, and no other is asked.
pub async fn cancel_batch(engine: &Engine, caller: &Caller, batch: &str) -> Result<(), ModelError> {
    let run = parse(BATCH_ID, batch).ok_or_else(|| none(batch))?;
    let (of, by, named) = (engine.clone(), caller.clone(), batch.to_owned());
    aside(move || own::<BatchInput>(&of, &by, (run, BATCH), &named).map(drop)).await?;
    let cancel = RunCancel {
        run,
        submitter: caller.principal.to_string(),
        reason: "its client cancelled it".into(),
    };
    let cancel = Authorised::obtain(&Granted, caller.clone(), cancel)?;
    Ok(runs::cancel(engine, &cancel).await?)
}

/// Which file a batch makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Made {
    Output,
    Errors,
}

impl Made {
    const fn word(self) -> &'static str {
        match self {
            Self::Output => OUTPUT,
            Self::Errors => ERRORS,
        }
    }
}

/// A run of the caller's.
struct Own<I> {
    run: RunId,
    input: I,
    history: History,
}

impl Own<BatchInput> {
    fn outcome(&self, index: usize) -> Option<Outcome> {
        let step = self.history.step(&address(index))?;
        let result = step.outcome.as_ref()?.as_ref().ok()?;
        serde_json::from_value(result.clone()).ok()
    }

    /// The lines of one of its files, as far as it is.
    fn made(&self, made: Made) -> String {
        let mut text = String::new();
        for index in 0..self.input.total {
            let wanted = |outcome: &Outcome| outcome.is_good() == (made == Made::Output);
            if let Some(outcome) = self.outcome(index).filter(wanted) {
                let id = format!("batch_req_{}_{index}", suffix(self.run));
                text.push_str(&outcome.line(&id).to_string());
                text.push('\n');
            }
        }
        text
    }
}

fn own<I: serde::de::DeserializeOwned>(
    engine: &Engine,
    caller: &Caller,
    (run, kind): (RunId, &str),
    named: &str,
) -> Result<Own<I>, ModelError> {
    let read = reading(caller, run)?;
    let history = match runs::history(engine.database(), engine.blobs(), &read) {
        Err(matrix_engine::error::RequestError::NotFound(_)) => return Err(none(named)),
        history => history?,
    };
    let started = history.started.as_ref();
    let started = started
        .filter(|started| started.kind == kind && started.caller.principal == caller.principal);
    let input = started.and_then(|started| serde_json::from_value(started.input.clone()).ok());
    Ok(Own {
        run,
        input: input.ok_or_else(|| none(named))?,
        history,
    })
}

/// What a caller's own runs of a kind are, newest first.
fn own_runs<T>(
    engine: &Engine,
    caller: &Caller,
    kind: &str,
    (after, limit): (Option<RunId>, usize),
    show: impl Fn(RunId) -> Result<T, ModelError>,
) -> Result<(Vec<T>, bool), ModelError> {
    const PAGE: u32 = 100;
    let (mut found, mut before) = (Vec::new(), after);
    loop {
        let filter = Filter {
            before,
            kind: kind.into(),
            ..Filter::default()
        };
        let page = RunList {
            filter,
            limit: PAGE,
        };
        let page = Authorised::obtain(&Granted, caller.clone(), page)?;
        let rows = runs::list(engine.database(), &page)?;
        let more = rows.len() == PAGE as usize;
        for row in rows {
            before = Some(row.run);
            // Looked at before anything of it is read.
            if runs::submitter_of(engine.database(), row.run)? != caller.principal.to_string() {
                continue;
            }
            if found.len() == limit {
                return Ok((found, true));
            }
            match show(row.run) {
                Ok(one) => found.push(one),
                // It was erased.
                Err(ModelError::NoFile(_)) => {}
                Err(error) => return Err(error),
            }
        }
        if !more {
            return Ok((found, false));
        }
    }
}

async fn create<I: serde::Serialize>(
    engine: &Engine,
    caller: &Caller,
    (kind, title): (&str, String),
    input: &I,
) -> Result<RunId, ModelError> {
    let input = serde_json::to_value(input).map_err(StoreError::corrupt)?;
    let new = NewRun {
        kind: kind.into(),
        title,
        input,
        caller: caller.clone(),
        placing: Placing::default(),
    };
    Ok(engine.create_run(new).await?)
}

fn reading(caller: &Caller, run: RunId) -> Result<Authorised<RunRead>, ModelError> {
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

fn none(named: &str) -> ModelError {
    ModelError::NoFile(named.chars().take(80).collect())
}

/// The part of a run's id that its kind does not tell.
fn suffix(run: RunId) -> String {
    let text = run.to_string();
    let suffix = text.strip_prefix("run_").unwrap_or(&text);
    suffix.to_owned()
}

fn id(prefix: &str, run: RunId) -> String {
    format!("{prefix}{}", suffix(run))
}

fn parse(prefix: &str, id: &str) -> Option<RunId> {
    format!("run_{}", id.strip_prefix(prefix)?).parse().ok()
}

fn parse_file(file: &str) -> Result<(RunId, Option<Made>), ModelError> {
    let (base, made) = if let Some(base) = file.strip_suffix(OUTPUT) {
        (base, Some(Made::Output))
    } else if let Some(base) = file.strip_suffix(ERRORS) {
        (base, Some(Made::Errors))
    } else {
        (file, None)
    };
    let run = parse(FILE_ID, base).ok_or_else(|| none(file))?;
    Ok((run, made))
}
