//! Begins a run of steps that workers do.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::StoreError;

use super::{KIND, Plan, TaskError};
use crate::engine::{Beside, Engine, NewRun};
use crate::queue::Placing;

/// The most characters of a run's title.
const TITLE_MAX: usize = 200;

/// Begins a run of steps that workers do.
#[derive(Debug, Clone)]
pub struct TaskSubmit {
    /// The steps.
    pub plan: Plan,
    /// One line for people; made from the steps where it is empty.
    pub title: String,
    /// Where the run queues.
    pub placing: Placing,
}

impl Action for TaskSubmit {
    const NAME: &'static str = "task_submit";
}

/// Begins the run; it is durable when this returns, and so is what is written beside it.
pub async fn submit(
    engine: &Engine,
    request: Authorised<TaskSubmit>,
    beside: Beside,
) -> Result<RunId, TaskError> {
    let (caller, submit) = request.into_parts();
    let TaskSubmit {
        plan,
        title,
        placing,
    } = submit;
    plan.check()?;
    if title.chars().count() > TITLE_MAX || title.chars().any(char::is_control) {
        let text = format!("a title is one line of at most {TITLE_MAX} characters");
        return Err(TaskError::BadSteps(text));
    }
    let title = if title.is_empty() {
        let names: Vec<&str> = plan.steps.iter().map(|step| step.name.as_str()).collect();
        names.join(", ").chars().take(TITLE_MAX).collect()
    } else {
        title
    };
    let new = NewRun {
        kind: KIND.into(),
        title,
        input: serde_json::to_value(&plan).map_err(StoreError::corrupt)?,
        caller,
        placing,
    };
    Ok(engine.create_run_beside(new, beside).await?)
}
