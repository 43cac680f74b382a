//! `/v1/batches`: many requests answered in their own time, in `OpenAI`'s protocol.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use matrix_core::{Caller, Timestamp};
use matrix_engine::Engine;
use matrix_models::ModelError;
use matrix_models::batch::{self, BatchStatus, BatchView, Endpoint, NewBatch};
use matrix_models::wire::WireError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::ask::{Conversation, labels};
use super::failure::Refused;
use super::files::{Page, found, paged};
use crate::edge::guard::SignedIn;
use crate::edge::read::{Asked, Named};
use crate::server::Server;

#[derive(Deserialize)]
struct Body {
    input_file_id: String,
    endpoint: Endpoint,
    completion_window: String,
    #[serde(default)]
    metadata: Value,
}

/// Begins a batch.
#[utoipa::path(
    post, path = "/v1/batches", operation_id = "batch_create", tag = "model protocols",
    request_body(content = Value, description = "As the protocol says."),
    responses((status = 200, description = "The batch.", body = Value)),
)]
pub(crate) async fn create(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Conversation(body): Conversation,
) -> Result<Json<Value>, Refused> {
    let batch = begin(&server, &caller, &headers, body).await?;
    Ok(Json(written(&batch)))
}

async fn begin(
    server: &Server,
    caller: &Caller,
    headers: &HeaderMap,
    body: Value,
) -> Result<BatchView, ModelError> {
    let body: Body = serde_json::from_value(body)
        .map_err(|error| WireError::invalid("body", error.to_string()))?;
    if body.completion_window != "24h" {
        return Err(WireError::invalid("completion_window", "must be `24h`").into());
    }
    let labels = labels(headers)?;
    let new = NewBatch {
        file: body.input_file_id,
        endpoint: body.endpoint,
        metadata: body.metadata,
        project: labels.project,
        agent: labels.agent,
    };
    let rooms = (server.engine(), server.models());
    batch::add_batch(rooms, caller, new, server.limits().quota).await
}

/// The caller's batches, newest first.
#[utoipa::path(
    get, path = "/v1/batches", operation_id = "batch_list", tag = "model protocols",
    params(("after" = Option<String>, Query, description = "Older than this one."),
        ("limit" = Option<usize>, Query, description = "1 to 100; 20.")),
    responses((status = 200, description = "The batches.", body = Value)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(page): Asked<Page>,
) -> Result<Json<Value>, Refused> {
    let list = move |engine: &Engine| batch::list_batches(engine, &caller, page.bounds());
    let (batches, more) = found(&server, list).await?;
    let data: Vec<Value> = batches.iter().map(written).collect();
    Ok(Json(paged(&data, more)))
}

/// One of the caller's batches.
#[utoipa::path(
    get, path = "/v1/batches/{batch}", operation_id = "batch_show", tag = "model protocols",
    params(("batch" = String, Path, description = "The batch's id.")),
    responses((status = 200, description = "The batch.", body = Value)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(batch): Named<String>,
) -> Result<Json<Value>, Refused> {
    shown(&server, caller, batch).await
}

/// Cancels one of the caller's batches: what is under way is answered, and nothing else is asked.
#[utoipa::path(
    post, path = "/v1/batches/{batch}/cancel", operation_id = "batch_cancel",
    tag = "model protocols",
    params(("batch" = String, Path, description = "The batch's id.")),
    responses((status = 200, description = "The batch.", body = Value)),
)]
pub(crate) async fn cancel(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(batch): Named<String>,
) -> Result<Json<Value>, Refused> {
    batch::cancel_batch(server.engine(), &caller, &batch).await?;
    shown(&server, caller, batch).await
}

async fn shown(server: &Server, caller: Caller, batch: String) -> Result<Json<Value>, Refused> {
    let show = move |engine: &Engine| batch::show_batch(engine, &caller, &batch);
    Ok(Json(written(&found(server, show).await?)))
}

fn written(batch: &BatchView) -> Value {
    let status = match batch.status {
        BatchStatus::InProgress => "in_progress",
        BatchStatus::Completed => "completed",
        BatchStatus::Failed => "failed",
        BatchStatus::Cancelling => "cancelling",
        BatchStatus::Cancelled => "cancelled",
    };
    let seconds = |at: Timestamp| at.as_micros() / 1_000_000;
    let ended = |wanted: BatchStatus| {
        let ended = batch.ended_at.filter(|_| batch.status == wanted);
        ended.map(seconds)
    };
    let errors = batch.error.as_ref().map(|error| {
        let error = json!({ "code": "failed", "message": error, "param": null, "line": null });
        json!({ "object": "list", "data": [error] })
    });
    let created = seconds(batch.created_at);
    json!({
        "id": batch.id,
        "object": "batch",
        "endpoint": batch.endpoint,
        "errors": errors,
        "input_file_id": batch.input,
        "completion_window": "24h",
        "status": status,
        "output_file_id": batch.output,
        "error_file_id": batch.errors,
        "created_at": created,
        "in_progress_at": created,
        "expires_at": null,
        "finalizing_at": null,
        "completed_at": ended(BatchStatus::Completed),
        "failed_at": ended(BatchStatus::Failed),
        "expired_at": null,
        "cancelling_at": batch.cancelled_at.map(seconds),
        "cancelled_at": ended(BatchStatus::Cancelled),
        "request_counts": {
            "total": batch.total, "completed": batch.completed, "failed": batch.failed,
        },
        "metadata": batch.metadata,
    })
}
