//! The outer layer: nothing leaves the process without passing here.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures::FutureExt;
use matrix_core::Problem;
use matrix_engine::tasks::WAIT_MAX;
use serde_json::Value;
use tracing::Instrument;

use crate::problem::{Failure, METHOD, NO_ADDRESS, TIMEOUT};
use crate::server::{Limits, Server};
use crate::v1;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The most characters of a request id that a client may choose.
const REQUEST_ID_MAX: usize = 64;

/// What every answer carries, whatever it is: nothing here is a page, so nothing may be run,
/// framed, guessed or kept.
const SECURITY_HEADERS: [(HeaderName, HeaderValue); 6] = [
    (
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    ),
    (
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'; sandbox"),
    ),
    (header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY")),
    (
        header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    ),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        HeaderValue::from_static("same-origin"),
    ),
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
];

/// Frames a request and its answer.
pub(crate) async fn frame(State(server): State<Server>, request: Request, next: Next) -> Response {
    let began = server.clock().monotonic();
    let path = request.uri().path();
    let protocol = v1::is_ours(path).then(|| path.to_owned());
    let id = request_id(&server, request.headers());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or_else(|| "none".to_owned(), |path| path.as_str().to_owned());
    let span = tracing::info_span!("request", id = %id, %method, route);
    let answered = answer(next.run(request), time_for(&route, server.limits()))
        .instrument(span.clone())
        .await;
    let failure = answered.extensions().get::<Failure>().cloned();
    let mut response = match &failure {
        Some(failure) => problem(failure.problem(), &id, answered, protocol.as_deref()),
        None => answered,
    };
    for (name, value) in SECURITY_HEADERS {
        response.headers_mut().entry(name).or_insert(value);
    }
    if let Ok(value) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(REQUEST_ID, value);
    }
    let status = response.status().as_u16();
    let took = server.clock().monotonic().saturating_sub(began);
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    span.in_scope(|| match &failure {
        Some(failure) if status >= 500 => {
            tracing::error!(status, took_ms, problem = %failure.problem(), "answered");
        }
        _ => tracing::debug!(status, took_ms, "answered"),
    });
    server
        .metrics()
        .answered(method.as_str(), &route, status, took);
    response
}

/// The routes whose answer waits for commands of a deployment.
const ACTS: [&str; 2] = [
    "/api/v1/deployments/{deployment}/rollback",
    "/api/v1/deployments/{deployment}/stop",
];

/// The route whose answer is a model's.
const ASKS: &str = "/api/v1/models/ask";

/// The route whose answer waits for something to do.
const WAITS: &str = "/api/v1/worker/lease";

/// How long a route may take until its answer begins.
fn time_for(route: &str, limits: &Limits) -> Duration {
    if ACTS.contains(&route) {
        limits.act
    } else if v1::is_ours(route) || route == ASKS {
        limits.model
    } else if route == WAITS {
        limits.answer + WAIT_MAX
    } else {
        limits.answer
    }
}

/// The handlers' answer, in time and without a panic.
async fn answer(handlers: impl Future<Output = Response>, limit: Duration) -> Response {
    let caught = AssertUnwindSafe(handlers).catch_unwind();
    match tokio::time::timeout(limit, caught).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            // The panic hook has written where.
            tracing::error!("a handler stopped unexpectedly");
            Failure::internal().into_response()
        }
        Err(_) => {
            let limit_s = limit.as_secs_f64();
            let detail = format!("the request was not answered within {limit_s} seconds");
            Failure::from(Problem::new(TIMEOUT, detail)).into_response()
        }
    }
}

/// The client's own id for the request where it is harmless, else a new one.
fn request_id(server: &Server, headers: &HeaderMap) -> String {
    let given = headers
        .get(&REQUEST_ID)
        .and_then(|value| value.to_str().ok())
        .filter(|id| !id.is_empty() && id.len() <= REQUEST_ID_MAX)
        .filter(|id| {
            id.bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        });
    given.map_or_else(
        || {
            let mut random = [0_u8; 16];
            server.engine().entropy().fill(&mut random);
            format!("{:032x}", u128::from_be_bytes(random))
        },
        ToOwned::to_owned,
    )
}

/// Writes a failure out, keeping the headers that its maker set.
fn problem(
    problem: &Problem,
    request_id: &str,
    answered: Response,
    protocol: Option<&str>,
) -> Response {
    let mut body = serde_json::to_value(problem).unwrap_or_default();
    if let Value::Object(members) = &mut body {
        members.insert("request_id".into(), request_id.into());
        members.insert("exit_code".into(), problem.code.exit.into());
    }
    let (mut parts, _) = answered.into_parts();
    let (text, kind) = match protocol {
        Some(path) => (v1::problem(path, problem).to_string(), "application/json"),
        None => (body.to_string(), "application/problem+json"),
    };
    parts
        .headers
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    parts.headers.remove(header::CONTENT_LENGTH);
    if parts.status == StatusCode::UNAUTHORIZED {
        parts.headers.insert(
            header::WWW_AUTHENTICATE,
            HeaderValue::from_static("Bearer realm=\"matrix\""),
        );
    }
    let wait = problem.members.get("retry_after_s").and_then(Value::as_u64);
    if let Some(wait) = wait {
        parts.headers.insert(header::RETRY_AFTER, wait.into());
    }
    Response::from_parts(parts, Body::from(text))
}

/// What an unknown address is answered.
pub(crate) async fn no_address(request: Request) -> Failure {
    let path: String = request.uri().path().chars().take(200).collect();
    Problem::new(NO_ADDRESS, format!("there is nothing at `{path}`"))
        .help("docs/reference/api.md lists every address")
        .into()
}

/// What a known address is answered for a method it does not have.
pub(crate) async fn no_method(request: Request) -> Failure {
    let path: String = request.uri().path().chars().take(200).collect();
    let method: String = request.method().as_str().chars().take(20).collect();
    Problem::new(METHOD, format!("`{path}` does not take {method}"))
        .help("the header `Allow` lists what it takes")
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_millis(20);

    #[test]
    fn what_ends_processes_may_take_its_time() {
        let limits = Limits::default();
        assert_eq!(time_for("/api/v1/runs", &limits), limits.answer);
        let served = serde_json::to_value(crate::openapi()).unwrap();
        assert!(served["paths"][WAITS].is_object());
        assert_eq!(time_for(WAITS, &limits), limits.answer + WAIT_MAX);
        for route in ACTS {
            assert!(served["paths"][route].is_object(), "{route} is not served");
            assert_eq!(time_for(route, &limits), limits.act);
        }
        assert!(limits.act > limits.answer);
    }

    #[tokio::test]
    async fn a_panic_and_a_silence_become_failures() {
        let panics = async { panic!("a handler's own fault") };
        let response = answer(panics, LIMIT).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let failure = response.extensions().get::<Failure>().unwrap();
        assert!(
            !failure.problem().detail.contains("fault"),
            "the reason leaves the process: {}",
            failure.problem()
        );
        let response = answer(std::future::pending(), LIMIT).await;
        assert_eq!(response.status(), StatusCode::REQUEST_TIMEOUT);
    }
}
