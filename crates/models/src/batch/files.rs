//! Keeping, showing and erasing files.

use matrix_core::{Authorised, Caller, RunId, Timestamp};
use matrix_engine::Engine;
use matrix_engine::queue::Placing;
use matrix_engine::{NewRun, runs};
use matrix_store::StoreError;
use matrix_store::tables::model_batches::{self, FileRow};
use serde_json::Value;

use super::function::{FILE, FileInput};
use super::names::{self, Made, none};
use super::quota::{Quota, create};
use super::service::{aside, batch_row, own, reading, written};
use crate::error::ModelError;
use crate::gateway::ModelUse;
use crate::wire::WireError;

/// What files are for.
pub const PURPOSE: &str = "batch";

/// The name that somebody must be allowed to ask for who puts files here.
pub const RIGHT: &str = "batch";

/// The most characters of a file's name.
const NAME_MAX: usize = 200;

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
    pub purpose: &'static str,
    /// How long it is.
    pub bytes: u64,
    /// When it was made.
    pub created_at: Timestamp,
}

fn view(row: FileRow) -> FileView {
    FileView {
        id: names::file(row.run),
        filename: row.filename,
        purpose: PURPOSE,
        bytes: u64::try_from(row.bytes).unwrap_or(0),
        created_at: row.run.created_at(),
    }
}

/// Keeps a file, for whoever may ask for [`RIGHT`], where there is room for it.
pub async fn add_file(
    engine: &Engine,
    request: &Authorised<ModelUse>,
    file: NewFile,
    quota: Quota,
) -> Result<FileView, ModelError> {
    if file.purpose != PURPOSE {
        let why = format!("must be `{PURPOSE}`, which is what files are for here");
        return Err(WireError::invalid("purpose", why).into());
    }
    let caller = request.caller();
    let scope = caller.scope.clone();
    let filename: String = file.filename.chars().take(NAME_MAX).collect();
    let bytes = i64::try_from(file.content.len()).unwrap_or(i64::MAX);
    // Before anything of it is written.
    let (database, of) = (engine.database().within(&scope), scope.clone());
    let full = database
        .read::<_, StoreError, _>(move |tx| quota.of_file(tx, &of, bytes))
        .await?;
    if let Some(full) = full {
        return Err(full);
    }
    let input = FileInput {
        purpose: PURPOSE.to_owned(),
        filename: filename.clone(),
        content: file.content,
    };
    let new = NewRun {
        kind: FILE.into(),
        title: format!("file {filename}"),
        input: serde_json::to_value(&input).map_err(StoreError::corrupt)?,
        caller: caller.clone(),
        placing: Placing::default(),
    };
    let row = move |run: RunId, owner: String| FileRow {
        run,
        owner,
        filename,
        bytes,
    };
    let (noted, owner) = (row.clone(), caller.principal.to_string());
    let by = owner.clone();
    let run = create(engine, new, move |tx, run| {
        let full = quota.of_file(tx, &scope, bytes)?;
        if full.is_none() {
            model_batches::put_file(tx, &scope, &noted(run, by))?;
        }
        Ok(full)
    })
    .await?;
    Ok(view(row(run, owner)))
}

/// A file that the caller put here.
pub(super) fn file_row(
    engine: &Engine,
    caller: &Caller,
    named: &str,
) -> Result<FileRow, ModelError> {
    let (run, None) = names::file_of(named)? else {
        return Err(none(named));
    };
    let database = engine.database().within(&caller.scope);
    let found =
        database.read_now::<_, StoreError, _>(|tx| model_batches::file(tx, &caller.scope, run))?;
    let owner = caller.principal.to_string();
    found
        .filter(|row| row.owner == owner)
        .ok_or_else(|| none(named))
}

/// What a file was made of.
pub(super) fn input(
    engine: &Engine,
    caller: &Caller,
    row: &FileRow,
) -> Result<FileInput, ModelError> {
    let erased = || none(&names::file(row.run));
    let read = reading(caller, row.run)?;
    let first = runs::entries(engine.database(), engine.blobs(), &read, -1, 1)?;
    let payload = first.into_iter().next().and_then(|entry| entry.payload);
    let input = payload.and_then(|mut payload| payload.get_mut("input").map(Value::take));
    serde_json::from_value(input.ok_or_else(erased)?).map_err(|_| erased())
}

/// A file of the caller's: one that it put here, or one of its batches has made.
pub fn show_file(engine: &Engine, caller: &Caller, file: &str) -> Result<FileView, ModelError> {
    let (run, Some(made)) = names::file_of(file)? else {
        return Ok(view(file_row(engine, caller, file)?));
    };
    let done = batch_row(engine, caller, (run, file))?.done;
    let bytes = match made {
        Made::Output => done.output_bytes,
        Made::Errors => done.error_bytes,
    };
    Ok(FileView {
        id: file.to_owned(),
        filename: format!("{}{}.jsonl", names::batch(run), made.word()),
        purpose: "batch_output",
        bytes: u64::try_from(bytes).unwrap_or(0),
        created_at: run.created_at(),
    })
}

/// What is in a file of the caller's.
pub fn content(engine: &Engine, caller: &Caller, file: &str) -> Result<String, ModelError> {
    let (run, made) = names::file_of(file)?;
    match made {
        Some(made) => Ok(written(&own(engine, caller, (run, file))?, made)),
        None => Ok(input(engine, caller, &file_row(engine, caller, file)?)?.content),
    }
}

/// Erases what is in a file that the caller put here. That there was one, when, and its digest stay in the
/// journal. A batch that has not ended fails without it when it goes on in another process.
pub async fn delete_file(engine: &Engine, caller: &Caller, file: &str) -> Result<(), ModelError> {
    if let (_, Some(_)) = names::file_of(file)? {
        let why = "is what a batch has made, and goes with it";
        return Err(WireError::invalid("file", why).into());
    }
    let (of, by, named) = (engine.clone(), caller.clone(), file.to_owned());
    let run = aside(move || Ok(file_row(&of, &by, &named)?.run)).await?;
    let scope = caller.scope.clone();
    let database = engine.database().within(&scope);
    // What was erased before, by somebody who died between this and the next line, is erased.
    matrix_engine::journal::erase(&database, run, 0).await?;
    let forgotten = database
        .write::<_, StoreError, _>(move |tx| model_batches::remove_file(tx, &scope, run))
        .await?;
    if forgotten { Ok(()) } else { Err(none(file)) }
}

/// The caller's newest files, older than one, at most so many; and whether there are more.
pub fn list_files(
    engine: &Engine,
    caller: &Caller,
    (after, limit): (Option<&str>, usize),
) -> Result<(Vec<FileView>, bool), ModelError> {
    let after = after.map(names::file_of).transpose()?.map(|(run, _)| run);
    let (scope, owner) = (&caller.scope, caller.principal.to_string());
    let most = i64::try_from(limit).unwrap_or(i64::MAX).saturating_add(1);
    let rows = engine
        .database()
        .within(scope)
        .read_now::<_, StoreError, _>(|tx| model_batches::files(tx, scope, &owner, after, most))?;
    let more = rows.len() > limit;
    Ok((rows.into_iter().take(limit).map(view).collect(), more))
}
