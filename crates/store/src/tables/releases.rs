//! Artifacts, deployments and releases that changes leave behind.

use matrix_core::id::{DeploymentId, ReleaseId};
use matrix_core::{Digest, RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const PUT_ARTIFACT: Statement = Statement::new(
    "artifacts.put",
    "INSERT INTO artifacts (run, name, digest, media_type, size, created_at)
     VALUES ($1, $2, $3, $4, $5, $6)
     ON CONFLICT (run, name) DO UPDATE SET digest = $3, media_type = $4, size = $5",
);
const ARTIFACTS: Statement = Statement::new(
    "artifacts.of_run",
    "SELECT run, name, digest, media_type, size, created_at FROM artifacts
     WHERE run = $1 ORDER BY name",
);
const PUT_DEPLOYMENT: Statement = Statement::new(
    "deployments.put",
    "INSERT INTO deployments (deployment, run, organisation, workspace, target, state, detail,
                              created_at, updated_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $8)
     ON CONFLICT (deployment) DO UPDATE SET state = $6, detail = $7, updated_at = $8",
);
const DEPLOYMENT: Statement = Statement::new(
    "deployments.get",
    "SELECT deployment, run, organisation, workspace, target, state, detail, created_at, updated_at
     FROM deployments WHERE deployment = $1 AND organisation = $2 AND workspace = $3",
);
const DEPLOYMENTS: Statement = Statement::new(
    "deployments.list",
    "SELECT deployment, run, organisation, workspace, target, state, detail, created_at, updated_at
     FROM deployments WHERE organisation = $1 AND workspace = $2 AND ($3 = '' OR target = $3)
       AND deployment < $4
     ORDER BY deployment DESC LIMIT $5",
);
const PUT_RELEASE: Statement = Statement::new(
    "releases.put",
    "INSERT INTO releases (release, run, organisation, workspace, title, detail, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (release) DO NOTHING",
);
const RELEASES: Statement = Statement::new(
    "releases.list",
    "SELECT release, run, organisation, workspace, title, detail, created_at FROM releases
     WHERE organisation = $1 AND workspace = $2 ORDER BY release DESC LIMIT $3",
);

/// Every statement of these tables.
pub const STATEMENTS: &[Statement] = &[
    PUT_ARTIFACT,
    ARTIFACTS,
    PUT_DEPLOYMENT,
    DEPLOYMENT,
    DEPLOYMENTS,
    PUT_RELEASE,
    RELEASES,
];

/// Immutable bytes that a run published under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ArtifactRow {
    /// The run.
    pub run: RunId,
    /// Its name in the run.
    pub name: String,
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// Media type.
    pub media_type: String,
    /// Number of bytes.
    pub size: u64,
    /// When it was published.
    pub created_at: Timestamp,
}

/// One application of a change to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentRow {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The run that made it.
    pub run: RunId,
    /// Where it belongs.
    pub scope: Scope,
    /// The target's name.
    pub target: String,
    /// `active`, `superseded`, `rolled_back`, `failed` or `stopped`.
    pub state: String,
    /// More, as JSON of the target's adapter.
    pub detail: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
}

/// A published change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReleaseRow {
    /// The release.
    pub release: ReleaseId,
    /// The run that made it.
    pub run: RunId,
    /// Where it belongs.
    pub scope: Scope,
    /// One line for people.
    pub title: String,
    /// More, as JSON.
    pub detail: String,
    /// When it was published.
    pub created_at: Timestamp,
}

/// Publishes an artifact under its name.
pub fn put_artifact(tx: &Tx<'_>, row: &ArtifactRow) -> Result<(), StoreError> {
    let ArtifactRow {
        run,
        name,
        digest,
        media_type,
        size,
        created_at,
    } = row;
    let size = i64::try_from(*size).unwrap_or(i64::MAX);
    let params = params![run, name, digest, media_type, size, *created_at];
    tx.within_run(*run, |tx| tx.execute(&PUT_ARTIFACT, params))?
        .map(drop)
        .ok_or_else(|| StoreError::forbidden(format_args!("what belongs to {run}")))
}

