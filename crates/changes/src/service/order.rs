//! A change that is ordered for later: what a schedule keeps, and makes a submission of when it is due.

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use matrix_core::{Authorised, Authorizer, Caller, Problem};
use matrix_engine::StepError;
use matrix_engine::queue::Placing;
use matrix_engine::schedule::{Prepared, Starter};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::submit::ChangeSubmit;
use crate::function::KIND;
use crate::intake::Submission;
use crate::workshop::Workshop;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The repository's absolute path on this machine.
    pub repository: String,
    /// The plan's text.
    pub plan: String,
    /// The plan's file name, for messages.
    #[serde(default = "plan_name")]
    pub plan_name: String,
    /// Where to deploy; it wins over the plan's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

fn plan_name() -> String {
    "plan.yaml".into()
}

/// Makes changes of orders, with the rights and the base revision of the moment.
pub struct Orders {
    workshop: Workshop,
    authorizer: Arc<dyn Authorizer>,
}

impl std::fmt::Debug for Orders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Orders").finish_non_exhaustive()
    }
}

impl Orders {
    /// Orders for a workshop; the authorizer says whether their callers still may submit.
    pub fn new(workshop: Workshop, authorizer: Arc<dyn Authorizer>) -> Self {
        Self {
            workshop,
            authorizer,
        }
    }
}

#[async_trait]
impl Starter for Orders {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn prepare(&self, caller: &Caller, request: &Value) -> Result<Prepared, StepError> {
        let refused = |problem: Problem| StepError::permanent(problem.code.text, problem.detail);
        let order: Order = serde_json::from_value(request.clone())
            .map_err(|error| StepError::permanent("order", format!("a change is ordered with `repository`, `plan` and perhaps `plan_name` and `target`: {error}")))?;
        let repository = PathBuf::from(&order.repository);
        if !repository.is_absolute() {
            let what = "`repository` is an absolute path on the machine of the data directory";
            return Err(StepError::permanent("order", what));
        }
        let submission = Submission {
            repository,
            plan: order.plan.into_bytes(),
            plan_name: order.plan_name,
            target: order.target,
        };
        let request = ChangeSubmit {
            submission,
            placing: Placing::default(),
        };
        let request = Authorised::obtain(&*self.authorizer, caller.clone(), request)
            .map_err(|denied| refused(denied.into()))?;
        let accepted = request
            .action()
            .submission
            .accept(self.workshop.git())
            .await;
        let accepted = accepted.map_err(|error| refused(error.into()))?;
        let input = serde_json::to_value(accepted.into_request())
            .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
        Ok(Prepared { input })
    }
}
