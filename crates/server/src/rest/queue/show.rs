//! `GET /api/v1/queue`.

use axum::Json;
use axum::extract::State;
use matrix_core::{RunId, Timestamp};
use matrix_engine::queue::{self, LaneView, PausedKey, QueueRead, QueueView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// The queue, as far as it is the caller's tenant's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Queue {
    /// The lanes, by name.
    pub lanes: Vec<Lane>,
    /// The concurrency keys under which nobody begins now.
    pub paused: Vec<Paused>,
}

/// A lane of the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Lane {
    /// Its name.
    pub lane: String,
    /// How many runs it lets run at once; null for as many as like.
    pub concurrency: Option<u32>,
    /// How many run, of all tenants.
    pub running: i64,
    /// Some of the tenant's own among them.
    #[schema(value_type = Vec<String>)]
    pub holders: Vec<RunId>,
    /// How many of the tenant's are ready.
    pub ready: i64,
    /// The same by priority, the most urgent first.
    pub depths: Vec<LaneDepth>,
}

/// How many runs of one priority are ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LaneDepth {
    /// From 0 to 9, which is the most urgent.
    pub priority: i64,
    /// How many, counted up to 100,000.
    pub ready: i64,
}

/// A key under which nobody begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Paused {
    /// The key.
    pub key: String,
    /// Until when, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub until: Timestamp,
    /// Why.
    pub because: String,
}

impl From<LaneView> for Lane {
    fn from(view: LaneView) -> Self {
        let depths = view.depths.into_iter().map(|depth| LaneDepth {
            priority: depth.priority,
            ready: depth.ready,
        });
        Self {
            lane: view.lane,
            concurrency: view.concurrency,
            running: view.running,
            holders: view.holders,
            ready: view.ready,
            depths: depths.collect(),
        }
    }
}

impl From<PausedKey> for Paused {
    fn from(paused: PausedKey) -> Self {
        let PausedKey {
            key,
            until,
            because,
        } = paused;
        Self {
            key,
            until,
            because,
        }
    }
}

impl From<QueueView> for Queue {
    fn from(view: QueueView) -> Self {
        Self {
            lanes: view.lanes.into_iter().map(Lane::from).collect(),
            paused: view.paused.into_iter().map(Paused::from).collect(),
        }
    }
}

/// The lanes with who waits and who runs, and the keys that are paused.
#[utoipa::path(
    get, path = "/api/v1/queue", operation_id = "queue_show", tag = "runs",
    responses((status = 200, description = "The queue.", body = Queue)),
)]
pub(crate) async fn show(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Queue>, Failure> {
    let request = server.authorise(caller, QueueRead)?;
    let found = blocking(move || {
        let engine = server.engine();
        let now = engine.clock().now();
        queue::show(server.database(), engine.scheduling(), &request, now)
    });
    Ok(Json(found.await?.into()))
}
