//! The newest runs of the caller's scope.

use matrix_core::{Action, Authorised};
use matrix_store::tables::runs::{self, Filter, RunRow};
use matrix_store::{Database, StoreError};

use crate::error::RequestError;

/// The most runs in one page.
pub(super) const PAGE_MAX: u32 = 500;

/// The newest runs of the caller's scope.
#[derive(Debug, Clone, Default)]
pub struct RunList {
    /// Which of them.
    pub filter: Filter,
    /// How many at most.
    pub limit: u32,
}

impl Action for RunList {
    const NAME: &'static str = "run_read";
}

/// Runs, newest first.
pub fn list(
    database: &Database,
    request: &Authorised<RunList>,
) -> Result<Vec<RunRow>, RequestError> {
    let RunList { filter, limit } = request.action();
    let limit = i64::from((*limit).clamp(1, PAGE_MAX));
    let scope = &request.caller().scope;
    let rows = database.read_now::<_, StoreError, _>(|tx| runs::list(tx, scope, filter, limit))?;
    Ok(rows)
}
