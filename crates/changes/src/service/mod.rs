//! What callers may do with changes: one file for each use case. Each takes the proof that the
//! caller may, and every face calls the same function.

mod artifacts;
mod decide;
mod deployments;
mod goal;
mod list;
mod order;
mod plan_check;
mod show;
mod signing_key;
mod submit;

pub use artifacts::{ArtifactRead, artifact, artifacts};
pub use decide::{Asked, ChangeApprove, ChangeReject, approve, reject};
pub use deployments::{
    Deployment, DeploymentList, DeploymentRead, DeploymentRollback, DeploymentStop, deployments,
    logs, rollback, stop,
};
pub use goal::{ChangeGoal, submit_goal};
pub use list::{ApprovalList, ChangeList, approvals, list};
pub use order::{Order, Orders};
pub use plan_check::{PlanCheck, PlanChecked, PlanForecast, plan_check, plan_forecast};
pub use show::{ChangeRead, show};
pub use signing_key::signing_key_rotate;
pub use submit::{ChangeSubmit, submit};
