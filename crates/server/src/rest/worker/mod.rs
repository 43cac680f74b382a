//! `/api/v1/worker`: the protocol by which steps are done outside, version 1.
//!
//! Whoever speaks it names the version in `Matrix-Worker-Protocol`, and every answer names it too.

pub(crate) mod heartbeat;
pub(crate) mod lease;
pub(crate) mod log;
pub(crate) mod report;

use axum::Json;
use axum::extract::FromRequestParts;
use axum::http::HeaderName;
use axum::http::request::Parts;
use matrix_core::Problem;
use matrix_engine::tasks::{PROTOCOL, PROTOCOL_VERSION};

use crate::problem::Failure;

/// The header that names the version.
const VERSION: HeaderName = HeaderName::from_static("matrix-worker-protocol");

/// An answer in the version that was asked for.
pub(crate) type Said<T> = ([(HeaderName, u32); 1], Json<T>);

/// An answer to a worker.
pub(crate) fn said<T>(answer: T) -> Said<T> {
    ([(VERSION, PROTOCOL_VERSION)], Json(answer))
}

/// A request in a version of the protocol that is spoken here.
#[derive(Debug)]
pub(crate) struct Spoken;

impl<S: Send + Sync> FromRequestParts<S> for Spoken {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Failure> {
        let mut named = parts.headers.get_all(VERSION).iter();
        let version = named.next().and_then(|value| value.to_str().ok());
        if version.and_then(|text| text.parse().ok()) == Some(PROTOCOL_VERSION)
            && named.next().is_none()
        {
            return Ok(Self);
        }
        let shown: String = version.unwrap_or("none").chars().take(20).collect();
        let detail = format!("version {shown} of the worker protocol is not spoken here");
        Err(Problem::new(PROTOCOL, detail)
            .help(format!(
                "send the header `Matrix-Worker-Protocol: {PROTOCOL_VERSION}`"
            ))
            .into())
    }
}
