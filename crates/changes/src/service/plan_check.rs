//! Looks at a plan without doing anything: by itself, or against a repository.

use matrix_core::{Action, Authorised, Digest};
use matrix_store::StoreError;
use serde::Serialize;

use crate::error::ChangeError;
use crate::forecast::{Forecast, forecast};
use crate::intake::Submission;
use crate::plan::Plan;
use crate::workshop::Workshop;

/// Looks at a plan.
#[derive(Debug, Clone)]
pub struct PlanCheck {
    /// The plan's text.
    pub plan: Vec<u8>,
    /// Its file name, for messages.
    pub plan_name: String,
}

impl Action for PlanCheck {
    const NAME: &'static str = "change_read";
}

/// A plan that can be used.
#[derive(Debug, Clone, Serialize)]
pub struct PlanChecked {
    /// The plan with all defaults.
    pub plan: Plan,
    /// Its canonical digest.
    pub digest: Digest,
}

/// The plan as it is understood, or everything that is wrong with it.
pub fn plan_check(request: &Authorised<PlanCheck>) -> Result<PlanChecked, ChangeError> {
    let PlanCheck { plan, plan_name } = request.action();
    let plan = Plan::parse(plan, plan_name)?;
    let digest = plan.digest().map_err(StoreError::corrupt)?;
    Ok(PlanChecked { plan, digest })
}

/// Tells what would come of a plan. It reads the repository as a submission does, so that only who
/// may submit may ask.
#[derive(Debug, Clone)]
pub struct PlanForecast(pub Submission);

impl Action for PlanForecast {
    const NAME: &'static str = "change_submit";
}

/// What would come of a plan for a repository, or everything that keeps it from being applied.
pub async fn plan_forecast(
    workshop: &Workshop,
    request: &Authorised<PlanForecast>,
) -> Result<Forecast, ChangeError> {
    let PlanForecast(submission) = request.action();
    forecast(workshop.git(), workshop.layout(), submission).await
}
