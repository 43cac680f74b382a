//! `GET /api/v1/runs`.

use axum::extract::State;
use matrix_core::{RunId, Timestamp};
use matrix_engine::runs::{self, Filter, RunList};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::{Run, RunState};
use super::filter::RunFilter;
use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::rest::page::{self, Page};
use crate::server::{Server, blocking};

/// Which runs.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RunQuery {
    /// Only runs of this kind, such as `change`.
    #[serde(default)]
    kind: Option<String>,
    /// Only runs in this state.
    #[param(inline)]
    state: Option<RunState>,
    /// Only runs whose title has this in it, in whatever case.
    title: Option<String>,
    /// Only runs created then or later, in microseconds since 1970.
    #[param(value_type = Option<i64>)]
    since: Option<Timestamp>,
    /// Only runs created before then, in microseconds since 1970.
    #[param(value_type = Option<i64>)]
    until: Option<Timestamp>,
    /// Only runs that queue in this lane.
    lane: Option<String>,
    /// Only runs with this concurrency key.
    key: Option<String>,
    /// Only runs that stopped by themselves and rest until a person looks at them.
    dead: Option<bool>,
    /// Only those of them that stopped for this cause, such as `crashes`, `retries` or `doubt`.
    cause: Option<String>,
    /// Where the page begins: `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<RunId>,
    /// How many items at most, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Runs, newest first.
#[utoipa::path(
    get, path = "/api/v1/runs", operation_id = "run_list", tag = "runs", params(RunQuery),
    responses((status = 200, description = "A page of runs.", body = Page<Run>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<RunQuery>,
) -> Result<Page<Run>, Failure> {
    let limit = page::limit(query.limit);
    let filter = RunFilter {
        kind: query.kind,
        state: query.state,
        title: query.title,
        since: query.since,
        until: query.until,
        lane: query.lane,
        key: query.key,
        dead: query.dead == Some(true),
        cause: query.cause,
    };
    let action = RunList {
        filter: Filter {
            before: query.cursor,
            ..filter.checked()?
        },
        limit: limit + 1,
    };
    let request = server.authorise(caller, action)?;
    let found = blocking(move || runs::list(server.database(), &request)).await?;
    Ok(Page::cut(found, limit, |row| row.run.to_string()).map(Run::from))
}
