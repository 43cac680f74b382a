//! `GET /host`: which process hosts the data directory.

use axum::Json;
use axum::extract::State;
use matrix_core::Timestamp;
use serde::{Deserialize, Serialize};

use crate::server::{HostMode, Server};

/// The process that hosts the data directory.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostView {
    /// Its process id.
    pub pid: u32,
    /// Its name among the owners of runs.
    pub worker: String,
    /// For how long it lives.
    pub mode: HostMode,
    /// The product's version.
    pub version: String,
    /// Since when it serves, in microseconds since 1970.
    pub started_at: Timestamp,
}

pub(super) async fn show(State(server): State<Server>) -> Json<HostView> {
    let host = server.host();
    Json(HostView {
        pid: std::process::id(),
        worker: host.worker.clone(),
        mode: host.mode,
        version: host.version.clone(),
        started_at: server.started_at(),
    })
}
