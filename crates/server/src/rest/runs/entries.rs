//! `GET /api/v1/runs/{run}/entries`.

use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, RunRead};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::Entry;
use crate::edge::guard::SignedIn;
use crate::edge::read::{Asked, Named};
use crate::problem::Failure;
use crate::rest::page::{self, Page};
use crate::server::{Server, blocking};

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EntryQuery {
    /// Only entries after this position: `next` of the page before. The first entry is 0.
    #[param(minimum = -1)]
    cursor: Option<i64>,
    /// How many items at most, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// A run's journal, oldest entry first.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/entries", operation_id = "run_entries", tag = "runs",
    params(("run" = String, Path, description = "The run's id."), EntryQuery),
    responses((status = 200, description = "A page of entries.", body = Page<Entry>)),
)]
pub(crate) async fn entries(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Asked(query): Asked<EntryQuery>,
) -> Result<Page<Entry>, Failure> {
    let limit = page::limit(query.limit);
    let after = query.cursor.unwrap_or(-1);
    let request = server.authorise(caller, RunRead { run })?;
    let found = blocking(move || {
        runs::entries(
            server.database(),
            server.blobs(),
            &request,
            after,
            limit + 1,
        )
    })
    .await?;
    Ok(Page::cut(found, limit, |entry| entry.seq.to_string()).map(Entry::from))
}
