//! Asking an agent for work.

use std::path::{Path, PathBuf};

use matrix_core::{Action, Authorised, RunId, Scope};
use matrix_engine::queue::Placing;
use matrix_engine::{Beside, Engine, NewRun};
use matrix_store::StoreError;
use matrix_worktree::{Git, Repository};
use serde_json::{Value, json};

use super::Agents;
use crate::error::AgentError;
use crate::function::{AgentInput, KIND};
use crate::workspace::Base;

/// The most bytes of a goal.
const GOAL_MAX: usize = 64 * 1024;

/// The most characters of a run's title.
const TITLE_MAX: usize = 120;

/// What an agent is asked.
#[derive(Debug, Clone, Default)]
pub struct Asked {
    /// The agent, by its name or its name and version.
    pub agent: String,
    /// What is to be reached.
    pub goal: String,
    /// The repository to work on, if any.
    pub repository: Option<PathBuf>,
    /// The revision to begin with; the repository's present one if nothing is said.
    pub revision: Option<String>,
    /// The model to ask in place of the agent's own.
    pub model: Option<String>,
    /// Whose budget it is beside the agent's own.
    pub project: Option<String>,
}

/// Asks an agent for work.
#[derive(Debug, Clone)]
pub struct AgentRun {
    /// What it is asked.
    pub asked: Asked,
    /// Where its run queues.
    pub placing: Placing,
}

impl Action for AgentRun {
    const NAME: &'static str = "agent_run";

    fn facts(&self) -> Value {
        let name = self.asked.agent.split('@').next().unwrap_or_default();
        json!({ "agent": name })
    }
}

/// The input of an agent's run, from what it is asked.
pub async fn prepare(
    agents: &Agents,
    git: &Git,
    scope: &Scope,
    asked: &Asked,
) -> Result<AgentInput, AgentError> {
    if asked.goal.trim().is_empty() || asked.goal.len() > GOAL_MAX {
        let why = format!("a goal has 1 to {GOAL_MAX} bytes; say what is to be reached");
        return Err(AgentError::Goal(why));
    }
    let known = agents.find(scope, &asked.agent)?;
    if known.row.as_ref().is_some_and(|row| row.state == "stopped") {
        return Err(AgentError::Stopped(known.definition.name));
    }
    let mut definition = known.definition;
    definition.check(&agents.toolbox)?;
    if let Some(model) = &asked.model {
        definition.model.clone_from(model);
    }
    let base = match &asked.repository {
        Some(path) => Some(base(git, path, asked.revision.as_deref()).await?),
        None => None,
    };
    Ok(AgentInput {
        definition,
        version: known.version,
        goal: asked.goal.clone(),
        base,
        project: asked.project.clone(),
    })
}

async fn base(git: &Git, path: &Path, revision: Option<&str>) -> Result<Base, AgentError> {
    let repository = Repository::open(git, path).await?;
    let commit = repository.resolve(revision.unwrap_or("HEAD")).await?;
    let path = repository.path();
    let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    Ok(Base {
        repository: path.to_string_lossy().into_owned(),
        commit: commit.to_string(),
    })
}

/// Creates the run of an agent's work, and in the same transaction whatever has to stand beside it.
pub async fn run(
    agents: &Agents,
    engine: &Engine,
    git: &Git,
    request: Authorised<AgentRun>,
    beside: Beside,
) -> Result<RunId, AgentError> {
    let (caller, action) = request.into_parts();
    let input = prepare(agents, git, &caller.scope, &action.asked).await?;
    let new = NewRun {
        kind: KIND.into(),
        title: title(&input),
        input: serde_json::to_value(input).map_err(StoreError::corrupt)?,
        caller,
        placing: action.placing,
    };
    Ok(engine.create_run_beside(new, beside).await?)
}

/// One line for people.
fn title(input: &AgentInput) -> String {
    let line = input.goal.lines().find(|line| !line.trim().is_empty());
    let whole = format!(
        "{}: {}",
        input.definition.name,
        line.unwrap_or_default().trim()
    );
    let mut cut: String = whole.chars().take(TITLE_MAX).collect();
    if cut.len() < whole.len() {
        cut.push('…');
    }
    cut
}
