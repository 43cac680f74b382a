//! Replaying a run without any effect, to see that its function still gives what the journal says.
//!
//! The function runs once over the recorded journal. Each step, timer, signal and answer it asks for
//! comes from there; where it asks for something that is not recorded, the replay ends. Nothing is
//! appended, no step's work is called, and nobody needs to own the run, so a replay can look at a
//! run that is driven at the same moment, or at a copy of a data directory.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use matrix_core::{Authorised, Digest, RunId, canonical};
use matrix_store::StoreError;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::error::{RequestError, RunError};
use crate::history::{Ended, History};
use crate::journal::{self, Fence, Journal};
use crate::lease::Lease;
use crate::lineage;
use crate::run::{Execution, Run};
use crate::wait::{Board, Nudge, UNRECORDED};
use crate::worker::DurableFunction;

use super::RunRead;

/// The longest a function may take between what is recorded.
const PATIENCE: Duration = Duration::from_mins(1);

/// What a replay found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Replay {
    /// The run.
    pub run: RunId,
    /// How many entries its journal has; their chain was recomputed.
    pub entries: u64,
    /// Recorded steps that the function asked for again.
    pub answered: usize,
    /// Recorded steps that it did not ask for: parts that another part's error had ended, or steps that
    /// this version of the function does not know.
    pub unasked: Vec<String>,
    /// How it went.
    #[serde(flatten)]
    pub verdict: Verdict,
}

/// How a replay went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum Verdict {
    /// The function ended as the journal says, with a result (or error) of this digest (of its
    /// RFC 8785 form).
    Same {
        /// The digest.
        result: Digest,
    },
    /// The run has not ended, and the function went as far as the journal goes.
    SoFar {
        /// What it asked for next.
        next: String,
    },
    /// The function did something else.
    Differs {
        /// What the journal has.
        recorded: String,
        /// What the function did.
        now: String,
    },
}

/// Replays a run with its function; `find` gives it for a kind and version. The chain of its journal
/// is checked first.
pub async fn replay(
    journal: &Journal,
    request: &Authorised<RunRead>,
    find: impl Fn(&str, &str) -> Option<Arc<dyn DurableFunction>>,
) -> Result<Replay, RequestError> {
    let database = &journal.storage.database;
    let row = super::show::row(database, request)?;
    let run = row.run;
    let function = find(&row.kind, &row.version).ok_or_else(|| RequestError::NoFunction {
        run,
        kind: row.kind.clone(),
        version: row.version.clone(),
    })?;
    let entries = journal::verify(database, &journal.blobs, run)?.entries;
    let history = lineage::history(database, &journal.blobs, &row)?;
    let ended = history.ended.clone();
    let execution = execution(
        journal,
        Fence {
            run,
            epoch: row.epoch,
        },
        history,
    )?;
    let outcome = tokio::time::timeout(PATIENCE, ending(&*function, &execution)).await;
    let verdict = match outcome {
        Ok(outcome) => judge(ended.as_ref(), outcome)?,
        Err(_) => Verdict::Differs {
            recorded: "an end".into(),
            now: format!("nothing for {} s", PATIENCE.as_secs()),
        },
    };
    let (answered, unasked) = coverage(&execution);
    Ok(Replay {
        run,
        entries,
        answered,
        unasked,
        verdict,
    })
}

/// How a function ended over its journal.
enum Ending {
    Returned(Result<Value, RunError>),
    /// It waits for this.
    Waits(String),
}

fn execution(
    journal: &Journal,
    fence: Fence,
    history: History,
) -> Result<Arc<Execution>, RequestError> {
    let started = history
        .started
        .clone()
        .ok_or_else(|| StoreError::corrupt(format_args!("run {}", fence.run)))?;
    Ok(Arc::new(Execution {
        engine: None,
        journal: journal.clone(),
        fence,
        believed: Arc::default(),
        lease: Arc::new(Lease::new("replay".into(), PATIENCE)),
        sure: Mutex::default(),
        exchange: Arc::default(),
        actor: "replay".into(),
        started,
        placement: matrix_store::tables::queue::Placement::default(),
        cancelled: watch::Sender::new(history.cancel.is_some()),
        board: Board::new(history),
        draining: watch::channel(false).1,
        occurrences: Mutex::default(),
        taken: Mutex::default(),
        told: Mutex::default(),
        is_replay: true,
    }))
}

