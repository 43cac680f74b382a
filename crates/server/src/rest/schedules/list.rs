//! `GET /api/v1/schedules` and `GET /api/v1/schedules/{name}`.

use axum::Json;
use axum::extract::State;
use matrix_engine::schedule::{self, ScheduleRead};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Schedule;
use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// Schedules by name.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Schedules {
    /// All that have not ended.
    pub items: Vec<Schedule>,
}

/// The schedules that have not ended, by name.
#[utoipa::path(
    get, path = "/api/v1/schedules", operation_id = "schedule_list", tag = "schedules",
    responses((status = 200, description = "All of them.", body = Schedules)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Schedules>, Failure> {
    let request = server.authorise(caller, ScheduleRead)?;
    let (database, blobs) = (server.database().clone(), server.blobs().clone());
    let found = blocking(move || schedule::list(&database, &blobs, &request)).await?;
    let items = found.into_iter().map(Schedule::from).collect();
    Ok(Json(Schedules { items }))
}

/// One schedule, with what it started last and when it is due next.
#[utoipa::path(
    get, path = "/api/v1/schedules/{name}", operation_id = "schedule_show", tag = "schedules",
    params(("name" = String, Path, description = "The schedule's name.")),
    responses((status = 200, description = "The schedule.", body = Schedule)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Json<Schedule>, Failure> {
    let request = server.authorise(caller, ScheduleRead)?;
    let (database, blobs) = (server.database().clone(), server.blobs().clone());
    let found = blocking(move || schedule::show(&database, &blobs, &request, &name)).await?;
    Ok(Json(found.into()))
}
