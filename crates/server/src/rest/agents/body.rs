//! An agent as this API shows it.

use matrix_agents::service::AgentView;
use matrix_core::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

/// An agent, at its newest version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Agent {
    /// Its name.
    pub name: String,
    /// The number of the version; 0 for an agent that is shipped and that nobody changed.
    pub version: i64,
    /// `active`, or `stopped`: it begins nothing.
    pub state: String,
    /// Who added the version; absent for one that is shipped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created_by: Option<String>,
    /// When, in microseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub created_at: Option<Timestamp>,
    /// What it is; see the reference of agents.
    #[schema(value_type = Object)]
    pub definition: Value,
}

impl TryFrom<AgentView> for Agent {
    type Error = serde_json::Error;

    fn try_from(view: AgentView) -> Result<Self, serde_json::Error> {
        Ok(Self {
            name: view.name,
            version: view.version,
            state: view.state,
            created_by: view.created_by,
            created_at: view.created_at,
            definition: serde_json::to_value(view.definition)?,
        })
    }
}
