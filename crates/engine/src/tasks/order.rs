//! Steps for workers that are ordered for later: what a schedule keeps, and starts when it is due.

use std::sync::Arc;

use async_trait::async_trait;
use matrix_core::{Authorised, Authorizer, Caller};
use serde_json::Value;

use super::{KIND, Plan, TaskSubmit};
use crate::error::StepError;
use crate::queue::Placing;
use crate::schedule::{Prepared, Starter};

/// Starts steps for workers, with the rights of the moment.
pub struct TaskOrders(Arc<dyn Authorizer>);

impl std::fmt::Debug for TaskOrders {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("TaskOrders").finish()
    }
}

impl TaskOrders {
    /// The authorizer says whether their callers still may submit.
    pub fn new(authorizer: Arc<dyn Authorizer>) -> Self {
        Self(authorizer)
    }
}

#[async_trait]
impl Starter for TaskOrders {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn prepare(&self, caller: &Caller, request: &Value) -> Result<Prepared, StepError> {
        let refused = |why: String| StepError::permanent("bad_steps", why);
        let plan: Plan =
            serde_json::from_value(request.clone()).map_err(|error| refused(error.to_string()))?;
        plan.check().map_err(|error| refused(error.to_string()))?;
        let submit = TaskSubmit {
            plan,
            title: String::new(),
            placing: Placing::default(),
        };
        Authorised::obtain(&*self.0, caller.clone(), submit)
            .map_err(|denied| StepError::permanent("denied", denied.to_string()))?;
        Ok(Prepared {
            input: request.clone(),
        })
    }
}
