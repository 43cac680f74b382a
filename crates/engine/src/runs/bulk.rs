//! The same request to many runs: to all that a filter finds, a page at a time.
//!
//! Nothing here is a right or a rule of its own. Each run is asked for as if it were the only one: its
//! policy decides with its own submitter, and its own verb accepts or refuses, with its audit row. What
//! has been asked for already, or is so already, is left alone, so a page that is sent twice does
//! nothing twice.

use futures::StreamExt;
use matrix_core::{Authorised, Authorizer, Caller, Problem, RunId};
use matrix_store::tables::inbox;
use matrix_store::tables::runs::RunRow;
use matrix_store::{Blobs, Database, StoreError};

use super::list::{PAGE_MAX, RunList, list};
use super::message::submitter_of;
use super::{RunCancel, RunPause, RunResume, RunRetry, cancel, pause, resume, retry};
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::error::RequestError;
use crate::lineage;
use crate::worker::is_terminal;

/// How many runs are asked at once, so that their messages share transactions.
const AT_ONCE: usize = 32;

/// What is asked of each run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BulkAction {
    /// See [`RunCancel`].
    Cancel,
    /// See [`RunPause`].
    Pause,
    /// See [`RunResume`].
    Resume,
    /// See [`RunRetry`]; of runs that rest only, each from the step that failed or was interrupted.
    Retry,
}

impl BulkAction {
    /// Its verb.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Cancel => "cancel",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Retry => "retry",
        }
    }

    /// The message that it sends.
    const fn kind(self) -> EntryKind {
        match self {
            Self::Cancel => EntryKind::CancelRequested,
            Self::Pause => EntryKind::Paused,
            Self::Resume => EntryKind::Resumed,
            Self::Retry => EntryKind::Reset,
        }
    }
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handled {
    /// The run.
    pub run: RunId,
    /// Its title.
    pub title: String,
    /// What became of it.
    pub fate: Fate,
}

/// What a run that was found is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    /// The request is durable; in a rehearsal, it would be.
    Done,
    /// It is so, or was asked for, already.
    Unchanged,
    /// The run, or the policy, refuses.
    Refused(Box<Problem>),
}

/// The runs of one page, and behind which one the next begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BulkPage {
    /// What became of each, newest first.
    pub runs: Vec<Handled>,
    /// The last run of this page, if there may be more behind it.
    pub next: Option<RunId>,
}

/// What is known of a run before it is asked for something.
enum Standing {
    Ask { row: RunRow, submitter: String },
    Unchanged(RunRow),
}

/// Asks one page of the runs that the filter finds.
pub async fn bulk(
    engine: &Engine,
    authorizer: &dyn Authorizer,
    request: &Authorised<RunList>,
    action: BulkAction,
    reason: &str,
) -> Result<BulkPage, RequestError> {
    let database = engine.database();
    let (asked, listed) = (request.clone(), database.clone());
    let rows = engine
        .storage()
        .read::<_, RequestError, _>(move || list(&listed, &asked))
        .await?;
    let next = next(&rows, request);
    let caller = request.caller();
    let handled = rows.into_iter().map(|row| async move {
        let (database, blobs) = (engine.database().clone(), engine.blobs().clone());
        let look = move || standing(&database, &blobs, row, action);
        match engine.storage().read::<_, StoreError, _>(look).await? {
            Standing::Unchanged(row) => Ok(handled(row, Fate::Unchanged)),
            Standing::Ask { row, submitter } => {
                let told = match ask((authorizer, caller), &row, submitter, (action, reason)) {
                    Ok(ask) => ask.send(engine).await,
                    Err(refused) => Err(refused),
                };
                Ok(handled(row, fate(told)?))
            }
        }
    });
    let handled: Vec<Result<Handled, RequestError>> = futures::stream::iter(handled)
        .buffered(AT_ONCE)
        .collect()
        .await;
    Ok(BulkPage {
        runs: handled.into_iter().collect::<Result<_, _>>()?,
        next,
    })
}

/// What [`bulk`] would do now: nothing is asked of any run.
pub fn rehearse(
    database: &Database,
    blobs: &Blobs,
    authorizer: &dyn Authorizer,
    request: &Authorised<RunList>,
    action: BulkAction,
) -> Result<BulkPage, RequestError> {
    let rows = list(database, request)?;
    let next = next(&rows, request);
    let mut runs = Vec::with_capacity(rows.len());
    for row in rows {
        let (row, fate) = match standing(database, blobs, row, action)? {
            Standing::Unchanged(row) => (row, Fate::Unchanged),
            Standing::Ask { row, submitter } => {
                let asked = ask(
                    (authorizer, request.caller()),
                    &row,
                    submitter,
                    (action, ""),
                );
                let fate = fate(asked.map(drop))?;
                (row, fate)
            }
        };
        runs.push(handled(row, fate));
    }
    Ok(BulkPage { runs, next })
}

