//! `POST /api/v1/agents/{agent}/start`, `POST …/stop` and `DELETE /api/v1/agents/{agent}`.

use axum::Json;
use axum::extract::State;
use matrix_agents::service::{self, AgentRemove, AgentState};
use matrix_core::Caller;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::Server;

/// How an agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentStanding {
    /// Its name.
    pub name: String,
    /// `active`, `stopped` or `removed`.
    pub state: String,
}

/// Lets an agent that was stopped be given goals again.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/start", operation_id = "agent_start", tag = "agents",
    params(("agent" = String, Path, description = "The agent's name.")),
    responses((status = 200, description = "It can be given goals.", body = AgentStanding)),
)]
pub(crate) async fn start(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<AgentStanding>, Failure> {
    set(&server, caller, name, false).await
}

/// Stops an agent: it begins nothing more. What it has begun goes on.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/stop", operation_id = "agent_stop", tag = "agents",
    params(("agent" = String, Path, description = "The agent's name.")),
    responses((status = 200, description = "It begins nothing more.", body = AgentStanding)),
)]
pub(crate) async fn stop(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<AgentStanding>, Failure> {
    set(&server, caller, name, true).await
}

async fn set(
    server: &Server,
    caller: Caller,
    name: String,
    stopped: bool,
) -> Result<Json<AgentStanding>, Failure> {
    let action = AgentState {
        name: name.clone(),
        stopped,
    };
    let request = server.authorise(caller, action)?;
    service::set_state(server.agents(), &request).await?;
    let state = if stopped { "stopped" } else { "active" };
    Ok(Json(AgentStanding {
        name,
        state: state.into(),
    }))
}

/// Removes an agent with all its versions. What it has begun goes on; its runs stay.
#[utoipa::path(
    delete, path = "/api/v1/agents/{agent}", operation_id = "agent_remove", tag = "agents",
    params(("agent" = String, Path, description = "The agent's name.")),
    responses((status = 200, description = "It is gone.", body = AgentStanding)),
)]
pub(crate) async fn remove(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<AgentStanding>, Failure> {
    let request = server.authorise(caller, AgentRemove { name: name.clone() })?;
    service::remove(server.agents(), &request).await?;
    Ok(Json(AgentStanding {
        name,
        state: "removed".into(),
    }))
}
