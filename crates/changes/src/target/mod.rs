//! Targets: where a change is deployed to.
//!
//! A target says beforehand what it would do ([`Target::dry_run`]); people approve that answer's
//! digest, and the answer is asked for again right before [`Target::apply`]. Applying takes the
//! deployment's id, which is the same for every attempt, and the owner's epoch: a target refuses
//! an owner older than one it has seen.

pub mod directory;
pub mod manifest;
pub mod service;

use async_trait::async_trait;
use matrix_core::id::DeploymentId;
use matrix_core::{Code, Digest, Problem, RunId, canonical};
use serde::{Deserialize, Serialize};

pub use directory::DirectoryTarget;
pub use manifest::{Manifest, Payload};

use crate::verify::config::{Environment, TargetConfig};

/// The target's directory or process could not be changed or asked.
pub const TARGET_FAILED: Code = Code::new("TARGET-0001", 500, 1, "target failed");
/// A newer owner of the run has used the target.
pub const TARGET_FENCED: Code = Code::new("TARGET-0002", 409, 1, "older than the target's last");
/// There is no such target at the base revision.
pub const TARGET_UNKNOWN: Code = Code::new("TARGET-0003", 422, 2, "no such target");
/// There is nothing to go back to.
pub const TARGET_NO_PREVIOUS: Code = Code::new("TARGET-0004", 409, 1, "nothing to roll back to");

/// Another deployment is there now.
pub const TARGET_NOT_CURRENT: Code = Code::new("TARGET-0005", 409, 1, "not the current deployment");

/// Why a target did not do something.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// A file of the target could not be read or written.
    #[error("target `{target}` could not {what}: {source}")]
    Io {
        /// The target.
        target: String,
        /// What was tried.
        what: String,
        /// Why it failed.
        #[source]
        source: std::io::Error,
    },
    /// Its process could not be controlled.
    #[error("the process of target `{target}` could not be controlled: {why}")]
    Process {
        /// The target.
        target: String,
        /// Why.
        why: String,
    },
    /// A newer owner of the same run was here.
    #[error("target `{target}` has heard from a newer owner of run {run}")]
    Fenced {
        /// The target.
        target: String,
        /// The run.
        run: RunId,
    },
    /// There is no earlier release.
    #[error("target `{target}` has no release before {deployment}")]
    NoPrevious {
        /// The target.
        target: String,
        /// The one to go back from.
        deployment: DeploymentId,
    },
    /// Another deployment is there, or none.
    #[error(
        "{deployment} is not the current deployment of target `{target}`; {}",
        is_current(*current)
    )]
    NotCurrent {
        /// The target.
        target: String,
        /// The one that was named.
        deployment: DeploymentId,
        /// The one that is there.
        current: Option<DeploymentId>,
    },
    /// It is there, but what is recorded of it says something else: another act was interrupted.
    #[error("{deployment} is what target `{target}` has, but it is recorded as {state}")]
    Unrecorded {
        /// The target.
        target: String,
        /// The deployment.
        deployment: DeploymentId,
        /// What is recorded.
        state: String,
    },
    /// What is there is not what was put there.
    #[error("target `{target}` is damaged: {what}")]
    Damaged {
        /// The target.
        target: String,
        /// What is wrong.
        what: String,
    },
}

/// What is there instead.
fn is_current(current: Option<DeploymentId>) -> String {
    current.map_or_else(
        || "nothing is deployed there".into(),
        |id| format!("{id} is"),
    )
}

impl From<TargetError> for Problem {
    fn from(error: TargetError) -> Self {
        let text = error.to_string();
        match error {
            TargetError::Io { .. } | TargetError::Process { .. } | TargetError::Damaged { .. } => {
                Problem::new(TARGET_FAILED, text)
                    .help("look at the target's directory and `matrix deployment list`")
            }
            TargetError::Fenced { .. } => Problem::new(TARGET_FENCED, text),
            TargetError::NoPrevious { .. } => Problem::new(TARGET_NO_PREVIOUS, text)
                .help("what it replaced was removed; release an earlier state by a change instead"),
            TargetError::NotCurrent {
                current: Some(current),
                ..
            } => Problem::new(TARGET_NOT_CURRENT, text)
                .help("only what is there now can be acted on; see `matrix deployment list`")
                .with("current", current.to_string()),
            TargetError::Unrecorded { .. } => Problem::new(TARGET_NOT_CURRENT, text).help(
                "repeat the rollback or stop that was interrupted; `matrix deployment list` \
                 names the deployment",
            ),
            TargetError::NotCurrent { .. } => Problem::new(TARGET_NOT_CURRENT, text)
                .help("only what is there now can be acted on; see `matrix deployment list`"),
        }
    }
}

