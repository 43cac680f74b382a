//! `POST /api/v1/artifacts/prune`.

use axum::Json;
use axum::extract::State;
use matrix_changes::retention::{self, ArtifactPrune};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// Whether to remove, or only to tell.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PruneOrder {
    /// Only tells what would go.
    #[serde(default)]
    pub dry_run: bool,
}

/// What went, or would go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Pruned {
    /// Whether it was only told.
    pub dry_run: bool,
    /// Changes past their time that lost artifacts or logs.
    pub changes: u64,
    /// Artifacts that are not listed any more.
    pub artifacts: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// Bytes of the disk that these took.
    pub bytes: u64,
}

/// Removes what changes left behind and the operator's retention does not keep.
#[utoipa::path(
    post, path = "/api/v1/artifacts/prune", operation_id = "artifact_prune", tag = "artifacts",
    request_body = PruneOrder,
    responses((status = 200, description = "What went, or would go.", body = Pruned)),
)]
pub(crate) async fn prune(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(PruneOrder { dry_run }): Body<PruneOrder>,
) -> Result<Json<Pruned>, Failure> {
    let request = server.authorise(caller, ArtifactPrune { dry_run })?;
    let pruned = retention::prune(server.workshop(), &request).await?;
    Ok(Json(Pruned {
        dry_run,
        changes: pruned.changes,
        artifacts: pruned.artifacts,
        blobs: pruned.blobs,
        bytes: pruned.bytes,
    }))
}
