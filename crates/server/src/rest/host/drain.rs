//! `POST /host/drain`: hands the data directory over.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};

use crate::server::Server;

/// The host lets go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Draining {
    /// Its process id; the data directory is free when the process gives its lock up.
    pub pid: u32,
}

/// Every run is let go of at its next step boundary; nothing new is claimed. Asking twice is the
/// same as asking once.
pub(super) async fn drain(State(server): State<Server>) -> (StatusCode, Json<Draining>) {
    tracing::info!("another process takes the data directory over");
    server.engine().drain();
    let pid = std::process::id();
    (StatusCode::ACCEPTED, Json(Draining { pid }))
}
