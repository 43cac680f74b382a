//! Submits a change: plan and repository are looked at first, so that what cannot work is refused
//! before a run exists.

use matrix_core::{Action, Authorised, RunId};
use matrix_engine::queue::Placing;
use matrix_engine::{Beside, Engine, NewRun};
use matrix_store::StoreError;

use crate::error::ChangeError;
use crate::function::KIND;
use crate::intake::Submission;
use crate::workshop::Workshop;

/// Submits a change.
#[derive(Debug, Clone)]
pub struct ChangeSubmit {
    /// What is to be changed.
    pub submission: Submission,
    /// Where its run queues.
    pub placing: Placing,
}

impl Action for ChangeSubmit {
    const NAME: &'static str = "change_submit";
}

/// Creates the run of a change, and in the same transaction whatever has to stand beside it.
pub async fn submit(
    engine: &Engine,
    workshop: &Workshop,
    request: Authorised<ChangeSubmit>,
    beside: Beside,
) -> Result<RunId, ChangeError> {
    let (caller, action) = request.into_parts();
    let ChangeSubmit {
        submission,
        placing,
    } = action;
    let accepted = submission.accept(workshop.git()).await?;
    workshop.machine().sandbox().await?;
    let input = accepted.into_request();
    let new = NewRun {
        kind: KIND.into(),
        title: input.plan.title.clone(),
        input: serde_json::to_value(input).map_err(StoreError::corrupt)?,
        caller,
        placing,
    };
    Ok(engine.create_run_beside(new, beside).await?)
}
