//! PLAN by an agent: it works on a copy of the base revision, and what it changed becomes the plan.

use matrix_agents::{AgentInput, Done};
use matrix_core::Digest;
use matrix_engine::{NewChild, Run, RunError, Step, StepError};
use matrix_store::Blobs;
use matrix_worktree::Operation;
use serde::{Deserialize, Serialize};

use super::ChangeRequest;
use crate::error::{ending, later};
use crate::plan::{Author, GOAL_CHARS, Plan, TITLE_CHARS};
use crate::verify::config::TargetConfig;
use crate::workshop::Workshop;

/// The address of agents in commits: under a name that nobody can have (RFC 2606).
const ADDRESS: &str = "agents.matrix.invalid";

/// A change whose plan is not there yet: an agent is to make it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Authoring {
    /// The repository's path.
    pub repository: String,
    /// The commit that the agent begins with.
    pub base: String,
    /// The agent and its goal.
    pub author: AgentInput,
    /// The target's name.
    pub target: String,
    /// The target as the base revision configures it.
    pub target_config: TargetConfig,
}

/// What a change's run is given.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(untagged)]
pub enum ChangeInput {
    /// A plan.
    Planned(Box<ChangeRequest>),
    /// A goal, for which an agent makes the plan.
    ToAuthor(Box<Authoring>),
}

impl Authoring {
    /// One line for people, until there is a plan.
    pub fn title(&self) -> String {
        let goal = self
            .author
            .goal
            .lines()
            .find(|line| !line.trim().is_empty());
        cut(goal.unwrap_or_default().trim(), TITLE_CHARS)
    }
}

/// Lets the agent work, and makes a plan of what it changed.
pub async fn author(
    run: &Run,
    workshop: &Workshop,
    asked: &Authoring,
) -> Result<ChangeRequest, RunError> {
    let input = serde_json::to_value(&asked.author)
        .map_err(|error| StepError::permanent("not_json", error.to_string()))?;
    let child = NewChild::new(matrix_agents::KIND, asked.title(), input);
    let done: Done = run.call("author", child).await?;
    let step = Step::read("author").input(&(&asked.base, &asked.author.goal, &done));
    run.step(step, |_| async { planned(workshop.blobs(), asked, &done) })
        .await
}

fn planned(blobs: &Blobs, asked: &Authoring, done: &Done) -> Result<ChangeRequest, StepError> {
    let Some(patch) = &done.patch else {
        let said = cut(done.text.trim(), 300);
        let what = format!("the agent changed nothing and says: {said}");
        return Err(StepError::permanent(ending::NOTHING_CHANGED, what));
    };
    let plan = plan(asked, &done.text, operations(blobs, &patch.operations)?);
    // What an agent makes is read as what a person writes: with every limit.
    let text = serde_json::to_vec(&plan).map_err(later)?;
    let plan = Plan::parse(&text, "plan.json")
        .map_err(|error| StepError::permanent(ending::PATCH_REFUSED, error.to_string()))?;
    Ok(ChangeRequest {
        repository: asked.repository.clone(),
        base: asked.base.clone(),
        plan_digest: plan.digest().map_err(later)?,
        plan,
        target: asked.target.clone(),
        target_config: asked.target_config.clone(),
    })
}

fn operations(blobs: &Blobs, digest: &Digest) -> Result<Vec<Operation>, StepError> {
    let bytes = blobs.get(digest)?;
    let missing = || later(format_args!("blob {digest} is missing"));
    serde_json::from_slice(&bytes.ok_or_else(missing)?).map_err(later)
}

/// The plan that says what the agent did. Its first line is the title, as agents are told.
fn plan(asked: &Authoring, text: &str, operations: Vec<Operation>) -> Plan {
    let mut lines = text
        .lines()
        .map(|line| line.trim_start_matches(['#', ' ', '*']));
    let title = lines.find(|line| !line.trim().is_empty());
    let name = &asked.author.definition.name;
    Plan {
        version: 1,
        title: match cut(title.unwrap_or_default().trim(), TITLE_CHARS) {
            none if none.is_empty() => asked.title(),
            title => title,
        },
        goal: cut(asked.author.goal.trim(), GOAL_CHARS),
        author: Author {
            name: format!("{name} (agent)"),
            email: format!("{name}@{ADDRESS}"),
        },
        base: asked.base.clone(),
        operations,
        checks: std::collections::BTreeSet::new(),
        target: Some(asked.target.clone()),
        risk: None,
    }
}

/// So many characters, without those that a line cannot show.
fn cut(text: &str, most: usize) -> String {
    let shown = text.chars().filter(|c| *c == '\n' || !c.is_control());
    shown.take(most).collect()
}
