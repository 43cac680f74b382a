//! `POST /api/v1/queue/pause` and `/api/v1/queue/resume`.

use axum::Json;
use axum::extract::State;
use matrix_core::Timestamp;
use matrix_engine::queue::{self, QueuePause, QueueResume};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::rest::answer::Reason;
use crate::server::Server;

/// A key under which nobody is to begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PauseOrder {
    /// The concurrency key.
    pub key: String,
    /// Until when, in microseconds since 1970; until it is resumed when absent.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    pub until: Option<Timestamp>,
    /// Why; at most 4096 characters, of which the first 200 are kept.
    #[serde(default)]
    #[schema(max_length = 4096)]
    pub reason: String,
}

/// A key under which runs may begin again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResumeOrder {
    /// The concurrency key.
    pub key: String,
}

/// What holds for a key now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyStanding {
    /// The concurrency key.
    pub key: String,
    /// Until when nobody begins, in microseconds since 1970 (the end of the year 9999 stands for
    /// until it is resumed); null when it is not paused.
    #[schema(value_type = Option<i64>)]
    pub until: Option<Timestamp>,
}

/// Lets no run with a concurrency key begin; those that have begun go on. The newest word counts.
#[utoipa::path(
    post, path = "/api/v1/queue/pause", operation_id = "queue_pause", tag = "runs",
    request_body(content = PauseOrder),
    responses((status = 200, description = "The key is paused.", body = KeyStanding)),
)]
pub(crate) async fn pause(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(order): Body<PauseOrder>,
) -> Result<Json<KeyStanding>, Failure> {
    let PauseOrder { key, until, reason } = order;
    let reason = Reason { reason }.checked()?;
    let action = QueuePause {
        key: key.clone(),
        until,
        reason,
    };
    let request = server.authorise(caller, action)?;
    let until = queue::pause(server.engine(), &request).await?;
    Ok(Json(KeyStanding {
        key,
        until: Some(until),
    }))
}

/// Lets runs with a concurrency key begin again, whoever paused it.
#[utoipa::path(
    post, path = "/api/v1/queue/resume", operation_id = "queue_resume", tag = "runs",
    request_body(content = ResumeOrder),
    responses((status = 200, description = "The key is not paused.", body = KeyStanding)),
)]
pub(crate) async fn resume(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(ResumeOrder { key }): Body<ResumeOrder>,
) -> Result<Json<KeyStanding>, Failure> {
    let action = QueueResume { key: key.clone() };
    let request = server.authorise(caller, action)?;
    queue::resume(server.engine(), &request).await?;
    Ok(Json(KeyStanding { key, until: None }))
}
