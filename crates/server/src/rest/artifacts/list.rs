//! `GET /api/v1/artifacts/{job}`.

use axum::extract::State;
use matrix_changes::service::{ArtifactRead, artifacts};
use matrix_core::{Digest, RunId, Timestamp};
use matrix_store::tables::releases::ArtifactRow;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::rest::answer::{Links, artifact_links};
use crate::rest::page::Page;
use crate::server::{Server, blocking};

/// Immutable bytes that a change published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Artifact {
    /// The change.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Its name in the change, such as `patch.diff`.
    pub name: String,
    /// SHA-256 of the bytes.
    #[schema(value_type = String)]
    pub digest: Digest,
    /// Its media type.
    pub media_type: String,
    /// Its number of bytes.
    pub size: u64,
    /// When it was published, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// Where its bytes are.
    pub links: Links,
}

impl From<ArtifactRow> for Artifact {
    fn from(row: ArtifactRow) -> Self {
        let links = artifact_links(row.run, &row.name);
        Self {
            run: row.run,
            name: row.name,
            digest: row.digest,
            media_type: row.media_type,
            size: row.size,
            created_at: row.created_at,
            links,
        }
    }
}

/// What a change published, by name; all of it in one page.
#[utoipa::path(
    get, path = "/api/v1/artifacts/{job}", operation_id = "artifact_list", tag = "artifacts",
    params(("job" = String, Path, description = "The job's id.")),
    responses((status = 200, description = "The artifacts.", body = Page<Artifact>)),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
) -> Result<Page<Artifact>, Failure> {
    let request = server.authorise(caller, ArtifactRead { run })?;
    let found = blocking(move || artifacts(server.database(), &request)).await?;
    let items = found.into_iter().map(Artifact::from).collect();
    Ok(Page { items, next: None })
}
