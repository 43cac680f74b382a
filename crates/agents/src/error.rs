//! Why an agent was not added, or did not begin.

use matrix_core::problem::DENIED;
use matrix_core::{Code, Denied, Problem};
use matrix_engine::error::RequestError;
use matrix_store::StoreError;
use matrix_worktree::RepositoryError;

/// There is no such agent.
pub const NO_AGENT: Code = Code::new("AGENT-0001", 404, 6, "no such agent");
/// A definition is wrong.
pub const BAD_DEFINITION: Code = Code::new("AGENT-0002", 422, 2, "not a definition of an agent");
/// The agent was stopped.
pub const STOPPED: Code = Code::new("AGENT-0003", 409, 1, "agent is stopped");
/// What it is asked is nothing that it could begin with.
pub const BAD_GOAL: Code = Code::new("AGENT-0004", 422, 2, "not a goal for an agent");

/// Why an agent was not added, or did not begin.
#[derive(Debug, thiserror::Error)]
pub enum AgentError {
    /// There is none of that name, or not of that version.
    #[error("there is no agent `{0}`")]
    NoAgent(String),
    /// A definition is wrong.
    #[error("this is no definition of an agent: {0}")]
    Definition(String),
    /// It was stopped.
    #[error("the agent `{0}` is stopped")]
    Stopped(String),
    /// What it is asked is nothing that it could begin with.
    #[error("{0}")]
    Goal(String),
    /// The repository cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The engine refused.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The caller may not.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<AgentError> for Problem {
    fn from(error: AgentError) -> Self {
        let text = error.to_string();
        match error {
            AgentError::NoAgent(_) => {
                Self::new(NO_AGENT, text).help("`matrix agent list` shows those that there are")
            }
            AgentError::Definition(_) => Self::new(BAD_DEFINITION, text)
                .help("docs/reference/agents.md says what a definition looks like"),
            AgentError::Stopped(name) => Self::new(STOPPED, text)
                .help(format!("`matrix agent start {name}` lets it work again")),
            AgentError::Goal(_) => Self::new(BAD_GOAL, text),
            AgentError::Repository(error) => error.into(),
            AgentError::Request(error) => error.into(),
            AgentError::Denied(_) => Self::new(DENIED, text),
            AgentError::Store(error) => error.into(),
        }
    }
}