/// Polls the function until it returns or waits for what is not recorded.
async fn ending(function: &dyn DurableFunction, execution: &Arc<Execution>) -> Ending {
    let input = execution.started.input.clone();
    let mut body = pin!(function.execute(Run::new(Arc::clone(execution)), input));
    let nudge = Arc::new(Nudge::default());
    match execution.board.advance(&nudge, body.as_mut()).await {
        Ok(result) => Ending::Returned(result),
        Err(waits) => {
            let beyond = waits.iter().find(|wait| wait.what == UNRECORDED);
            let first = waits.first();
            let first = first.map(|wait| format!("{} {}", wait.what, wait.name));
            Ending::Waits(beyond.map_or(first.unwrap_or_default(), |wait| wait.name.clone()))
        }
    }
}

fn judge(ended: Option<&Ended>, outcome: Ending) -> Result<Verdict, RequestError> {
    let recorded = ended.map(|ended| match ended {
        Ended::Completed(value) => ("a result", value.clone()),
        Ended::Failed(error) => ("an error", json!(error)),
        Ended::Cancelled(reason) => ("its cancellation", json!(reason)),
    });
    let now = match outcome {
        Ending::Returned(Ok(value)) => ("a result", value),
        Ending::Returned(Err(RunError::Failed(error))) => ("an error", json!(error)),
        Ending::Returned(Err(RunError::Cancelled(reason))) => ("its cancellation", json!(reason)),
        Ending::Returned(Err(RunError::Store(error))) => return Err(error.into()),
        // What comes after it is another generation, of which nothing is recorded yet.
        Ending::Returned(Err(RunError::ContinueAsNew(_))) => {
            return Ok(beyond(recorded.as_ref(), "to start again".into()));
        }
        Ending::Returned(Err(RunError::Unrecorded { path })) => {
            return Ok(beyond(recorded.as_ref(), path));
        }
        Ending::Waits(what) => return Ok(beyond(recorded.as_ref(), what)),
        Ending::Returned(Err(error)) => {
            return Ok(Verdict::Differs {
                recorded: recorded.map_or("no end yet", |(what, _)| what).into(),
                now: error.to_string(),
            });
        }
    };
    let digest = |value: &Value| canonical::digest(value).map_err(StoreError::corrupt);
    let result = digest(&now.1)?;
    let Some(recorded) = recorded else {
        // A function that ends where its owner had not yet written that it did.
        return Ok(Verdict::SoFar {
            next: format!("its end, with {}", now.0),
        });
    };
    let before = digest(&recorded.1)?;
    if recorded.0 == now.0 && before == result {
        return Ok(Verdict::Same { result });
    }
    Ok(Verdict::Differs {
        recorded: format!("{} (sha256 {})", recorded.0, before.short()),
        now: format!("{} (sha256 {})", now.0, result.short()),
    })
}

/// What it means that the function asked for something that is not recorded.
fn beyond(recorded: Option<&(&str, Value)>, next: String) -> Verdict {
    match recorded {
        None => Verdict::SoFar { next },
        Some((what, _)) => Verdict::Differs {
            recorded: (*what).into(),
            now: format!("it asks for `{next}`"),
        },
    }
}

/// How many recorded steps were asked for, and which were not.
fn coverage(execution: &Execution) -> (usize, Vec<String>) {
    let asked = execution
        .occurrences
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    execution.board.look(|history| {
        let steps = history.steps();
        let all = steps.len();
        let unasked: Vec<String> = steps
            .into_iter()
            .map(|(path, _)| path.to_owned())
            .filter(|path| {
                let place = path.rsplit_once('#');
                !place.is_some_and(|(base, number)| {
                    let number = number.parse::<u32>().unwrap_or(u32::MAX);
                    asked.get(base).is_some_and(|count| number <= *count)
                })
            })
            .collect();
        (all - unasked.len(), unasked)
    })
}
