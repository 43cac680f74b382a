//! Which agents there are.

use matrix_core::{Action, Authorised, Timestamp};
use matrix_store::StoreError;
use matrix_store::tables::agents;
use serde::Serialize;

use super::{AGENTS_MAX, Agents, Known};
use crate::definition::{Definition, shipped};
use crate::error::AgentError;

/// Reads agents.
#[derive(Debug, Clone)]
pub struct AgentRead;

impl Action for AgentRead {
    const NAME: &'static str = "agent_read";
}

/// An agent for people and programs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct AgentView {
    /// Its name.
    pub name: String,
    /// The number of its newest version; 0 if it is shipped and nobody changed it.
    pub version: i64,
    /// `active` or `stopped`.
    pub state: String,
    /// Who added the version; nobody, if it is shipped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When, in microseconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub created_at: Option<Timestamp>,
    /// What it is.
    pub definition: Definition,
}

impl From<Known> for AgentView {
    fn from(known: Known) -> Self {
        let state = known.row.as_ref().map(|row| row.state.clone());
        Self {
            name: known.definition.name.clone(),
            version: known.version,
            state: state.unwrap_or_else(|| "active".into()),
            created_by: known.row.as_ref().map(|row| row.created_by.clone()),
            created_at: known.row.as_ref().map(|row| row.created_at),
            definition: known.definition,
        }
    }
}

/// The newest version of each agent, by name, with those that are shipped.
pub fn list(
    agents: &Agents,
    request: &Authorised<AgentRead>,
) -> Result<Vec<AgentView>, AgentError> {
    let scope = &request.caller().scope;
    let database = agents.database.within(scope);
    let rows = database.read_now::<_, StoreError, _>(|tx| agents::list(tx, scope, AGENTS_MAX))?;
    let mut all: Vec<AgentView> = Vec::new();
    for row in rows {
        all.push(Known::of(row)?.into());
    }
    for definition in shipped() {
        if all.iter().all(|there| there.name != definition.name) {
            let known = Known {
                definition,
                version: 0,
                row: None,
            };
            all.push(known.into());
        }
    }
    all.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(all)
}

/// An agent, or one version of it: `coder`, `coder@3`.
pub fn show(
    agents: &Agents,
    request: &Authorised<AgentRead>,
    name: &str,
) -> Result<AgentView, AgentError> {
    Ok(agents.find(&request.caller().scope, name)?.into())
}
