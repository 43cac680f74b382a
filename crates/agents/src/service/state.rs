//! Stopping an agent, letting it work again, and removing it.

use matrix_core::{Action, Authorised};
use matrix_store::tables::{agents, audit};
use serde_json::{Value, json};

use super::Agents;
use crate::error::AgentError;

/// Stops an agent, or lets it work again. Runs that have begun go on.
#[derive(Debug, Clone)]
pub struct AgentState {
    /// Its name.
    pub name: String,
    /// Whether it is to begin nothing more.
    pub stopped: bool,
}

impl Action for AgentState {
    const NAME: &'static str = "agent_state";

    fn facts(&self) -> Value {
        json!({ "agent": self.name })
    }
}

/// Removes an agent with all its versions. Runs that have begun go on, for they have their own copy.
#[derive(Debug, Clone)]
pub struct AgentRemove {
    /// Its name.
    pub name: String,
}

impl Action for AgentRemove {
    const NAME: &'static str = "agent_remove";

    fn facts(&self) -> Value {
        json!({ "agent": self.name })
    }
}

/// Stops an agent or lets it work again.
pub async fn set_state(
    agents: &Agents,
    request: &Authorised<AgentState>,
) -> Result<(), AgentError> {
    let AgentState { name, stopped } = request.action().clone();
    let (caller, at) = (request.caller().clone(), agents.clock.now());
    let state = if stopped { "stopped" } else { "active" };
    let database = agents.database.within(&caller.scope);
    database
        .write::<_, AgentError, _>(move |tx| {
            if !agents::set_state(tx, &caller.scope, &name, state)? {
                return Err(AgentError::NoAgent(name));
            }
            audit::insert(tx, &caller, at, "agent_state", &name, state)?;
            Ok(())
        })
        .await
}

/// Removes an agent.
pub async fn remove(agents: &Agents, request: &Authorised<AgentRemove>) -> Result<(), AgentError> {
    let AgentRemove { name } = request.action().clone();
    let (caller, at) = (request.caller().clone(), agents.clock.now());
    let database = agents.database.within(&caller.scope);
    database
        .write::<_, AgentError, _>(move |tx| {
            if !agents::remove(tx, &caller.scope, &name)? {
                return Err(AgentError::NoAgent(name));
            }
            audit::insert(tx, &caller, at, "agent_remove", &name, "")?;
            Ok(())
        })
        .await
}
