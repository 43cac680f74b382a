//! Agents by name and version. What an agent is is in its spec, which is not read here.

use matrix_core::{Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const INSERT: Statement = Statement::new(
    "agents.insert",
    "INSERT INTO agents (organisation, workspace, name, version, state, spec, created_by, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
);
const LIST: Statement = Statement::new(
    "agents.list",
    "SELECT organisation, workspace, name, version, state, spec, created_by, created_at FROM agents a
     WHERE organisation = $1 AND workspace = $2 AND version = (
         SELECT MAX(n.version) FROM agents n
          WHERE n.organisation = $1 AND n.workspace = $2 AND n.name = a.name)
     ORDER BY name LIMIT $3",
);
const VERSIONS: Statement = Statement::new(
    "agents.versions",
    "SELECT organisation, workspace, name, version, state, spec, created_by, created_at FROM agents
     WHERE organisation = $1 AND workspace = $2 AND name = $3 ORDER BY version DESC LIMIT $4",
);
const GET: Statement = Statement::new(
    "agents.get",
    "SELECT organisation, workspace, name, version, state, spec, created_by, created_at FROM agents
     WHERE organisation = $1 AND workspace = $2 AND name = $3 AND version = $4",
);
const SET_STATE: Statement = Statement::new(
    "agents.set_state",
    "UPDATE agents SET state = $4 WHERE organisation = $1 AND workspace = $2 AND name = $3",
);
const REMOVE: Statement = Statement::new(
    "agents.remove",
    "DELETE FROM agents WHERE organisation = $1 AND workspace = $2 AND name = $3",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[INSERT, LIST, VERSIONS, GET, SET_STATE, REMOVE];

/// A version of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentRow {
    /// Whose it is.
    pub scope: Scope,
    /// Its name.
    pub name: String,
    /// Its version, from 1.
    pub version: i64,
    /// `active` or `stopped`; the same for every version.
    pub state: String,
    /// What it is, as JSON.
    pub spec: String,
    /// Who added it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

fn agent(row: &Row) -> Result<AgentRow, StoreError> {
    Ok(AgentRow {
        scope: Scope {
            organisation: row.get(0)?,
            workspace: row.get(1)?,
        },
        name: row.get(2)?,
        version: row.get(3)?,
        state: row.get(4)?,
        spec: row.get(5)?,
        created_by: row.get(6)?,
        created_at: row.get(7)?,
    })
}

/// Adds a version; a conflict if there is one of its number.
pub fn insert(tx: &Tx<'_>, row: &AgentRow) -> Result<(), StoreError> {
    let (organisation, workspace) = (&row.scope.organisation, &row.scope.workspace);
    let params = params![
        organisation,
        workspace,
        &row.name,
        row.version,
        &row.state,
        &row.spec,
        &row.created_by,
        row.created_at
    ];
    tx.within(&row.scope, |tx| tx.execute(&INSERT, params).map(drop))
}

/// The newest version of each agent of a tenant, by name.
pub fn list(tx: &Tx<'_>, scope: &Scope, limit: i64) -> Result<Vec<AgentRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, limit];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(agent).collect()
    })
}

/// The versions of an agent, newest first.
pub fn versions(
    tx: &Tx<'_>,
    scope: &Scope,
    name: &str,
    limit: i64,
) -> Result<Vec<AgentRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name, limit];
    tx.within(scope, |tx| {
        tx.query(&VERSIONS, params)?.iter().map(agent).collect()
    })
}

/// One version of an agent.
pub fn get(
    tx: &Tx<'_>,
    scope: &Scope,
    name: &str,
    version: i64,
) -> Result<Option<AgentRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name, version];
    tx.within(scope, |tx| {
        tx.query_one(&GET, params)?.as_ref().map(agent).transpose()
    })
}

/// Stops an agent or lets it work again; false if there is none.
pub fn set_state(tx: &Tx<'_>, scope: &Scope, name: &str, state: &str) -> Result<bool, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name, state];
    tx.within(scope, |tx| Ok(tx.execute(&SET_STATE, params)? > 0))
}

/// Removes every version of an agent; false if there is none.
pub fn remove(tx: &Tx<'_>, scope: &Scope, name: &str) -> Result<bool, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name];
    tx.within(scope, |tx| Ok(tx.execute(&REMOVE, params)? > 0))
}
