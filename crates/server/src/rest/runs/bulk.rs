//! `POST /api/v1/runs/bulk`.

use axum::Json;
use axum::extract::State;
use matrix_core::RunId;
use matrix_engine::runs::{self, BulkAction, BulkPage, Fate, Filter, Handled, RunList};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::filter::RunFilter;
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::rest::answer::Reason;
use crate::rest::page;
use crate::server::{Server, acting, blocking};

/// What is asked of every run that a filter finds, a page at a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BulkOrder {
    /// What is asked of each.
    pub action: BulkVerb,
    /// Which runs; every run of the tenant when it is empty, so it must be there.
    pub filter: RunFilter,
    /// Why, in the caller's words; at most 4096 characters. A retry has none.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub reason: String,
    /// Whether to tell only what would become of each.
    #[serde(default)]
    pub dry_run: bool,
    /// Where the page begins: `next` of the page before.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub cursor: Option<RunId>,
    /// How many runs at most, 1 to 200; 50 when absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 200)]
    pub limit: Option<u32>,
}

/// What can be asked of many runs at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BulkVerb {
    /// End it at its next step boundary.
    Cancel,
    /// Let it rest at its next step boundary.
    Pause,
    /// Let it go on, if it rests.
    Resume,
    /// If it rests: do the step that failed or was interrupted, and everything after it, again.
    Retry,
}

impl From<BulkVerb> for BulkAction {
    fn from(verb: BulkVerb) -> Self {
        match verb {
            BulkVerb::Cancel => Self::Cancel,
            BulkVerb::Pause => Self::Pause,
            BulkVerb::Resume => Self::Resume,
            BulkVerb::Retry => Self::Retry,
        }
    }
}

/// What became of the runs of one page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkAnswer {
    /// Whether nothing was asked of any run.
    pub dry_run: bool,
    /// What became of each, newest first.
    pub runs: Vec<BulkItem>,
    /// The next page's cursor; null after the last page.
    #[schema(value_type = Option<String>)]
    pub next: Option<RunId>,
}

/// What became of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BulkItem {
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Its title.
    pub title: String,
    /// `done` (durable), `unchanged` (it is so, or was asked for, already) or `refused`.
    pub outcome: String,
    /// The code of the refusal, such as `RUN-0002` or `AUTH-0001`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// What it says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl From<Handled> for BulkItem {
    fn from(handled: Handled) -> Self {
        let Handled { run, title, fate } = handled;
        let (outcome, problem) = match fate {
            Fate::Done => ("done", None),
            Fate::Unchanged => ("unchanged", None),
            Fate::Refused(problem) => ("refused", Some(problem)),
        };
        Self {
            run,
            title,
            outcome: outcome.into(),
            code: problem.as_ref().map(|problem| problem.code.text.into()),
            detail: problem.map(|problem| problem.detail),
        }
    }
}

/// Asks the same of every run that a filter finds, a page at a time, newest first. Each is decided
/// about with the rights and the rules of the single verb. What is so, or was asked for, already is
/// left alone, so a page may be sent again.
#[utoipa::path(
    post, path = "/api/v1/runs/bulk", operation_id = "run_bulk", tag = "runs",
    request_body(content = BulkOrder),
    responses((status = 200, description = "What became of the runs of this page; those that are \
                done are durable.", body = BulkAnswer)),
)]
pub(crate) async fn bulk(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(order): Body<BulkOrder>,
) -> Result<Json<BulkAnswer>, Failure> {
    let reason = order.reason;
    let reason = Reason { reason }.checked()?;
    let (action, dry_run) = (BulkAction::from(order.action), order.dry_run);
    let filter = Filter {
        before: order.cursor,
        ..order.filter.checked()?
    };
    let limit = page::limit(order.limit);
    let request = server.authorise(caller, RunList { filter, limit })?;
    let BulkPage { runs, next } = if dry_run {
        let look = move || {
            let (database, blobs) = (server.database(), server.blobs());
            runs::rehearse(database, blobs, server.authorizer(), &request, action)
        };
        blocking(look).await?
    } else {
        let work = async move {
            let (engine, authorizer) = (server.engine(), server.authorizer());
            runs::bulk(engine, authorizer, &request, action, &reason).await
        };
        acting(work).await?
    };
    Ok(Json(BulkAnswer {
        dry_run,
        runs: runs.into_iter().map(BulkItem::from).collect(),
        next,
    }))
}
