//! One change.

use matrix_core::{Action, Authorised, Authorizer, RunId};
use matrix_engine::error::RequestError;
use matrix_engine::runs::{RunRead, history};
use matrix_store::tables::{approvals, runs};
use matrix_store::{Blobs, Database, StoreError};

use crate::error::ChangeError;
use crate::view::ChangeView;

/// Reads one change.
#[derive(Debug, Clone)]
pub struct ChangeRead {
    /// The run.
    pub run: RunId,
}

impl Action for ChangeRead {
    const NAME: &'static str = "change_read";
}

/// A change as its journal tells it.
pub fn show(
    database: &Database,
    blobs: &Blobs,
    authorizer: &dyn Authorizer,
    request: &Authorised<ChangeRead>,
) -> Result<ChangeView, ChangeError> {
    let run = request.action().run;
    let read = Authorised::obtain(authorizer, request.caller().clone(), RunRead { run });
    let read = read.map_err(RequestError::Denied)?;
    let history = history(database, blobs, &read)?;
    let (row, approvals) = database.read_now::<_, StoreError, _>(|tx| {
        Ok((runs::get(tx, run)?, approvals::of_run(tx, run)?))
    })?;
    row.and_then(|row| ChangeView::new(&row, &history, &approvals))
        .ok_or_else(|| ChangeError::NotAChange(run.to_string()))
}
