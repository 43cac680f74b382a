//! `GET /api/v1/jobs`.

use axum::extract::State;
use matrix_changes::service::{self, ChangeList};
use matrix_core::{RunId, Timestamp};
use matrix_engine::runs::Filter;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::rest::answer::job_links;
use crate::rest::page::{self, Page};
use crate::rest::runs::body::{Run, RunState};
use crate::server::{Server, blocking};

/// Which changes.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct JobQuery {
    /// Only changes in this state.
    #[param(inline)]
    state: Option<RunState>,
    /// Only changes whose title has this in it, in whatever case.
    title: Option<String>,
    /// Only changes created then or later, in microseconds since 1970.
    #[param(value_type = Option<i64>)]
    since: Option<Timestamp>,
    /// Where the page begins: `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<RunId>,
    /// How many items at most, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Changes as their runs, newest first; the link `self` leads to the whole job.
#[utoipa::path(
    get, path = "/api/v1/jobs", operation_id = "change_list", tag = "changes", params(JobQuery),
    responses((status = 200, description = "A page of changes.", body = Page<Run>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<JobQuery>,
) -> Result<Page<Run>, Failure> {
    let limit = page::limit(query.limit);
    let action = ChangeList {
        filter: Filter {
            before: query.cursor,
            since: query.since,
            state: query.state.map_or("", RunState::as_str).into(),
            title: query.title.unwrap_or_default(),
            ..Filter::default()
        },
        limit: limit + 1,
    };
    let request = server.authorise(caller, action)?;
    let found = blocking(move || service::list(server.database(), &request)).await?;
    let page = Page::cut(found, limit, |row| row.run.to_string());
    Ok(page.map(|row| {
        let links = job_links(row.run);
        Run {
            links,
            ..row.into()
        }
    }))
}