/// A run's artifacts by name.
pub fn artifacts(tx: &Tx<'_>, run: RunId) -> Result<Vec<ArtifactRow>, StoreError> {
    let found = tx.within_run(run, |tx| {
        tx.query(&ARTIFACTS, params![&run])?
            .iter()
            .map(|row| {
                Ok(ArtifactRow {
                    run: row.get(0)?,
                    name: row.get(1)?,
                    digest: row.get(2)?,
                    media_type: row.get(3)?,
                    size: row.get(4)?,
                    created_at: row.get(5)?,
                })
            })
            .collect()
    })?;
    Ok(found.unwrap_or_default())
}

fn deployment(row: &Row) -> Result<DeploymentRow, StoreError> {
    Ok(DeploymentRow {
        deployment: DeploymentId::from_bytes(row.get(0)?),
        run: row.get(1)?,
        scope: Scope {
            organisation: row.get(2)?,
            workspace: row.get(3)?,
        },
        target: row.get(4)?,
        state: row.get(5)?,
        detail: row.get(6)?,
        created_at: row.get(7)?,
        updated_at: row.get(8)?,
    })
}

/// Records a deployment, or its new state (`updated_at` is the time of the act).
pub fn put_deployment(tx: &Tx<'_>, row: &DeploymentRow) -> Result<(), StoreError> {
    let params = params![
        row.deployment.as_bytes(),
        &row.run,
        &row.scope.organisation,
        &row.scope.workspace,
        &row.target,
        &row.state,
        &row.detail,
        row.updated_at
    ];
    tx.within(&row.scope, |tx| {
        tx.require_run(row.run)?;
        tx.execute(&PUT_DEPLOYMENT, params).map(drop)
    })
}

/// One deployment of a scope.
pub fn get_deployment(
    tx: &Tx<'_>,
    scope: &Scope,
    id: DeploymentId,
) -> Result<Option<DeploymentRow>, StoreError> {
    let params = params![id.as_bytes(), &scope.organisation, &scope.workspace];
    tx.within(scope, |tx| {
        tx.query_one(&DEPLOYMENT, params)?
            .as_ref()
            .map(deployment)
            .transpose()
    })
}

/// Deployments of a scope before a cursor, newest first; an empty target means all.
pub fn deployments(
    tx: &Tx<'_>,
    scope: &Scope,
    before: Option<DeploymentId>,
    target: &str,
    limit: i64,
) -> Result<Vec<DeploymentRow>, StoreError> {
    let before = before.unwrap_or(DeploymentId::from_bytes([0xff; 16]));
    let params = params![
        &scope.organisation,
        &scope.workspace,
        target,
        before.as_bytes(),
        limit
    ];
    tx.within(scope, |tx| {
        tx.query(&DEPLOYMENTS, params)?
            .iter()
            .map(deployment)
            .collect()
    })
}

/// Records a release; the same release twice is one.
pub fn put_release(tx: &Tx<'_>, row: &ReleaseRow) -> Result<(), StoreError> {
    let params = params![
        row.release.as_bytes(),
        &row.run,
        &row.scope.organisation,
        &row.scope.workspace,
        &row.title,
        &row.detail,
        row.created_at
    ];
    tx.within(&row.scope, |tx| {
        tx.require_run(row.run)?;
        tx.execute(&PUT_RELEASE, params).map(drop)
    })
}

/// Releases of a scope, newest first.
pub fn releases(tx: &Tx<'_>, scope: &Scope, limit: i64) -> Result<Vec<ReleaseRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, limit];
    tx.within(scope, |tx| {
        tx.query(&RELEASES, params)?
            .iter()
            .map(|row| {
                Ok(ReleaseRow {
                    release: ReleaseId::from_bytes(row.get(0)?),
                    run: row.get(1)?,
                    scope: Scope {
                        organisation: row.get(2)?,
                        workspace: row.get(3)?,
                    },
                    title: row.get(4)?,
                    detail: row.get(5)?,
                    created_at: row.get(6)?,
                })
            })
            .collect()
    })
}
