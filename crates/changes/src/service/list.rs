//! Changes and open questions of the caller's scope, newest first.

use matrix_core::id::ApprovalId;
use matrix_core::{Action, Authorised, Timestamp};
use matrix_store::tables::approvals::{self, ApprovalRow};
use matrix_store::tables::runs::{self, Filter, RunRow};
use matrix_store::{Database, StoreError};

use crate::error::ChangeError;
use crate::function::KIND;

/// The most rows in one page.
const PAGE_MAX: u32 = 500;

/// Lists changes.
#[derive(Debug, Clone, Default)]
pub struct ChangeList {
    /// Which of them; the kind is a change's.
    pub filter: Filter,
    /// How many at most.
    pub limit: u32,
}

impl Action for ChangeList {
    const NAME: &'static str = "change_read";
}

/// Lists questions to people.
#[derive(Debug, Clone, Default)]
pub struct ApprovalList {
    /// Only questions before this place: when one was asked, and which.
    pub before: Option<(Timestamp, ApprovalId)>,
    /// `open`, `closed`, `stale`, or empty for all.
    pub state: String,
    /// How many at most.
    pub limit: u32,
}

impl Action for ApprovalList {
    const NAME: &'static str = "change_read";
}

/// The runs of changes, newest first.
pub fn list(
    database: &Database,
    request: &Authorised<ChangeList>,
) -> Result<Vec<RunRow>, ChangeError> {
    let ChangeList { filter, limit } = request.action();
    let (scope, limit) = (
        &request.caller().scope,
        i64::from((*limit).clamp(1, PAGE_MAX)),
    );
    let filter = Filter {
        kind: KIND.into(),
        ..filter.clone()
    };
    let rows = database.read_now::<_, StoreError, _>(|tx| runs::list(tx, scope, &filter, limit))?;
    Ok(rows)
}

/// Questions to people, newest first.
pub fn approvals(
    database: &Database,
    request: &Authorised<ApprovalList>,
) -> Result<Vec<ApprovalRow>, ChangeError> {
    let ApprovalList {
        before,
        state,
        limit,
    } = request.action();
    let (scope, limit) = (
        &request.caller().scope,
        i64::from((*limit).clamp(1, PAGE_MAX)),
    );
    let rows = database
        .read_now::<_, StoreError, _>(|tx| approvals::list(tx, scope, *before, state, limit))?;
    Ok(rows)
}
