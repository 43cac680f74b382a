//! `POST /api/v1/agents/{agent}/runs`: gives an agent a goal.

use axum::extract::State;
use axum::http::HeaderMap;
use matrix_agents::service::{AgentRun, Asked, run as begin};
use matrix_engine::queue::Placing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::{Body, Named};
use crate::idempotency::{Key, Ledger, digest_of};
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::rest::execute::{PlacingBody, is_default};
use crate::rest::plan::repository_at;
use crate::server::Server;

/// A goal for an agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AgentGoal {
    /// What is to be reached, in words.
    pub goal: String,
    /// The repository to work on: its absolute path on the server's machine. The agent works on a
    /// copy; what it changed is in the run's result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repository: Option<String>,
    /// The revision to begin with; the repository's present one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The model to ask in place of the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The project whose budget it counts to, beside the agent's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// Where its run queues.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = Option<PlacingBody>)]
    pub placing: Placing,
}

/// Gives an agent a goal. With an `Idempotency-Key` the same request, made again within a day, gives
/// the same run.
#[utoipa::path(
    post, path = "/api/v1/agents/{agent}/runs", operation_id = "agent_run", tag = "agents",
    params(("agent" = String, Path, description = "The agent's name, or its name and version."),
           ("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters, new for each request.")),
    request_body = AgentGoal,
    responses((status = 202, description = "The run is durable.", body = Accepted,
               headers(("Location" = String, description = "The run's address.")))),
)]
pub(crate) async fn run(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
    headers: HeaderMap,
    Body(goal): Body<AgentGoal>,
) -> Result<Accepted, Failure> {
    let key = Key::of(&headers)?;
    let digest = digest_of(&(&name, &goal))?;
    let repository = goal.repository.as_deref().map(repository_at).transpose()?;
    let action = AgentRun {
        asked: Asked {
            agent: name,
            goal: goal.goal,
            repository,
            revision: goal.revision,
            model: goal.model,
            project: goal.project,
        },
        placing: goal.placing,
    };
    let request = server.authorise(caller.clone(), action)?;
    let (agents, engine) = (server.agents().clone(), server.engine().clone());
    let git = server.workshop().git().clone();
    let work = |beside| async move { Ok(begin(&agents, &engine, &git, request, beside).await?) };
    let run = Ledger::of(&server).once(caller, key, digest, work).await?;
    Ok(Accepted::by(run))
}
