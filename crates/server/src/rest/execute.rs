//! `POST /api/v1/execute`: submits a change.

use std::path::PathBuf;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use matrix_agents::service::{AgentRun, Asked};
use matrix_changes::intake::Submission;
use matrix_changes::service::{ChangeGoal, ChangeSubmit, submit, submit_goal};
use matrix_core::{Caller, Digest, RunId};
use matrix_engine::queue::Placing;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::plan::{plan_name, repository_at};
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::idempotency::{Key, Ledger, digest_of};
use crate::problem::Failure;
use crate::rest::answer::{Links, job_links};
use crate::server::Server;

/// The agent that makes plans where nobody names another one.
const CODER: &str = "coder";

/// A change to be made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    /// The repository's absolute path on the server's machine.
    pub repository: String,
    /// The plan, YAML or JSON. Either this or `goal`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// What is to be reached, in words: an agent makes the plan. Either this or `plan`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<String>,
    /// The agent that makes the plan of a goal; `coder` when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The model that it asks in place of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The revision that it begins with; the repository's present one when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
    /// The project whose budget it counts to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The plan's file name, for messages; its extension tells JSON from YAML.
    #[serde(default = "plan_name")]
    #[schema(default = "plan.yaml")]
    pub plan_name: String,
    /// Where to deploy; it wins over the plan's target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
    /// Where its run queues.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = Option<PlacingBody>)]
    pub placing: Placing,
}

pub(crate) fn is_default(placing: &Placing) -> bool {
    *placing == Placing::default()
}

/// Where a run queues.
#[derive(ToSchema)]
#[schema(as = Placing)]
#[expect(dead_code, reason = "it describes what `Placing` reads")]
pub(crate) struct PlacingBody {
    /// The lane, which is one of the operator's; `default` if absent.
    lane: Option<String>,
    /// How urgent it is: 0 to 9, which is the most urgent, or `high` (8), `normal` (5), `low` (2).
    #[schema(value_type = Option<u8>, minimum = 0, maximum = 9, default = 5)]
    priority: Option<u8>,
    /// The concurrency key: of the runs with the same key only so many run at once as the operator
    /// says, which is one if nothing was said.
    key: Option<String>,
    /// What a worker must have to take it.
    capabilities: Option<Vec<String>>,
    /// The name that only one run may have at a time.
    singleton: Option<SingletonBody>,
}

/// A name that only one run may have at a time.
#[derive(ToSchema)]
#[schema(as = Singleton)]
#[expect(dead_code, reason = "it describes what `Placing` reads")]
pub(crate) struct SingletonBody {
    /// The name.
    name: String,
    /// What becomes of a second one: `refuse` (the default), `join` (the answer names the run that
    /// is there) or `replace` (one that has not begun ends, one that has is waited for).
    again: Option<String>,
    /// Only with `replace`: for so many milliseconds the run waits for a newer one.
    debounce_ms: Option<u32>,
}

/// A change that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Submitted {
    /// The change's run; also the job's id.
    #[schema(value_type = String, example = "run_01k6g0000000000000000000aa")]
    pub run: RunId,
    /// Where to look on.
    pub links: Links,
}

/// Submits a change: plan and repository are looked at, then its run begins. With a `goal` in place of
/// a plan, its run begins with an agent, whose work is a run of its own and becomes the plan. With an
/// `Idempotency-Key` the same request, made again within a day, gives the same run.
#[utoipa::path(
    post, path = "/api/v1/execute", operation_id = "change_run", tag = "changes",
    params(("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters, new for each request.")),
    request_body = Execution,
    responses((status = 202, description = "The run is durable.", body = Submitted,
               headers(("Location" = String, description = "The job's address.")))),
)]
pub(crate) async fn execute(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(execution): Body<Execution>,
) -> Result<Response, Failure> {
    let key = Key::of(&headers)?;
    let repository = repository_at(&execution.repository)?;
    let digest = digest_of(&execution)?;
    let run = match (&execution.plan, &execution.goal) {
        (Some(_), None) => planned(&server, caller, (key, digest), execution, repository).await?,
        (None, Some(_)) => by_agent(&server, caller, (key, digest), execution, repository).await?,
        _ => {
            return Err(Failure::malformed(
                "exactly one of `plan` and `goal` must be there",
            ));
        }
    };
    let links = job_links(run);
    let location = links.get("self").unwrap_or_default().to_owned();
    let mut response = (StatusCode::ACCEPTED, Json(Submitted { run, links })).into_response();
    if let Ok(location) = HeaderValue::from_str(&location) {
        response.headers_mut().insert(header::LOCATION, location);
    }
    Ok(response)
}

/// Begins a change with a plan.
async fn planned(
    server: &Server,
    caller: Caller,
    (key, digest): (Option<Key>, Digest),
    execution: Execution,
    repository: PathBuf,
) -> Result<RunId, Failure> {
    if execution.agent.is_some() || execution.model.is_some() || execution.revision.is_some() {
        let what = "`agent`, `model` and `revision` belong to a `goal`";
        return Err(Failure::malformed(what));
    }
    let action = ChangeSubmit {
        submission: Submission {
            repository,
            plan: execution.plan.unwrap_or_default().into_bytes(),
            plan_name: execution.plan_name,
            target: execution.target,
        },
        placing: execution.placing,
    };
    let request = server.authorise(caller.clone(), action)?;
    let (engine, workshop) = (server.engine().clone(), server.workshop().clone());
    let work = |beside| async move { Ok(submit(&engine, &workshop, request, beside).await?) };
    Ledger::of(server).once(caller, key, digest, work).await
}

/// Begins a change with a goal, whose plan an agent makes. The caller must be allowed both.
async fn by_agent(
    server: &Server,
    caller: Caller,
    (key, digest): (Option<Key>, Digest),
    execution: Execution,
    repository: PathBuf,
) -> Result<RunId, Failure> {
    let asked = Asked {
        agent: execution.agent.unwrap_or_else(|| CODER.into()),
        goal: execution.goal.unwrap_or_default(),
        repository: None,
        revision: execution.revision,
        model: execution.model,
        project: execution.project,
    };
    let placing = execution.placing;
    let run = AgentRun {
        asked: asked.clone(),
        placing: placing.clone(),
    };
    server.authorise(caller.clone(), run)?;
    let action = ChangeGoal {
        repository,
        asked,
        target: execution.target,
        placing,
    };
    let request = server.authorise(caller.clone(), action)?;
    let (engine, workshop) = (server.engine().clone(), server.workshop().clone());
    let agents = server.agents().clone();
    let work = |beside| async move {
        Ok(submit_goal(&engine, &workshop, &agents, request, beside).await?)
    };
    Ledger::of(server).once(caller, key, digest, work).await
}
