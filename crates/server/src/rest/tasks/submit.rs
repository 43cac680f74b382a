//! `POST /api/v1/tasks`: begins a run of steps that workers do.

use axum::extract::State;
use axum::http::HeaderMap;
use matrix_engine::queue::Placing;
use matrix_engine::tasks::{Plan, PlannedStep, TaskSubmit, submit as begin};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::idempotency::{Key, Ledger, digest_of};
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::rest::execute::{PlacingBody, is_default};
use crate::server::Server;

/// Steps that workers are to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Tasks {
    /// One line for people; made from the steps' names where it is absent.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub title: String,
    /// 1 to 64 steps, done one after the other. Each has `name`, what a worker must be able to do;
    /// `effect`, what a lost worker means (`read`, `idempotent`, `metered`, `external`); and, where
    /// wanted, `id`, `input`, `queue`, `attempts`, `timeout_s`, `lease_s`.
    #[schema(value_type = Vec<Object>, min_items = 1, max_items = 64)]
    pub steps: Vec<PlannedStep>,
    /// Where the run queues.
    #[serde(default, skip_serializing_if = "is_default")]
    #[schema(value_type = Option<PlacingBody>)]
    pub placing: Placing,
}

/// Begins a run of steps that workers do. With an `Idempotency-Key` the same request, made again
/// within a day, gives the same run.
#[utoipa::path(
    post, path = "/api/v1/tasks", operation_id = "task_submit", tag = "tasks",
    params(("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters, new for each request.")),
    request_body = Tasks,
    responses((status = 202, description = "The run is durable.", body = Accepted,
               headers(("Location" = String, description = "The run's address.")))),
)]
pub(crate) async fn submit(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(tasks): Body<Tasks>,
) -> Result<Accepted, Failure> {
    let key = Key::of(&headers)?;
    let digest = digest_of(&tasks)?;
    let Tasks {
        title,
        steps,
        placing,
    } = tasks;
    let action = TaskSubmit {
        plan: Plan { steps },
        title,
        placing,
    };
    let request = server.authorise(caller.clone(), action)?;
    let engine = server.engine().clone();
    let work = |beside| async move { Ok(begin(&engine, request, beside).await?) };
    let run = Ledger::of(&server).once(caller, key, digest, work).await?;
    Ok(Accepted::by(run))
}
