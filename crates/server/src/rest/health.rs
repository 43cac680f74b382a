//! `/livez`, `/readyz`, `/health` for supervisors, without a token and without details;
//! `/health/detailed` for people.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::health::{self, HealthPart, HealthState};
use crate::server::Server;

/// How the process does, in a word.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthSummary {
    /// The worst of its parts.
    pub status: HealthState,
}

/// How the process does, part by part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HealthDetails {
    /// The worst of the parts.
    pub status: HealthState,
    /// The parts by name.
    pub parts: BTreeMap<String, HealthPart>,
    /// The product's version.
    pub version: String,
    /// Seconds since it serves.
    pub uptime_s: u64,
}

/// Whether the process is alive.
#[utoipa::path(
    get, path = "/livez", operation_id = "livez", tag = "health", security(()),
    responses((status = 200, description = "It answers.", body = HealthSummary)),
)]
pub(crate) async fn livez() -> Json<HealthSummary> {
    let status = HealthState::Ok;
    Json(HealthSummary { status })
}

/// Whether requests can be served: storage answers and the engine takes work. The sandbox's test
/// is not waited for.
#[utoipa::path(
    get, path = "/readyz", operation_id = "readyz", tag = "health", security(()),
    responses(
        (status = 200, description = "Requests can be served.", body = HealthSummary),
        (status = 503, description = "They cannot.", body = HealthSummary),
    ),
)]
pub(crate) async fn readyz(State(server): State<Server>) -> (StatusCode, Json<HealthSummary>) {
    summary(health::worst(&health::ready(&server)))
}

/// Whether everything works, the sandbox and the disk included.
#[utoipa::path(
    get, path = "/health", operation_id = "health", tag = "health", security(()),
    responses(
        (status = 200, description = "Work can be done.", body = HealthSummary),
        (status = 503, description = "A part has failed.", body = HealthSummary),
    ),
)]
pub(crate) async fn health(State(server): State<Server>) -> (StatusCode, Json<HealthSummary>) {
    summary(health::worst(&health::detailed(&server)))
}

fn summary(status: HealthState) -> (StatusCode, Json<HealthSummary>) {
    (code(status), Json(HealthSummary { status }))
}

fn code(state: HealthState) -> StatusCode {
    match state {
        HealthState::Ok | HealthState::Pending | HealthState::Degraded => StatusCode::OK,
        HealthState::Failed => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// How each part does.
#[utoipa::path(
    get, path = "/health/detailed", operation_id = "health_detailed", tag = "health",
    responses(
        (status = 200, description = "Work can be done.", body = HealthDetails),
        (status = 503, description = "A part has failed.", body = HealthDetails),
    ),
)]
pub(crate) async fn detailed(
    State(server): State<Server>,
    SignedIn(_caller): SignedIn,
) -> (StatusCode, Json<HealthDetails>) {
    let parts = health::detailed(&server);
    let status = health::worst(&parts);
    let details = HealthDetails {
        status,
        parts,
        version: server.host().version.clone(),
        uptime_s: server.uptime().as_secs(),
    };
    (code(status), Json(details))
}
