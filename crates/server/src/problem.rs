//! What goes wrong at the edge, and the one form in which every failure leaves it.
//!
//! A handler gives a `Failure`; the frame around all handlers (`edge::frame`) writes it out as
//! `application/problem+json` (RFC 9457) with the request's id and the exit code that the command
//! line uses for it. A failure that is nobody's [`Problem`] (a panic, a task that vanished) becomes
//! [`INTERNAL`] with nothing but the request id: the log has the rest.

use std::sync::Arc;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use matrix_core::{Code, Problem};

/// Something went wrong that no code stands for.
pub const INTERNAL: Code = Code::new("HTTP-0001", 500, 1, "internal error");
/// The request names a host that this server does not answer for.
pub const HOST: Code = Code::new("HTTP-0002", 421, 4, "host not served");
/// The request comes from a page of another origin.
pub const ORIGIN: Code = Code::new("HTTP-0003", 403, 4, "origin not allowed");
/// There is nothing at this address.
pub const NO_ADDRESS: Code = Code::new("HTTP-0004", 404, 6, "no such address");
/// The address exists, but not for this method.
pub const METHOD: Code = Code::new("HTTP-0005", 405, 2, "method not allowed");
/// The body is larger than this server reads.
pub const TOO_LARGE: Code = Code::new("HTTP-0006", 413, 2, "request too large");
/// The body is not declared as JSON.
pub const MEDIA_TYPE: Code = Code::new("HTTP-0007", 415, 2, "media type not supported");
/// The body, the query, a header or an id in the path cannot be read.
pub const MALFORMED: Code = Code::new("HTTP-0008", 400, 2, "malformed request");
/// The request was not complete, or not answered, in time.
pub const TIMEOUT: Code = Code::new("HTTP-0009", 408, 3, "request took too long");
/// The idempotency key was used for another request.
pub const KEY_REUSED: Code = Code::new("HTTP-0011", 422, 2, "idempotency key used before");
/// As many event streams are open as this server keeps.
pub const TOO_MANY_STREAMS: Code = Code::new("HTTP-0012", 429, 1, "too many event streams");
/// The address to listen on can be reached from other machines.
pub const NOT_LOOPBACK: Code = Code::new("HTTP-0013", 400, 2, "address is not loopback");
/// The address to listen on cannot be used.
pub const CANNOT_LISTEN: Code = Code::new("HTTP-0014", 503, 1, "cannot listen");
/// The process at the other end of the socket cannot be talked to.
pub const UNREACHABLE: Code = Code::new("HTTP-0015", 503, 1, "host cannot be reached");
/// As much is being read as this server reads at once.
pub const TOO_MUCH: Code = Code::new("HTTP-0016", 503, 1, "too much at once");

/// A failed request.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Arc<Problem>);

impl Failure {
    pub(crate) fn problem(&self) -> &Problem {
        &self.0
    }

    /// A request that cannot be read.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Problem::new(MALFORMED, detail).into()
    }

    /// Something that no code stands for; why is in the log only.
    pub(crate) fn internal() -> Self {
        Problem::new(INTERNAL, "something went wrong while answering")
            .help("look for the request's id in the log")
            .into()
    }
}

impl<P: Into<Problem>> From<P> for Failure {
    fn from(problem: P) -> Self {
        Self(Arc::new(problem.into()))
    }
}

impl IntoResponse for Failure {
    /// An empty answer that carries the problem; the frame writes it out.
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.0.code.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

/// Why this process does not listen.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Other machines could reach the address.
    #[error("{0} can be reached from other machines, and traffic to it is not encrypted")]
    NotLoopback(std::net::SocketAddr),
    /// The system refused the address.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address or the socket's path.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl From<ServeError> for Problem {
    fn from(error: ServeError) -> Self {
        let text = error.to_string();
        match error {
            ServeError::NotLoopback(_) => Problem::new(NOT_LOOPBACK, text).help(
                "listen on 127.0.0.1 or ::1 behind a proxy that ends TLS, or say with --expose that \
                 the network is trusted",
            ),
            ServeError::Listen { .. } => Problem::new(CANNOT_LISTEN, text)
                .help("choose another address, or end the process that uses this one"),
        }
    }
}
