//! Why a change was refused before it became a run, and how a change that ran can end unreleased.

use matrix_core::{Code, Problem};
use matrix_engine::StepError;
use matrix_engine::error::RequestError;
use matrix_store::StoreError;
use matrix_worktree::{GitError, PatchError, RepositoryError};

use crate::plan::PlanErrors;
use crate::signing::KeyringError;
use crate::target::TARGET_UNKNOWN;
use crate::verify::config::ConfigError;

/// The run is not a change, or there is none.
pub const NO_CHANGE: Code = Code::new("CHANGE-0001", 404, 6, "no such change");
/// Nothing waits for a decision.
pub const NOTHING_TO_DECIDE: Code = Code::new("CHANGE-0002", 409, 1, "nothing to decide");
/// The caller submitted the change and others must decide.
pub const OWN_CHANGE: Code = Code::new("CHANGE-0003", 403, 4, "own change");
/// The change was made of an artifact that is not there.
pub const NO_ARTIFACT: Code = Code::new("CHANGE-0004", 404, 6, "no such artifact");
/// No deployment of this id.
pub const NO_DEPLOYMENT: Code = Code::new("CHANGE-0005", 404, 6, "no such deployment");
/// The repository's configuration at the base revision cannot be used.
pub const BAD_CONFIG: Code = Code::new("CHANGE-0006", 422, 2, "matrix.yaml refused");

/// How a change that ran ended without a release; the code of its `run_failed`.
pub mod ending {
    /// The plan could not be applied.
    pub const PATCH_REFUSED: &str = "patch_refused";
    /// The agent that was to make the plan changed nothing.
    pub const NOTHING_CHANGED: &str = "nothing_changed";
    /// Policy refuses it.
    pub const DENIED: &str = "denied";
    /// A person refused it.
    pub const REJECTED: &str = "rejected";
    /// It was deployed, did not work and was taken back.
    pub const ROLLED_BACK: &str = "rolled_back";
    /// The sandbox did not hold its own test.
    pub const UNSAFE: &str = "sandbox_unsafe";
}

/// Why a request about changes was refused.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// The plan cannot be used.
    #[error(transparent)]
    Plan(#[from] PlanErrors),
    /// The plan cannot be applied, for a reason that is no place in it.
    #[error(transparent)]
    Patch(#[from] PatchError),
    /// The repository cannot be used.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The repository's `matrix.yaml` cannot be used.
    #[error("matrix.yaml of {commit}, {source}")]
    Config {
        /// The base revision.
        commit: String,
        /// What is wrong with it.
        #[source]
        source: ConfigError,
    },
    /// The base revision has no such target.
    #[error("there is no target `{name}` at the base revision; there is {known}")]
    Target {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
    /// The agent that is to make the plan cannot.
    #[error(transparent)]
    Agent(#[from] matrix_agents::AgentError),
    /// The sandbox cannot be had.
    #[error(transparent)]
    Sandbox(#[from] matrix_sandbox::Unavailable),
    /// There is no such change.
    #[error("{0} is not a change")]
    NotAChange(String),
    /// Nothing waits for a decision.
    #[error("change {0} does not wait for a decision")]
    NothingToDecide(String),
    /// The submitter cannot decide alone.
    #[error("{caller} submitted change {run}; other people must decide")]
    OwnChange {
        /// Who.
        caller: String,
        /// The change.
        run: String,
    },
    /// There is no such artifact.
    #[error("change {run} has no artifact `{name}`")]
    NoArtifact {
        /// The change.
        run: String,
        /// The name.
        name: String,
    },
    /// There is no such deployment.
    #[error("there is no deployment {0}")]
    NoDeployment(String),
    /// The run refused.
    #[error(transparent)]
    Run(#[from] RequestError),
    /// The target failed.
    #[error(transparent)]
    Deploy(#[from] crate::target::TargetError),
    /// Git failed.
    #[error(transparent)]
    Git(#[from] GitError),
    /// The keys cannot be used.
    #[error(transparent)]
    Keys(#[from] KeyringError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ChangeError> for Problem {
    fn from(error: ChangeError) -> Self {
        let text = error.to_string();
        match error {
            ChangeError::Plan(error) => error.into(),
            ChangeError::Patch(error) => error.into(),
            ChangeError::Repository(error) => error.into(),
            ChangeError::Config { .. } => Problem::new(BAD_CONFIG, text)
                .help("correct it with a change of its own; it counts from its release on"),
            ChangeError::Target { .. } => Problem::new(TARGET_UNKNOWN, text)
                .help("targets are declared in matrix.yaml at the base revision"),
            ChangeError::Agent(error) => error.into(),
            ChangeError::Sandbox(error) => error.into(),
            ChangeError::NotAChange(_) => {
                Problem::new(NO_CHANGE, text).help("see `matrix change list`")
            }
            ChangeError::NothingToDecide(_) => {
                Problem::new(NOTHING_TO_DECIDE, text).help("see `matrix change show`")
            }
            ChangeError::OwnChange { .. } => {
                Problem::new(OWN_CHANGE, text).help("ask another user, or see `matrix user list`")
            }
            ChangeError::NoArtifact { .. } => {
                Problem::new(NO_ARTIFACT, text).help("see `matrix artifact list`")
            }
            ChangeError::NoDeployment(_) => {
                Problem::new(NO_DEPLOYMENT, text).help("see `matrix deployment list`")
            }
            ChangeError::Run(error) => error.into(),
            ChangeError::Deploy(error) => error.into(),
            ChangeError::Git(error) => error.into(),
            ChangeError::Keys(error) => error.into(),
            ChangeError::Store(error) => error.into(),
        }
    }
}

/// An error of the machine that may go away: the step is tried again.
pub(crate) fn later(error: impl std::fmt::Display) -> StepError {
    StepError::transient("machine", error.to_string())
}
