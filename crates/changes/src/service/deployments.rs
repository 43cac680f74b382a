//! What is deployed, and going back.

use matrix_core::id::DeploymentId;
use matrix_core::{Action, Authorised};
use matrix_store::tables::audit;
use matrix_store::tables::releases::{self, DeploymentRow};
use matrix_store::{Database, StoreError};
use serde_json::{Value, json};

use crate::error::ChangeError;
use crate::stage::ChangeRequest;
use crate::stage::deploy::activate;
use crate::target::Order;
use crate::workshop::Workshop;

/// The most rows in one page.
const PAGE_MAX: u32 = 500;

/// Lists deployments.
#[derive(Debug, Clone, Default)]
pub struct DeploymentList {
    /// Only deployments older than this one.
    pub before: Option<DeploymentId>,
    /// Only those of this target; empty for all.
    pub target: String,
    /// How many at most.
    pub limit: u32,
}

impl Action for DeploymentList {
    const NAME: &'static str = "deployment_read";
}

/// Goes back to what a deployment replaced.
#[derive(Debug, Clone)]
pub struct DeploymentRollback {
    /// The deployment, which must be the target's current one.
    pub deployment: DeploymentId,
}

impl Action for DeploymentRollback {
    const NAME: &'static str = "deployment_rollback";

    fn facts(&self) -> Value {
        json!({ "deployment": self.deployment })
    }
}

/// Ends a deployment's process.
#[derive(Debug, Clone)]
pub struct DeploymentStop {
    /// The deployment.
    pub deployment: DeploymentId,
}

impl Action for DeploymentStop {
    const NAME: &'static str = "deployment_stop";

    fn facts(&self) -> Value {
        json!({ "deployment": self.deployment })
    }
}

/// Deployments, newest first.
pub fn deployments(
    database: &Database,
    request: &Authorised<DeploymentList>,
) -> Result<Vec<DeploymentRow>, ChangeError> {
    let DeploymentList {
        before,
        target,
        limit,
    } = request.action();
    let (scope, limit) = (
        &request.caller().scope,
        i64::from((*limit).clamp(1, PAGE_MAX)),
    );
    let rows = database.read_now::<_, StoreError, _>(|tx| {
        releases::deployments(tx, scope, *before, target, limit)
    })?;
    Ok(rows)
}

/// Reads one deployment.
#[derive(Debug, Clone)]
pub struct DeploymentRead {
    /// The deployment.
    pub deployment: DeploymentId,
}

impl Action for DeploymentRead {
    const NAME: &'static str = "deployment_read";

    fn facts(&self) -> Value {
        json!({ "deployment": self.deployment })
    }
}

/// The newest lines that a deployment's process wrote.
pub async fn logs(
    workshop: &Workshop,
    request: &Authorised<DeploymentRead>,
) -> Result<Vec<u8>, ChangeError> {
    let id = request.action().deployment;
    let row = find(workshop.database(), id, request.caller())?;
    let (target, _) = target_of(workshop, &row)?;
    Ok(target.logs(id).await?)
}

/// Goes back to what a deployment replaced; gives that deployment, if there was one.
pub async fn rollback(
    workshop: &Workshop,
    request: &Authorised<DeploymentRollback>,
) -> Result<Option<DeploymentId>, ChangeError> {
    let id = request.action().deployment;
    let row = find(workshop.database(), id, request.caller())?;
    let (target, epoch) = target_of(workshop, &row)?;
    let order = Order {
        deployment: id,
        run: row.run,
        epoch,
    };
    let previous = target.rollback(order).await?;
    let (caller, at) = (request.caller().clone(), workshop.clock().now());
    workshop
        .database()
        .write::<_, StoreError, _>(move |tx| {
            let detail = json!({ "rolled_back_to": previous }).to_string();
            let state = "rolled_back".into();
            releases::put_deployment(
                tx,
                &DeploymentRow {
                    state,
                    detail,
                    updated_at: at,
                    ..row
                },
            )?;
            activate(tx, &caller.scope, previous, at)?;
            audit::insert(
                tx,
                &caller,
                at,
                DeploymentRollback::NAME,
                &id.to_string(),
                "",
            )
        })
        .await?;
    Ok(previous)
}

/// Ends a deployment's process, if it has one.
pub async fn stop(
    workshop: &Workshop,
    request: &Authorised<DeploymentStop>,
) -> Result<(), ChangeError> {
    let id = request.action().deployment;
    let row = find(workshop.database(), id, request.caller())?;
    let (target, _) = target_of(workshop, &row)?;
    target.stop(id).await?;
    let (caller, at) = (request.caller().clone(), workshop.clock().now());
    workshop
        .database()
        .write::<_, StoreError, _>(move |tx| {
            let state = "stopped".into();
            releases::put_deployment(
                tx,
                &DeploymentRow {
                    state,
                    updated_at: at,
                    ..row
                },
            )?;
            audit::insert(tx, &caller, at, DeploymentStop::NAME, &id.to_string(), "")
        })
        .await?;
    Ok(())
}

fn find(
    database: &Database,
    id: DeploymentId,
    caller: &matrix_core::Caller,
) -> Result<DeploymentRow, ChangeError> {
    database
        .read_now::<_, StoreError, _>(|tx| releases::get_deployment(tx, &caller.scope, id))?
        .ok_or_else(|| ChangeError::NoDeployment(id.to_string()))
}

/// The target of a deployment as the change that made it saw it, and an epoch newer than any that
/// its run has used.
fn target_of(
    workshop: &Workshop,
    row: &DeploymentRow,
) -> Result<(std::sync::Arc<dyn crate::target::Target>, i64), ChangeError> {
    use matrix_engine::history::History;
    let entries = matrix_engine::journal::read(workshop.database(), workshop.blobs(), row.run, -1)?;
    let history = History::replay(&entries);
    let request: ChangeRequest = history
        .started
        .and_then(|started| serde_json::from_value(started.input).ok())
        .ok_or_else(|| ChangeError::NotAChange(row.run.to_string()))?;
    let epoch = entries.last().map_or(1, |entry| entry.epoch + 1);
    Ok((workshop.target(&request), epoch))
}
