//! `GET /api/v1/runs/{run}/why`.

use axum::Json;
use axum::extract::State;
use matrix_changes::service::{self, ChangeRead};
use matrix_changes::stage::stale::Stale;
use matrix_core::{RunId, Timestamp};
use matrix_engine::runs::{self, RunRead};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::rest::answer::{Links, run_links};
use crate::server::{Server, blocking};

/// What a run waits for, since when and why; the command `run why` says the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Why {
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// `ready`, `running`, `waiting`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// Since when, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub since: Timestamp,
    /// What it waits for (`for`, `name`, `because`, `until`); null when it does not.
    pub waiting: Option<Value>,
    /// The process that drives it.
    pub owner: Option<String>,
    /// Its steps that workers outside have or may take, as `GET /api/v1/runs/{run}/tasks` has them.
    pub tasks: Value,
    /// Its place in the queue, what blocks it there and who holds that; null when it is not ready.
    pub queue: Option<Value>,
    /// Of a change: why an earlier question to people went stale.
    pub stale: Option<Value>,
    /// The same in lines for a person.
    pub lines: Vec<String>,
    /// Where to look on.
    pub links: Links,
}

/// What a run waits for, since when and why: the holder of what it needs, its place in the queue, the
/// worker that has its step, the person or the time that it waits for.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/why", operation_id = "run_why", tag = "runs",
    params(("run" = String, Path, description = "The run's id.")),
    responses((status = 200, description = "The account.", body = Why)),
)]
pub(crate) async fn why(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
) -> Result<Json<Why>, Failure> {
    let request = server.authorise(caller.clone(), RunRead { run })?;
    let found = blocking(move || account(&server, caller, &request)).await?;
    Ok(Json(found))
}

fn account(
    server: &Server,
    caller: matrix_core::Caller,
    request: &matrix_core::Authorised<RunRead>,
) -> Result<Why, Failure> {
    let (engine, database) = (server.engine(), server.database());
    let now = engine.clock().now();
    let why = runs::explain(database, engine.scheduling(), request, now)?;
    let mut lines = why.lines();
    let mut stale = None;
    if why.kind == matrix_changes::function::KIND {
        let read = server.authorise(caller, ChangeRead { run: why.run })?;
        let view = service::show(database, server.blobs(), server.authorizer(), &read)?;
        lines.extend(view.stale.as_ref().map(Stale::line));
        stale = view.stale.map(|stale| json!(stale));
    }
    Ok(Why {
        run: why.run,
        since: why.since,
        tasks: json!(why.tasks),
        queue: why.queue.map(|queue| json!(queue)),
        state: why.state,
        waiting: why.waiting,
        owner: why.owner,
        stale,
        lines,
        links: run_links(why.run),
    })
}