/// One path that a deployment would change.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct PathChange {
    /// The path.
    pub path: String,
    /// Its digest now; nothing if it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Digest>,
    /// Its digest afterwards; nothing if it goes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Digest>,
}

/// What a deployment would do, without doing it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DryRun {
    /// The target's name.
    pub target: String,
    /// Its environment.
    pub environment: Environment,
    /// The target's configuration at the base revision.
    pub config: TargetConfig,
    /// The deployment that is there now.
    pub replaces: Option<DeploymentId>,
    /// The digest of everything that would be there.
    pub manifest: Digest,
    /// Paths that differ from what is there now, at most [`CHANGES_SHOWN_MAX`].
    pub changes: Vec<PathChange>,
    /// How many paths differ.
    pub changes_total: usize,
}

/// The most paths that a dry run names.
pub const CHANGES_SHOWN_MAX: usize = 200;

impl DryRun {
    /// What approvals bind to.
    pub fn digest(&self) -> Result<Digest, canonical::NotCanonical> {
        canonical::digest(self)
    }
}

/// Who applies what, so that doing it twice is doing it once and an old owner is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// The deployment; the same for each attempt.
    pub deployment: DeploymentId,
    /// The run that makes it.
    pub run: RunId,
    /// The owner's epoch: the fencing token.
    pub epoch: i64,
}

/// What was applied.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// The deployment.
    pub deployment: DeploymentId,
    /// Where it is, for people.
    pub location: String,
    /// The digest of everything that is there.
    pub manifest: Digest,
    /// The deployment it replaced.
    pub replaced: Option<DeploymentId>,
}

/// Whether a deployment works.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthReport {
    /// Whether it does.
    pub healthy: bool,
    /// How that was found out, and what was found.
    pub detail: String,
    /// What waiting could change, if it does not work.
    #[serde(default)]
    pub outlook: Outlook,
}

impl HealthReport {
    /// It works.
    pub fn well(detail: impl Into<String>) -> Self {
        Self {
            healthy: true,
            detail: detail.into(),
            outlook: Outlook::Open,
        }
    }

    /// It does not work.
    pub fn sick(outlook: Outlook, detail: impl Into<String>) -> Self {
        Self {
            healthy: false,
            detail: detail.into(),
            outlook,
        }
    }
}

/// What waiting could change about a deployment that does not work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outlook {
    /// It may still be starting: nothing listens yet, or it says that it is not ready.
    #[default]
    Open,
    /// It answers, and what it answers is no; a program that starts may do that for a moment.
    Refuses,
    /// Nothing: its process ended, or its files are not those that were deployed.
    Over,
}

/// A place that changes are deployed to.
#[async_trait]
pub trait Target: Send + Sync {
    /// What [`Target::apply`] would do.
    async fn dry_run(&self, payload: &Payload) -> Result<DryRun, TargetError>;

    /// Puts the payload there, if that is still what was approved; nothing, and nothing done, if
    /// the dry run is another one now. The same order again changes nothing more.
    async fn apply(
        &self,
        payload: &Payload,
        order: Order,
        approved: &DryRun,
    ) -> Result<Option<Applied>, TargetError>;

    /// Whether an order was carried out.
    async fn find(&self, order: Order) -> Result<Option<Applied>, TargetError>;

    /// Whether a deployment works.
    async fn health(&self, deployment: DeploymentId) -> Result<HealthReport, TargetError>;

    /// The newest lines of a deployment's own log.
    async fn logs(&self, deployment: DeploymentId) -> Result<Vec<u8>, TargetError>;

    /// The deployment that is there now.
    async fn current(&self) -> Result<Option<DeploymentId>, TargetError>;

    /// Goes back to what a deployment replaced; gives that deployment, or nothing if the target
    /// is empty now. The same order again changes nothing more.
    async fn rollback(&self, order: Order) -> Result<Option<DeploymentId>, TargetError>;

    /// Ends a deployment's process, if it has one.
    async fn stop(&self, deployment: DeploymentId) -> Result<(), TargetError>;
}
