//! `POST /api/v1/agents`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use matrix_agents::Definition;
use matrix_agents::service::{self, AgentAdd};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// An agent to add.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentOrder {
    /// Its definition, in YAML or JSON; see the reference of agents.
    pub definition: String,
}

/// What was added.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AgentAdded {
    /// Its name.
    pub name: String,
    /// The number of the version.
    pub version: i64,
    /// Whether it is new; the same definition again is no new version.
    pub is_new: bool,
}

/// Adds an agent, or a new version of one. Runs that have begun keep the version they began with.
#[utoipa::path(
    post, path = "/api/v1/agents", operation_id = "agent_add", tag = "agents",
    request_body = AgentOrder,
    responses((status = 201, description = "It can be given goals.", body = AgentAdded)),
)]
pub(crate) async fn add(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(order): Body<AgentOrder>,
) -> Result<(StatusCode, Json<AgentAdded>), Failure> {
    let read = Definition::parse(&order.definition);
    let name = read
        .as_ref()
        .map_or_else(|_| String::new(), |read| read.name.clone());
    let request = server.authorise(caller, AgentAdd { name })?;
    let added = service::add(server.agents(), &request, &read?).await?;
    let body = AgentAdded {
        name: added.name,
        version: added.version,
        is_new: added.is_new,
    };
    Ok((StatusCode::CREATED, Json(body)))
}
