//! Extractors: whatever a client sends becomes a value or a failure, within bounds.

use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use http_body_util::BodyExt;
use matrix_core::Problem;
use serde::de::DeserializeOwned;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::problem::{Failure, MEDIA_TYPE, TOO_LARGE, TOO_MUCH};
use crate::server::Server;

/// A JSON body. An empty body stands for the empty object, so that a verb without arguments needs
/// none.
#[derive(Debug)]
pub(crate) struct Body<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequest<Server> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, server: &Server) -> Result<Self, Failure> {
        json(request, server.limits().body_bytes, None)
            .await
            .map(Self)
    }
}

/// Reads a body of JSON of so many bytes at most. With a `budget`, in KiB, it is refused where others that
/// are being read leave too little of it.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    limit: usize,
    budget: Option<&Semaphore>,
) -> Result<T, Failure> {
    let (parts, mut body) = request.into_parts();
    let too_large = || {
        let detail = format!("a body may have at most {limit} bytes");
        Failure::from(Problem::new(TOO_LARGE, detail))
    };
    if declared_length(&parts.headers).is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    let mut share = budget.map(Share::of);
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Err(Failure::malformed("the body ended early"));
        };
        let piece = frame.into_data().unwrap_or_default();
        if bytes.len() + piece.len() > limit {
            return Err(too_large());
        }
        if let Some(share) = &mut share {
            share.grow(bytes.len() + piece.len())?;
        }
        bytes.extend_from_slice(&piece);
    }
    if !bytes.is_empty() && !is_json(&parts.headers) {
        return Err(Problem::new(MEDIA_TYPE, "the body is not declared as JSON")
            .help("send the header `Content-Type: application/json`")
            .into());
    }
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    serde_json::from_slice(text)
        .map_err(|error| Failure::malformed(format!("the body is not as expected: {error}")))
}

/// What somebody who is being read holds of a common budget in KiB, until it is dropped.
pub(crate) struct Share<'a> {
    budget: &'a Semaphore,
    taken: Option<SemaphorePermit<'a>>,
}

impl<'a> Share<'a> {
    /// Nothing yet.
    pub(crate) fn of(budget: &'a Semaphore) -> Self {
        Self {
            budget,
            taken: None,
        }
    }

    /// Takes so many bytes in all, where others leave that much.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let taken = self.taken.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = bytes.div_ceil(1024).saturating_sub(taken);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let more = self.budget.try_acquire_many(more).map_err(|_| {
            let detail = "others send as much as this server reads at once";
            Failure::from(Problem::new(TOO_MUCH, detail).with("retry_after_s", 1))
        })?;
        match &mut self.taken {
            Some(taken) => taken.merge(more),
            None => self.taken = Some(more),
        }
        Ok(())
    }
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers
        .get(header::CONTENT_LENGTH)?
        .to_str()
        .ok()?
        .parse()
        .ok()
}

/// `application/json`, with any parameters, and media types with the suffix `+json`.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
    else {
        return false;
    };
    let essence = value.split(';').next().unwrap_or_default().trim();
    let essence = essence.to_ascii_lowercase();
    essence == "application/json"
        || (essence.starts_with("application/") && essence.ends_with("+json"))
}

/// The parameters of the query.
#[derive(Debug)]
pub(crate) struct Asked<T>(pub(crate) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Query(value) = Query::<T>::from_request_parts(parts, state).await.map_err(
            |error: QueryRejection| {
                let why = std::error::Error::source(&error)
                    .map_or_else(|| error.to_string(), ToString::to_string);
                Failure::malformed(format!("the query is not as expected: {why}"))
            },
        )?;
        Ok(Self(value))
    }
}

/// What the path names.
#[derive(Debug)]
pub(crate) struct Named<T>(pub(crate) T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Named<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let Path(value) =
            Path::<T>::from_request_parts(parts, state)
                .await
                .map_err(|error: PathRejection| {
                    let why = error.body_text();
                    let why = why.trim_start_matches("Invalid URL: ");
                    Failure::malformed(format!("the path is not as expected: {why}"))
                })?;
        Ok(Self(value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_json_is_json() {
        let of = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_TYPE, value.parse().unwrap());
            is_json(&headers)
        };
        assert!(of("application/json"));
        assert!(of("Application/JSON; charset=utf-8"));
        assert!(of("application/merge-patch+json"));
        assert!(!of("text/plain"));
        assert!(!of("text/plain; application/json"));
        assert!(!of("application/jsonp"));
        assert!(!is_json(&HeaderMap::new()));
    }
}
