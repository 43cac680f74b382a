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

/// How much of what is being read may be in memory at once, in bytes.
#[derive(Debug)]
pub(crate) struct Reading {
    kibibytes: Semaphore,
    bytes: usize,
}

impl Reading {
    /// Nothing is being read yet.
    pub(crate) fn of(bytes: usize) -> Self {
        Self {
            kibibytes: Semaphore::new(bytes / 1024),
            bytes,
        }
    }
}

/// Reads a body of JSON of so many bytes at most. With a bound for all that is being read, it is refused
/// where others leave too little of it for the text and the values in it.
pub(crate) async fn json<T: DeserializeOwned>(
    request: Request,
    limit: usize,
    budget: Option<&Reading>,
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
    if let Some(share) = &mut share {
        share.weigh(text)?;
    }
    serde_json::from_slice(text)
        .map_err(|error| Failure::malformed(format!("the body is not as expected: {error}")))
}

/// About how many bytes the values of a text of JSON take beside the text itself: a list of small numbers
/// takes some fifty times as much as its text. It counts what ends or begins a value, outside of texts.
fn weight(text: &[u8]) -> usize {
    // A list that grows has room for twice as many.
    const EACH: usize = 2 * size_of::<serde_json::Value>();
    let (mut values, mut inside, mut escaped) = (1_usize, false, false);
    for byte in text {
        match (inside, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => inside = !inside,
            (false, b',' | b':' | b'[' | b'{') => values += 1,
            _ => {}
        }
    }
    values.saturating_mul(EACH)
}

/// What somebody who is being read holds of what may be, until it is dropped.
pub(crate) struct Share<'a> {
    budget: &'a Reading,
    taken: Option<SemaphorePermit<'a>>,
}

impl<'a> Share<'a> {
    /// Nothing yet.
    pub(crate) fn of(budget: &'a Reading) -> Self {
        Self {
            budget,
            taken: None,
        }
    }

    /// Takes what a text and its values need in memory. One that needs more than there is for all is
    /// never read.
    fn weigh(&mut self, text: &[u8]) -> Result<(), Failure> {
        let (needs, most) = (text.len().saturating_add(weight(text)), self.budget.bytes);
        if text.len() <= most && needs > most {
            let detail =
                format!("its values would take {needs} bytes, and {most} are there for all");
            return Err(Problem::new(TOO_LARGE, detail).into());
        }
        self.grow(needs)
    }

    /// Takes so many bytes in all, where others leave that much.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Failure> {
        let taken = self.taken.as_ref().map_or(0, SemaphorePermit::num_permits);
        let more = bytes.div_ceil(1024).saturating_sub(taken);
        let more = u32::try_from(more).unwrap_or(u32::MAX);
        let more = self.budget.kibibytes.try_acquire_many(more).map_err(|_| {
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

    #[test]
    fn values_are_counted_and_what_is_in_texts_is_not() {
        let each = weight(b"1");
        let count = |text: &str| weight(text.as_bytes()) / each;
        assert_eq!(count(r#""a, b: [c] {d}""#), 1);
        assert_eq!(count(r#""a \", b""#), 1);
        assert_eq!(count("[0,0,0]"), 4, "a list and three numbers");
        assert_eq!(count(r#"{"a":"x, y"}"#), 3, "an object, a name and a text");
    }
}
