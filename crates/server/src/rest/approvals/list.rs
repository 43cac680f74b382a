//! `GET /api/v1/approvals`.

use axum::extract::State;
use matrix_changes::service::{self, ApprovalList};
use matrix_core::id::ApprovalId;
use matrix_core::{RunId, Timestamp};
use matrix_store::tables::approvals::ApprovalRow;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::rest::answer::{Links, approval_links};
use crate::rest::page::{self, Page};
use crate::server::{Server, blocking};

/// A question that a run asks people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Approval {
    /// Its id.
    #[schema(value_type = String)]
    pub approval: ApprovalId,
    /// The run that asks.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Which of the run's questions.
    pub name: String,
    /// `open`, `closed` or `stale`.
    pub state: String,
    /// What is asked: everything an approval would be bound to.
    pub subject: Value,
    /// When it was first asked, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub requested_at: Timestamp,
    /// When it stopped waiting, in microseconds since 1970.
    #[schema(value_type = Option<i64>)]
    pub closed_at: Option<Timestamp>,
    /// Where to answer, and what it is about.
    pub links: Links,
}

impl From<ApprovalRow> for Approval {
    fn from(row: ApprovalRow) -> Self {
        Self {
            approval: row.approval,
            run: row.run,
            name: row.name,
            state: row.state,
            subject: serde_json::from_str(&row.subject).unwrap_or(Value::Null),
            requested_at: row.requested_at,
            closed_at: row.closed_at,
            links: approval_links(row.approval, row.run),
        }
    }
}

/// Whether a question waits for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalState {
    /// It waits.
    Open,
    /// It was answered.
    Closed,
    /// What it asked about has changed.
    Stale,
}

/// A place in the list: when a question was asked, and which, for those asked at once.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(try_from = "String")]
struct Place(Timestamp, ApprovalId);

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.0.as_micros(), self.1)
    }
}

impl TryFrom<String> for Place {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parts = text.rsplit_once('-');
        let place = parts.and_then(|(at, approval)| {
            let at = Timestamp::from_micros(at.parse().ok()?);
            Some(Self(at, approval.parse().ok()?))
        });
        place.ok_or("the cursor is not one that this list gave")
    }
}

/// Which questions.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ApprovalQuery {
    /// Only questions in this state.
    #[param(inline)]
    state: Option<ApprovalState>,
    /// Where the page begins: `next` of the page before.
    #[param(value_type = Option<String>)]
    cursor: Option<Place>,
    /// How many items at most, 1 to 200; 50 when absent.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// Questions to people, newest first.
#[utoipa::path(
    get, path = "/api/v1/approvals", operation_id = "approval_list", tag = "approvals",
    params(ApprovalQuery),
    responses((status = 200, description = "A page of questions.", body = Page<Approval>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<ApprovalQuery>,
) -> Result<Page<Approval>, Failure> {
    let state = match query.state {
        None => "",
        Some(ApprovalState::Open) => "open",
        Some(ApprovalState::Closed) => "closed",
        Some(ApprovalState::Stale) => "stale",
    };
    let limit = page::limit(query.limit);
    let action = ApprovalList {
        before: query.cursor.map(|Place(at, approval)| (at, approval)),
        state: state.into(),
        limit: limit + 1,
    };
    let request = server.authorise(caller, action)?;
    let found = blocking(move || service::approvals(server.database(), &request)).await?;
    let place = |row: &ApprovalRow| Place(row.requested_at, row.approval).to_string();
    Ok(Page::cut(found, limit, place).map(Approval::from))
}