fn handled(row: RunRow, fate: Fate) -> Handled {
    Handled {
        run: row.run,
        title: row.title,
        fate,
    }
}

/// Where the next page begins: a page that is not full is the last.
fn next(rows: &[RunRow], request: &Authorised<RunList>) -> Option<RunId> {
    let limit = request.action().limit.clamp(1, PAGE_MAX);
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = rows.last().map(|row| row.run);
    last.filter(|_| rows.len() >= limit)
}

/// A refusal is about one run; storage that fails is about all.
fn fate(told: Result<(), RequestError>) -> Result<Fate, RequestError> {
    match told {
        Ok(()) => Ok(Fate::Done),
        Err(RequestError::Store(error)) => Err(error.into()),
        Err(refused) => Ok(Fate::Refused(Box::new(refused.into()))),
    }
}

fn standing(
    database: &Database,
    blobs: &Blobs,
    row: RunRow,
    action: BulkAction,
) -> Result<Standing, StoreError> {
    let asked = database.read_now::<_, StoreError, _>(|tx| {
        let letters = inbox::list(tx, row.run)?;
        let kind = action.kind().as_str();
        Ok(letters.iter().any(|letter| letter.kind == kind))
    })?;
    let rests = row.state == "paused";
    let is_so = match action {
        _ if is_terminal(&row.state) => false,
        BulkAction::Pause if rests => true,
        BulkAction::Resume => !rests,
        BulkAction::Retry => false,
        BulkAction::Cancel | BulkAction::Pause => {
            let history = lineage::history(database, blobs, &row)?;
            match action {
                BulkAction::Cancel => history.cancel.is_some(),
                _ => history.paused.is_some(),
            }
        }
    };
    if asked || is_so {
        return Ok(Standing::Unchanged(row));
    }
    let submitter = submitter_of(database, row.run)?;
    Ok(Standing::Ask { row, submitter })
}

/// What one run is asked, by somebody who may.
enum Ask {
    Cancel(Authorised<RunCancel>),
    Pause(Authorised<RunPause>),
    Resume(Authorised<RunResume>),
    Retry(Authorised<RunRetry>),
}

impl Ask {
    async fn send(self, engine: &Engine) -> Result<(), RequestError> {
        match self {
            Self::Cancel(request) => cancel(engine, &request).await,
            Self::Pause(request) => pause(engine, &request).await,
            Self::Resume(request) => resume(engine, &request).await,
            Self::Retry(request) => retry(engine, &request).await,
        }
    }
}

/// The request, if the run's policy allows it and the run would accept it.
fn ask(
    (authorizer, caller): (&dyn Authorizer, &Caller),
    row: &RunRow,
    submitter: String,
    (action, reason): (BulkAction, &str),
) -> Result<Ask, RequestError> {
    let (run, reason, caller) = (row.run, reason.to_owned(), caller.clone());
    let ask = match action {
        BulkAction::Cancel => {
            let action = RunCancel {
                run,
                submitter,
                reason,
            };
            Ask::Cancel(Authorised::obtain(authorizer, caller, action)?)
        }
        BulkAction::Pause => {
            let action = RunPause {
                run,
                submitter,
                reason,
            };
            Ask::Pause(Authorised::obtain(authorizer, caller, action)?)
        }
        BulkAction::Resume => {
            let action = RunResume {
                run,
                submitter,
                reason,
            };
            Ask::Resume(Authorised::obtain(authorizer, caller, action)?)
        }
        BulkAction::Retry => {
            let action = RunRetry {
                run,
                submitter,
                step: None,
            };
            Ask::Retry(Authorised::obtain(authorizer, caller, action)?)
        }
    };
    acceptable(row, action)?;
    Ok(ask)
}

/// What the verbs say of a run's state, and that others than those that rest are not begun anew by
/// the dozen.
fn acceptable(row: &RunRow, action: BulkAction) -> Result<(), RequestError> {
    let (run, state) = (row.run, row.state.clone());
    if is_terminal(&state) {
        return Err(RequestError::Ended { run, state });
    }
    if action == BulkAction::Retry && state != "paused" {
        return Err(RequestError::WrongState {
            run,
            state,
            verb: "retried together with others",
        });
    }
    Ok(())
}
