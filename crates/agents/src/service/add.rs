//! Adding an agent, or a new version of one.

use matrix_core::{Action, Authorised};
use matrix_store::StoreError;
use matrix_store::tables::agents::{self, AgentRow};
use matrix_store::tables::audit;
use serde::Serialize;
use serde_json::{Value, json};

use super::{AGENTS_MAX, Agents};
use crate::definition::Definition;
use crate::error::AgentError;

/// Adds an agent, or a new version of one.
#[derive(Debug, Clone)]
pub struct AgentAdd {
    /// Its name.
    pub name: String,
}

impl Action for AgentAdd {
    const NAME: &'static str = "agent_add";

    fn facts(&self) -> Value {
        json!({ "agent": self.name })
    }
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Added {
    /// The agent's name.
    pub name: String,
    /// The number of the version.
    pub version: i64,
    /// Whether it is new; the same definition again is no new version.
    pub is_new: bool,
}

/// Adds a definition as the newest version of its name. Runs that began with another one keep it.
pub async fn add(
    agents: &Agents,
    request: &Authorised<AgentAdd>,
    definition: &Definition,
) -> Result<Added, AgentError> {
    definition.check(&agents.toolbox)?;
    if definition.name != request.action().name {
        let why = format!(
            "its name is `{}`, but `{}` was asked for",
            definition.name,
            request.action().name
        );
        return Err(AgentError::Definition(why));
    }
    let spec = serde_json::to_string(definition).map_err(StoreError::corrupt)?;
    let (caller, at) = (request.caller().clone(), agents.clock.now());
    let name = definition.name.clone();
    let database = agents.database.within(&caller.scope);
    database
        .write::<_, AgentError, _>(move |tx| {
            let newest = agents::versions(tx, &caller.scope, &name, 1)?
                .into_iter()
                .next();
            if let Some(same) = newest.as_ref().filter(|newest| newest.spec == spec) {
                return Ok(Added {
                    name,
                    version: same.version,
                    is_new: false,
                });
            }
            let full = || agents::list(tx, &caller.scope, AGENTS_MAX + 1);
            if newest.is_none() && i64::try_from(full()?.len()).unwrap_or(i64::MAX) >= AGENTS_MAX {
                let why = format!("there are {AGENTS_MAX} agents already; remove one");
                return Err(AgentError::Definition(why));
            }
            let version = newest.as_ref().map_or(1, |newest| newest.version + 1);
            let row = AgentRow {
                scope: caller.scope.clone(),
                name: name.clone(),
                version,
                state: newest.map_or_else(|| "active".into(), |newest| newest.state),
                spec,
                created_by: caller.principal.to_string(),
                created_at: at,
            };
            agents::insert(tx, &row)?;
            audit::insert(tx, &caller, at, "agent_add", &name, &version.to_string())?;
            Ok(Added {
                name,
                version,
                is_new: true,
            })
        })
        .await
}
