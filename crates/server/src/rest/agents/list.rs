//! `GET /api/v1/agents`, `GET /api/v1/agents/{agent}` and `GET /api/v1/tools`.

use axum::Json;
use axum::extract::State;
use matrix_agents::service::{self, AgentRead};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::body::Agent;
use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// Agents by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AgentList {
    /// All of them.
    pub items: Vec<Agent>,
}

/// A tool that agents may be given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolView {
    /// Its name.
    pub name: String,
    /// What models are told of it.
    pub description: String,
    /// The JSON schema of its arguments.
    #[schema(value_type = Object)]
    pub parameters: Value,
    /// What a crash in the middle of it means: `read`, `workspace`, `external`, …
    pub effect: String,
    /// Raised when it does something else than before.
    pub version: u32,
}

/// Tools by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ToolList {
    /// All of them.
    pub items: Vec<ToolView>,
}

/// The agents there are, by name, each at its newest version.
#[utoipa::path(
    get, path = "/api/v1/agents", operation_id = "agent_list", tag = "agents",
    responses((status = 200, description = "All of them.", body = AgentList)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<AgentList>, Failure> {
    let request = server.authorise(caller, AgentRead)?;
    let agents = server.agents().clone();
    let found = blocking(move || service::list(&agents, &request)).await?;
    let items: Result<_, serde_json::Error> = found.into_iter().map(Agent::try_from).collect();
    let items = items.map_err(|_| Failure::internal())?;
    Ok(Json(AgentList { items }))
}

/// One agent: its newest version, or the one that is named as in `coder@3`.
#[utoipa::path(
    get, path = "/api/v1/agents/{agent}", operation_id = "agent_show", tag = "agents",
    params(("agent" = String, Path, description = "The agent's name, or its name and version.")),
    responses((status = 200, description = "The agent.", body = Agent)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<Agent>, Failure> {
    let request = server.authorise(caller, AgentRead)?;
    let agents = server.agents().clone();
    let found = blocking(move || service::show(&agents, &request, &name)).await?;
    let agent = Agent::try_from(found);
    Ok(Json(agent.map_err(|_| Failure::internal())?))
}

/// The tools that agents may be given.
#[utoipa::path(
    get, path = "/api/v1/tools", operation_id = "tool_list", tag = "agents",
    responses((status = 200, description = "All of them.", body = ToolList)),
)]
pub(crate) async fn tools(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<ToolList>, Failure> {
    server.authorise(caller, AgentRead)?;
    let declared = server.agents().toolbox().declarations();
    let items = declared.map(|tool| ToolView {
        name: tool.name.into(),
        description: tool.description.into(),
        parameters: tool.parameters.clone(),
        effect: tool.effect.as_str().into(),
        version: tool.version,
    });
    Ok(Json(ToolList {
        items: items.collect(),
    }))
}
