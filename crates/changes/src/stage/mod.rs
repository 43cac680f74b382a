//! The stages of a change. Each takes what the stage before recorded, does a few steps, and hands
//! on something small and typed; bytes go to the blob store.

pub mod author;
pub mod deploy;
pub mod gate;
pub mod patch;
pub mod publish;
pub mod stale;
pub mod statements;
pub mod verify;

use matrix_core::Digest;
use serde::{Deserialize, Serialize};

use crate::plan::Plan;
use crate::verify::config::TargetConfig;

/// What a change is asked to do: the input of its run, unless an agent makes the plan
/// ([`author::ChangeInput`]).
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ChangeRequest {
    /// The repository's path.
    pub repository: String,
    /// The commit that the plan's base revision named at submission.
    pub base: String,
    /// The plan.
    pub plan: Plan,
    /// The plan's canonical digest.
    pub plan_digest: Digest,
    /// The target's name.
    pub target: String,
    /// The target as the base revision configures it.
    pub target_config: TargetConfig,
}
