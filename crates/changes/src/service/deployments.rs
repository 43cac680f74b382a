//! What is deployed, and going back.

use std::sync::Arc;

use matrix_core::id::DeploymentId;
use matrix_core::{Action, Authorised, RunId, Timestamp};
use matrix_engine::history::History;
use matrix_store::tables::releases::{self, DeploymentRow};
use matrix_store::tables::{audit, runs};
use matrix_store::{Blobs, Database, StoreError, Tx};
use serde_json::{Value, json};

use crate::error::ChangeError;
use crate::stage::ChangeRequest;
use crate::stage::deploy::activate;
use crate::target::{Applied, Order, Target, TargetError};
use crate::workshop::Workshop;

/// The most rows in one page.
const PAGE_MAX: u32 = 500;

/// A deployment that is there.
const ACTIVE: &str = "active";
/// A deployment that is there, and whose process was ended.
const STOPPED: &str = "stopped";
/// A deployment that was taken back.
const ROLLED_BACK: &str = "rolled_back";

/// Lists deployments.
#[derive(Debug, Clone, Default)]
pub struct DeploymentList {
    /// Only deployments older than this one.
    pub before: Option<DeploymentId>,
    /// Only those of this target; empty for all.
    pub target: String,
    /// Only those of this repository, by the name that [`name_of`](crate::intake::name_of) gives
    /// it; empty for all.
    pub repository: String,
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

/// A deployment, and the repository whose target it is on: two repositories may name their targets
/// alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// What is recorded of it.
    pub row: DeploymentRow,
    /// The repository's path; nothing if the record of its change was erased.
    pub repository: Option<String>,
}

/// Deployments, newest first.
pub fn deployments(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<DeploymentList>,
) -> Result<Vec<Deployment>, ChangeError> {
    let DeploymentList {
        before,
        target,
        repository,
        limit,
    } = request.action();
    let (scope, limit) = (&request.caller().scope, (*limit).clamp(1, PAGE_MAX));
    let wanted = usize::try_from(limit).unwrap_or(usize::MAX);
    let (mut found, mut before) = (Vec::new(), *before);
    loop {
        let rows = database.read_now::<_, StoreError, _>(|tx| {
            releases::deployments(tx, scope, before, target, i64::from(limit))
        })?;
        let is_last = rows.len() < wanted;
        for row in rows {
            before = Some(row.deployment);
            let of = request_of(database, blobs, row.run).unwrap_or_else(|error| {
                // One run's damage is that run's: the list goes on.
                tracing::warn!(run = %row.run, %error, "the run of a deployment cannot be read");
                None
            });
            let of = of.map(|request| request.repository);
            if repository.is_empty() || of.as_ref() == Some(repository) {
                found.push(Deployment {
                    row,
                    repository: of,
                });
            }
            if found.len() == wanted {
                return Ok(found);
            }
        }
        if is_last {
            return Ok(found);
        }
    }
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
    let Site { target, .. } = site_of(workshop, &row)?;
    Ok(target.logs(id).await?)
}

/// Goes back to what a deployment replaced; gives that deployment, if there was one. Only what is
/// there now can be taken back.
pub async fn rollback(
    workshop: &Workshop,
    request: &Authorised<DeploymentRollback>,
) -> Result<Option<DeploymentId>, ChangeError> {
    let id = request.action().deployment;
    let row = find(workshop.database(), id, request.caller())?;
    let Site { target, epoch, .. } = site_of(workshop, &row)?;
    let current = target.current().await?;
    if !is_half_done(&row, current) {
        must_be_there(&row, current)?;
    }
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
            settle(tx, &row, ROLLED_BACK, Some(detail), at)?;
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

/// Ends the process of what is there now, if it has one.
pub async fn stop(
    workshop: &Workshop,
    request: &Authorised<DeploymentStop>,
) -> Result<(), ChangeError> {
    let id = request.action().deployment;
    let row = find(workshop.database(), id, request.caller())?;
    let Site { target, .. } = site_of(workshop, &row)?;
    must_be_there(&row, target.current().await?)?;
    target.stop(id).await?;
    let (caller, at) = (request.caller().clone(), workshop.clock().now());
    workshop
        .database()
        .write::<_, StoreError, _>(move |tx| {
            settle(tx, &row, STOPPED, None, at)?;
            audit::insert(tx, &caller, at, DeploymentStop::NAME, &id.to_string(), "")
        })
        .await?;
    Ok(())
}

/// Records a deployment's new state, unless another act was recorded while this one was done.
fn settle(
    tx: &Tx<'_>,
    seen: &DeploymentRow,
    state: &str,
    detail: Option<String>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let now = releases::get_deployment(tx, &seen.scope, seen.deployment)?;
    let Some(now) = now.filter(|now| now.state == seen.state) else {
        return Ok(());
    };
    releases::put_deployment(
        tx,
        &DeploymentRow {
            state: state.into(),
            detail: detail.unwrap_or_else(|| now.detail.clone()),
            updated_at: at,
            ..now
        },
    )
}

/// Refuses to act on a deployment that its target has moved on from.
fn must_be_there(row: &DeploymentRow, current: Option<DeploymentId>) -> Result<(), ChangeError> {
    let is_there = current == Some(row.deployment);
    let (target, deployment) = (row.target.clone(), row.deployment);
    match &*row.state {
        ACTIVE | STOPPED if is_there => Ok(()),
        state if is_there => Err(TargetError::Unrecorded {
            target,
            deployment,
            state: state.into(),
        }
        .into()),
        _ => Err(TargetError::NotCurrent {
            target,
            deployment,
            current,
        }
        .into()),
    }
}

/// Whether a deployment was taken back and a crash kept that from being recorded: its target holds
/// what it had replaced.
fn is_half_done(row: &DeploymentRow, current: Option<DeploymentId>) -> bool {
    let applied = serde_json::from_str::<Applied>(&row.detail);
    matches!(&*row.state, ACTIVE | STOPPED)
        && applied.is_ok_and(|applied| applied.replaced == current)
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

/// Where a deployment is, as the change that made it saw it.
struct Site {
    target: Arc<dyn Target>,
    /// Newer than any that its run has used.
    epoch: i64,
}

fn site_of(workshop: &Workshop, row: &DeploymentRow) -> Result<Site, ChangeError> {
    let request = request_of(workshop.database(), workshop.blobs(), row.run)?;
    let request = request.ok_or_else(|| ChangeError::NotAChange(row.run.to_string()))?;
    let run = workshop
        .database()
        .read_now::<_, StoreError, _>(|tx| runs::get(tx, row.run))?;
    Ok(Site {
        target: workshop.target(&request),
        epoch: run.map_or(1, |run| run.epoch + 1),
    })
}

/// Within how many entries a change says what it is to do: at once, or when its agent has ended.
const AUTHORED: u32 = 100;

/// What a run was asked to do, if it is a change and still has its journal, whose beginning has it.
fn request_of(
    database: &Database,
    blobs: &Blobs,
    run: RunId,
) -> Result<Option<ChangeRequest>, StoreError> {
    let first = match matrix_engine::journal::page(database, blobs, run, -1, AUTHORED) {
        Err(StoreError::Removed { .. }) => return Ok(None),
        first => first?,
    };
    Ok(crate::view::request_of(&History::replay(&first)))
}
