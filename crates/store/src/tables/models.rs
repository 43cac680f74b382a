//! Models and routes by name and version. What a row means is in its spec, which is not read here.

use matrix_core::{Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const PUT: Statement = Statement::new(
    "models.put",
    "INSERT INTO models (organisation, workspace, name, version, kind, spec, created_by, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
     ON CONFLICT (organisation, workspace, name, version) DO UPDATE
         SET kind = $5, spec = $6, created_by = $7, created_at = $8",
);
const LIST: Statement = Statement::new(
    "models.list",
    "SELECT organisation, workspace, name, version, kind, spec, created_by, created_at FROM models
     WHERE organisation = $1 AND workspace = $2 ORDER BY name, created_at, version LIMIT $3",
);
const REMOVE: Statement = Statement::new(
    "models.remove",
    "DELETE FROM models
     WHERE organisation = $1 AND workspace = $2 AND name = $3 AND version = $4",
);
const CHANGED: Statement = Statement::new(
    "models.changed",
    "INSERT INTO model_revisions (organisation, workspace, revision) VALUES ($1, $2, 1)
     ON CONFLICT (organisation, workspace) DO UPDATE SET revision = model_revisions.revision + 1",
);
const REVISION: Statement = Statement::new(
    "models.revision",
    "SELECT revision FROM model_revisions WHERE organisation = $1 AND workspace = $2",
);

/// Every statement of these tables.
pub const STATEMENTS: &[Statement] = &[PUT, LIST, REMOVE, CHANGED, REVISION];

/// A model, or a route to several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelRow {
    /// Whose it is.
    pub scope: Scope,
    /// Its name, which requests say.
    pub name: String,
    /// Its version.
    pub version: String,
    /// `model` or `route`.
    pub kind: String,
    /// What it is, as JSON.
    pub spec: String,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

fn model(row: &Row) -> Result<ModelRow, StoreError> {
    Ok(ModelRow {
        scope: Scope {
            organisation: row.get(0)?,
            workspace: row.get(1)?,
        },
        name: row.get(2)?,
        version: row.get(3)?,
        kind: row.get(4)?,
        spec: row.get(5)?,
        created_by: row.get(6)?,
        created_at: row.get(7)?,
    })
}

/// Adds a model, or replaces the one of its name and version.
pub fn put(tx: &Tx<'_>, row: &ModelRow) -> Result<(), StoreError> {
    let (organisation, workspace) = (&row.scope.organisation, &row.scope.workspace);
    let params = params![
        organisation,
        workspace,
        &row.name,
        &row.version,
        &row.kind,
        &row.spec,
        &row.created_by,
        row.created_at
    ];
    tx.within(&row.scope, |tx| {
        tx.execute(&PUT, params)?;
        tx.execute(&CHANGED, params![organisation, workspace])?;
        Ok(())
    })
}

/// A tenant's models, by name, the newest version of each last.
pub fn list(tx: &Tx<'_>, scope: &Scope, limit: i64) -> Result<Vec<ModelRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, limit];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(model).collect()
    })
}

/// Removes a version; false if there is none.
pub fn remove(tx: &Tx<'_>, scope: &Scope, name: &str, version: &str) -> Result<bool, StoreError> {
    let (organisation, workspace) = (&scope.organisation, &scope.workspace);
    tx.within(scope, |tx| {
        let removed = tx.execute(&REMOVE, params![organisation, workspace, name, version])? > 0;
        if removed {
            tx.execute(&CHANGED, params![organisation, workspace])?;
        }
        Ok(removed)
    })
}

/// Says that something changed which processes keep in memory.
pub fn changed(tx: &Tx<'_>, scope: &Scope) -> Result<(), StoreError> {
    let params = params![&scope.organisation, &scope.workspace];
    tx.within(scope, |tx| tx.execute(&CHANGED, params).map(drop))
}

/// A number that rises whenever a tenant's models change.
pub fn revision(tx: &Tx<'_>, scope: &Scope) -> Result<i64, StoreError> {
    let params = params![&scope.organisation, &scope.workspace];
    tx.within(scope, |tx| {
        tx.query_one(&REVISION, params)?
            .map_or(Ok(0), |row| row.get(0))
    })
}
