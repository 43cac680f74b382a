//! `GET /api/v1/artifacts/{job}/{name}`.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use matrix_changes::service::{ArtifactRead, artifact};
use matrix_core::RunId;
use matrix_store::tables::releases::ArtifactRow;

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::server::{Server, blocking};

/// The media type of bytes whose recorded one cannot be sent.
const UNKNOWN_TYPE: HeaderValue = HeaderValue::from_static("application/octet-stream");

/// The bytes of an artifact. They never change, so their digest is their `ETag`.
#[utoipa::path(
    get, path = "/api/v1/artifacts/{job}/{*name}", operation_id = "artifact_get",
    tag = "artifacts",
    params(
        ("job" = String, Path, description = "The job's id."),
        ("name" = String, Path, description = "The artifact's name; it may contain slashes."),
        ("If-None-Match" = Option<String>, Header, description = "A digest that is at hand."),
    ),
    responses(
        (status = 200, description = "The bytes, with their media type.", body = Vec<u8>,
         content_type = "application/octet-stream"),
        (status = 304, description = "The digest at hand is the artifact's."),
    ),
)]
pub(crate) async fn get(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named((run, name)): Named<(RunId, String)>,
    asked: HeaderMap,
) -> Result<Response, Failure> {
    let request = server.authorise(caller, ArtifactRead { run })?;
    let (row, bytes) =
        blocking(move || artifact(server.database(), server.blobs(), &request, &name)).await?;
    let headers = headers(&row);
    let tag = headers.get(header::ETAG).and_then(|tag| tag.to_str().ok());
    if tag.is_some_and(|tag| is_at_hand(&asked, tag)) {
        return Ok((StatusCode::NOT_MODIFIED, headers).into_response());
    }
    Ok((headers, bytes).into_response())
}

/// Whether `If-None-Match` names the tag.
fn is_at_hand(asked: &HeaderMap, tag: &str) -> bool {
    asked
        .get_all(header::IF_NONE_MATCH)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*")
}

fn headers(row: &ArtifactRow) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let media_type = HeaderValue::from_str(&row.media_type).unwrap_or(UNKNOWN_TYPE);
    headers.insert(header::CONTENT_TYPE, media_type);
    let digest = row.digest.to_string();
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{digest}\"")) {
        headers.insert(header::ETAG, tag);
    }
    if let Ok(digest) = HeaderValue::from_str(&digest) {
        headers.insert(HeaderName::from_static("x-content-sha256"), digest);
    }
    // Whatever a change published is not a page of this server's: it is saved, never shown.
    headers.insert(
        header::CONTENT_DISPOSITION,
        HeaderValue::from_static("attachment"),
    );
    headers.insert(
        header::CACHE_CONTROL,
        HeaderValue::from_static("private, no-cache"),
    );
    headers
}
