//! Starts a new run that shares the first entries of another one and goes its own way from there.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, RunRow};
use serde_json::Value;

use super::message::steering_facts;
use crate::engine::{Beside, Birth, Engine, NewRun, Parents};
use crate::error::RequestError;
use crate::history::{History, Origin};
use crate::lineage;
use crate::queue::Placing;
use crate::worker::DurableFunction;

/// Starts a new run that shares the first entries of another one.
#[derive(Debug, Clone)]
pub struct RunFork {
    /// The run.
    pub run: RunId,
    /// Who submitted it, from [`submitter_of`](super::submitter_of).
    pub submitter: String,
    /// The address of the first step that the new run does itself; nothing means that it goes on
    /// where the other one's journal ends now.
    pub step: Option<String>,
    /// Another input; only for functions that take one as it stands.
    pub input: Option<Value>,
    /// Another version of the function; nothing means that of the other run.
    pub version: Option<String>,
    /// One line for people; nothing means that of the other run.
    pub title: Option<String>,
}

impl Action for RunFork {
    const NAME: &'static str = "run_fork";

    fn facts(&self) -> Value {
        steering_facts(self.run, &self.submitter)
    }
}

/// Creates the fork. It copies nothing: what ended before the fork point is read where it stands.
/// Questions to people, what was under way, and files that the other run made are not shared.
/// `beside` is written in the same transaction.
pub async fn fork(
    engine: &Engine,
    request: &Authorised<RunFork>,
    beside: Beside,
) -> Result<RunId, RequestError> {
    let asked = request.action().clone();
    let run = asked.run;
    let row = engine
        .storage()
        .look::<_, StoreError, _>(move |tx| runs::get(tx, run))
        .await?
        .filter(|row| row.scope == request.caller().scope)
        .ok_or(RequestError::NotFound(run))?;
    let (shared, history) = read(engine, &row).await?;
    let started = history
        .started
        .clone()
        .ok_or_else(|| StoreError::corrupt(format_args!("run {run}")))?;
    let version = asked.version.unwrap_or_else(|| started.version.clone());
    let function = engine
        .functions()
        .find(&started.kind, &version)
        .ok_or_else(|| RequestError::NoFunction {
            run,
            kind: started.kind.clone(),
            version: version.clone(),
        })?;
    if let Some(input) = asked
        .input
        .as_ref()
        .filter(|input| **input != started.input)
        && !function.takes(input)
    {
        return Err(RequestError::FixedInput {
            run,
            kind: started.kind,
        });
    }
    let cut = cut(&history, &*function, run, asked.step)?.unwrap_or(row.head_seq);
    let cut = cut.max(shared);
    let of = row.clone();
    let point = engine
        .storage()
        .look::<_, StoreError, _>(move |tx| lineage::point(tx, &of, cut))
        .await?
        .ok_or_else(|| StoreError::corrupt(format_args!("entry {cut} of run {run}")))?;
    let new = NewRun {
        kind: started.kind,
        title: asked.title.unwrap_or(started.title),
        input: asked.input.unwrap_or(started.input),
        caller: request.caller().clone(),
        placing: Placing::default(),
    };
    let parents = Parents {
        version,
        origin: Origin::ForkOf(point),
        trace: String::new(),
        base_seq: row.lineage.base_seq,
        placement: Some(row.placement),
    };
    let birth = Birth::of(engine.journal(), new, parents)?;
    engine.give_birth(birth, RunFork::NAME, beside).await
}

/// What a run's journal says has happened, and the position of the entry that it begins with, which
/// is always shared.
async fn read(engine: &Engine, row: &RunRow) -> Result<(i64, History), StoreError> {
    let (journal, row) = (engine.journal().clone(), row.clone());
    let read = move || {
        let database = &journal.storage.database;
        let entries = lineage::entries(database, &journal.blobs, &row, row.head_seq)?;
        let first = entries.first().map_or(row.head_seq, |entry| entry.seq);
        Ok((first, History::replay(&entries)))
    };
    engine.storage().read(read).await
}

/// The newest entry that may be shared, if not all may.
fn cut(
    history: &History,
    function: &dyn DurableFunction,
    run: RunId,
    step: Option<String>,
) -> Result<Option<i64>, RequestError> {
    let steps = history.steps();
    let asked = step
        .map(|path| {
            let found = steps.iter().find(|(known, _)| *known == path);
            found.ok_or(RequestError::NoStep { run, path })
        })
        .transpose()?;
    let own = steps.iter().find(|(path, _)| !function.shares(path));
    let firsts = asked.into_iter().chain(own);
    Ok(firsts.map(|(_, record)| record.first_seq - 1).min())
}
