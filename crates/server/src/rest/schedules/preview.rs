//! `GET /api/v1/schedules/preview`.

use axum::Json;
use axum::extract::State;
use matrix_core::Timestamp;
use matrix_engine::schedule::{Cron, ScheduleError, ScheduleRead};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::server::Server;

/// The most times that are shown.
const TIMES_MAX: usize = 100;

/// When something would be due.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct PreviewQuery {
    /// Five fields.
    cron: String,
    /// The time zone; `UTC` when absent.
    timezone: Option<String>,
    /// How many times, 1 to 100; 10 when absent.
    #[param(minimum = 1, maximum = 100)]
    count: Option<usize>,
}

/// Times to come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Preview {
    /// In microseconds since 1970; empty if it is never due.
    #[schema(value_type = Vec<i64>)]
    pub times: Vec<Timestamp>,
}

/// When an expression would be due next; makes nothing.
#[utoipa::path(
    get, path = "/api/v1/schedules/preview", operation_id = "schedule_preview", tag = "schedules",
    params(PreviewQuery),
    responses((status = 200, description = "The next times.", body = Preview)),
)]
pub(crate) async fn preview(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<PreviewQuery>,
) -> Result<Json<Preview>, Failure> {
    server.authorise(caller, ScheduleRead)?;
    let zone = query.timezone.as_deref().unwrap_or("UTC");
    let cron = Cron::parse(&query.cron, zone).map_err(ScheduleError::from)?;
    let count = query.count.unwrap_or(10).clamp(1, TIMES_MAX);
    let far = Timestamp::from_micros(i64::MAX);
    let times = cron
        .between(server.clock().now(), far, count)
        .map_err(ScheduleError::from)?;
    Ok(Json(Preview { times }))
}
