//! Makes a schedule.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::StoreError;
use matrix_store::tables::runs;

use super::function::State;
use super::{KIND, Schedule, ScheduleError, Starter};
use crate::engine::{Beside, Engine, NewRun};
use crate::error::RequestError;
use crate::queue::Placing;

/// The most characters of a name.
const NAME_MAX: usize = 64;

/// Makes a schedule.
#[derive(Debug, Clone)]
pub struct ScheduleAdd {
    /// Its name.
    pub name: String,
    /// What it says.
    pub schedule: Schedule,
    /// Where it and its runs queue.
    pub placing: Placing,
}

impl Action for ScheduleAdd {
    const NAME: &'static str = "schedule_add";
}

/// Creates the schedule's run. What it is to start is tried once, without starting it, so that what can
/// never work is refused here. `beside` is written in the same transaction.
pub async fn add(
    engine: &Engine,
    starters: &[std::sync::Arc<dyn Starter>],
    request: &Authorised<ScheduleAdd>,
    beside: Beside,
) -> Result<RunId, ScheduleError> {
    let caller = request.caller().clone();
    let ScheduleAdd {
        name,
        schedule,
        placing,
    } = request.action().clone();
    let letter = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(letter) {
        return Err(ScheduleError::Bad(format!(
            "a name has 1 to {NAME_MAX} letters, digits and `-`, `_`, `.`"
        )));
    }
    let now = engine.clock().now();
    schedule.check(now)?;
    let starter = starters
        .iter()
        .find(|starter| starter.kind() == schedule.kind);
    match (starter, engine.functions().newest(&schedule.kind)) {
        (Some(starter), Some(_)) => {
            let prepared = starter.prepare(&caller, &schedule.request).await;
            prepared.map_err(ScheduleError::Unstartable)?;
        }
        (None, Some(function)) if function.takes(&schedule.request) => {}
        _ => {
            return Err(ScheduleError::Bad(format!(
                "runs of kind `{}` cannot be started by a schedule",
                schedule.kind
            )));
        }
    }
    let state = State {
        schedule,
        after: now,
        last: None,
        started: 0,
    };
    let new = NewRun {
        kind: KIND.into(),
        title: name.clone(),
        input: serde_json::to_value(state).map_err(StoreError::corrupt)?,
        caller: caller.clone(),
        placing,
    };
    match engine.create_run_beside(new, beside).await {
        Err(RequestError::Store(StoreError::Conflict(why))) => {
            let (scope, title) = (caller.scope, name.clone());
            let look = move |tx: &matrix_store::Tx<'_>| runs::schedule(tx, &scope, &title);
            let taken = engine.storage().look::<_, StoreError, _>(look).await?;
            Err(match taken {
                Some(row) => ScheduleError::Taken { name, run: row.run },
                None => RequestError::Store(StoreError::Conflict(why)).into(),
            })
        }
        created => Ok(created?),
    }
}
