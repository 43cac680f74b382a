//! What callers may ask of retention, and what a host does of itself.

use std::time::Duration;

use matrix_core::{Action, Authorised, Caller, RunId, Timestamp};
use matrix_store::tables::removal;
use matrix_store::tables::runs::{self, Filter};
use matrix_store::{Database, StoreError, Tx};
use serde_json::{Value, json};

use super::function::{KIND, Order};
use super::remove::{Counted, Kept, would_go};
use crate::engine::{Engine, NewRun};
use crate::error::RequestError;
use crate::queue::{Again, Placing, Singleton};

/// How often a host does it by itself.
const INTERVAL: Duration = Duration::from_hours(24);

/// How long ended runs are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Keeping {
    /// How long after its end a run's journal is kept; nothing: for ever.
    pub runs: Option<Duration>,
    /// How many newest releases of a workspace keep their runs however old they are; nothing: all.
    pub releases: Option<u32>,
}

impl Keeping {
    fn order(self, now: Timestamp) -> Order {
        let kept = self.runs.map(|kept| i64::try_from(kept.as_micros()));
        let micros = match kept {
            Some(Ok(kept)) => now.as_micros().saturating_sub(kept),
            Some(Err(_)) | None => 0,
        };
        Order {
            ended_before: Timestamp::from_micros(micros),
            releases: self.releases,
        }
    }
}

/// Removes the journals of runs that ended long ago and that nothing needs.
#[derive(Debug, Clone, Copy)]
pub struct RunPrune;

impl Action for RunPrune {
    const NAME: &'static str = "run_prune";

    fn facts(&self) -> Value {
        json!({})
    }
}

/// What would be removed now, and of what ended long enough ago how much stays, by why.
///
/// # Errors
/// When storage fails.
pub fn rehearse(
    database: &Database,
    now: Timestamp,
    _request: &Authorised<RunPrune>,
    keeping: Keeping,
) -> Result<(Counted, Kept), RequestError> {
    Ok(would_go(database, keeping.order(now).terms())?)
}

/// Begins the removal; while one is under way it is that one. It is durable when this returns.
///
/// # Errors
/// When storage fails.
pub async fn begin(
    engine: &Engine,
    request: Authorised<RunPrune>,
    keeping: Keeping,
) -> Result<RunId, RequestError> {
    let (caller, RunPrune) = request.into_parts();
    create(engine, caller, keeping.order(engine.clock().now())).await
}

async fn create(engine: &Engine, caller: Caller, order: Order) -> Result<RunId, RequestError> {
    let singleton = Singleton {
        name: KIND.into(),
        again: Again::Join,
        debounce_ms: None,
    };
    let new = NewRun {
        kind: KIND.into(),
        title: "remove runs that are past their time".into(),
        input: serde_json::to_value(order).map_err(StoreError::corrupt)?,
        caller,
        placing: Placing {
            singleton: Some(singleton),
            ..Placing::default()
        },
    };
    engine.create_run(new).await
}

/// Removes once a day what is past its time, for as long as it is polled, in the name of `caller`. A
/// day on which nothing would go leaves no run.
pub async fn keep_up(engine: Engine, caller: Caller, keeping: Keeping) {
    if keeping.runs.is_none() {
        return;
    }
    loop {
        let pause = match turn(&engine, &caller, keeping).await {
            Ok(pause) => pause,
            Err(error) => {
                tracing::warn!(%error, "runs that are past their time could not be removed");
                INTERVAL
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Begins a removal if one is due; gives the time until the next look.
async fn turn(
    engine: &Engine,
    caller: &Caller,
    keeping: Keeping,
) -> Result<Duration, RequestError> {
    let now = engine.clock().now();
    let scope = caller.scope.clone();
    let newest = Filter {
        kind: KIND.into(),
        ..Filter::default()
    };
    let last = engine
        .storage()
        .look::<_, StoreError, _>(move |tx| runs::list(tx, &scope, &newest, 1))
        .await?;
    if let Some(last) = last.first() {
        let due = last.created_at.plus(INTERVAL);
        if due > now {
            return Ok(due.since(now).min(INTERVAL));
        }
    }
    let order = keeping.order(now);
    let (database, terms) = (engine.database().clone(), order.terms());
    let look = move || {
        let unfinished = database.read_now(is_unfinished)?;
        Ok::<_, StoreError>(unfinished || would_go(&database, terms)?.0.runs > 0)
    };
    if engine.storage().read(look).await? {
        create(engine, caller.clone(), order).await?;
    }
    Ok(INTERVAL)
}

/// Whether entries of runs that were removed are still there.
fn is_unfinished(tx: &Tx<'_>) -> Result<bool, StoreError> {
    Ok(!removal::to_empty(tx, 1)?.is_empty() || !removal::months(tx, 1)?.is_empty())
}
