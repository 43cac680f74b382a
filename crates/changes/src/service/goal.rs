//! Submits a goal: an agent makes the plan, and everything else is as with a plan of a person.

use std::path::PathBuf;

use matrix_agents::service::{Agents, Asked, prepare};
use matrix_core::{Action, Authorised, RunId};
use matrix_engine::queue::Placing;
use matrix_engine::{Beside, Engine, NewRun};
use matrix_store::StoreError;
use serde_json::{Value, json};

use crate::error::ChangeError;
use crate::function::KIND;
use crate::intake::aim;
use crate::stage::author::{Authoring, ChangeInput};
use crate::workshop::Workshop;

/// Submits a goal.
#[derive(Debug, Clone)]
pub struct ChangeGoal {
    /// The repository.
    pub repository: PathBuf,
    /// What is to be reached, by whom, from where.
    pub asked: Asked,
    /// The target's name.
    pub target: Option<String>,
    /// Where its run queues.
    pub placing: Placing,
}

impl Action for ChangeGoal {
    const NAME: &'static str = "change_submit";

    fn facts(&self) -> Value {
        let name = self.asked.agent.split('@').next().unwrap_or_default();
        json!({ "agent": name })
    }
}

/// Creates the run of a change that begins with an agent, and in the same transaction whatever has to
/// stand beside it.
pub async fn submit_goal(
    engine: &Engine,
    workshop: &Workshop,
    agents: &Agents,
    request: Authorised<ChangeGoal>,
    beside: Beside,
) -> Result<RunId, ChangeError> {
    let (caller, action) = request.into_parts();
    let asked = Asked {
        repository: Some(action.repository.clone()),
        ..action.asked
    };
    let author = prepare(agents, workshop.git(), &caller.scope, &asked).await?;
    let Some(base) = author.base.clone() else {
        let why = "a change needs a repository".to_owned();
        return Err(matrix_agents::AgentError::Goal(why).into());
    };
    let (target, target_config) = aim(
        workshop.git(),
        &action.repository,
        &base.commit,
        action.target,
    )
    .await?;
    workshop.machine().sandbox().await?;
    let authoring = Authoring {
        repository: base.repository,
        base: base.commit,
        author,
        target,
        target_config,
    };
    let title = authoring.title();
    let input = ChangeInput::ToAuthor(Box::new(authoring));
    let new = NewRun {
        kind: KIND.into(),
        title,
        input: serde_json::to_value(input).map_err(StoreError::corrupt)?,
        caller,
        placing: action.placing,
    };
    Ok(engine.create_run_beside(new, beside).await?)
}
