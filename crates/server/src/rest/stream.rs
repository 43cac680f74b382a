//! What every stream of server-sent events does: it takes one of the places there are, says that it
//! is alive while its caller may still read, and says why it ends.

use std::sync::Arc;

use axum::response::sse::Event;
use matrix_core::{Action, Authorised, Problem};
use tokio::sync::OwnedSemaphorePermit;

use crate::problem::{Failure, TOO_MANY_STREAMS};
use crate::server::Server;

/// When a client that was refused may ask again, in seconds.
const RETRY_AFTER_S: u64 = 5;

/// One of the places for streams; it is free again when this is dropped.
pub(crate) fn take_place(server: &Server) -> Result<OwnedSemaphorePermit, Failure> {
    let permit = Arc::clone(server.streams()).try_acquire_owned();
    permit.map_err(|_| {
        let limit = server.limits().streams;
        Problem::new(TOO_MANY_STREAMS, format!("{limit} event streams are open"))
            .help("close one, or ask again later")
            .with("retry_after_s", RETRY_AFTER_S)
            .into()
    })
}

/// Says that a stream is alive, if its caller may still read.
pub(crate) fn alive<A: Action + Clone>(
    server: &Server,
    request: &Authorised<A>,
) -> Result<Event, Failure> {
    let (caller, action) = request.clone().into_parts();
    server.authorise(caller, action)?;
    Ok(Event::default().comment("alive"))
}

/// The last event of a stream that cannot go on, `problem`, with what went wrong.
pub(crate) fn last(failure: &Failure) -> Option<Event> {
    let problem = failure.problem();
    tracing::warn!(%problem, "an event stream ends");
    Event::default().event("problem").json_data(problem).ok()
}
