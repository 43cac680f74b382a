//! `GET /api/v1/runs/{run}/events`: a run's journal as it grows, as server-sent events.
//!
//! One event is one entry: `id` is its position, `event` its kind, `data` the entry. A client that
//! lost its connection sends `Last-Event-ID` (browsers do by themselves) or `?after=` and misses
//! nothing. The stream ends behind the entry that ends the run; asked to go on from there, it
//! answers 204, which tells a browser to stop. Nothing is buffered for a slow client: entries are
//! read when the connection can take them.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;

use axum::Extension;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use matrix_core::{Authorised, RunId};
use matrix_engine::runs::{self, RunRead};
use matrix_engine::{Entry, EntryKind};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};
use utoipa::IntoParams;

use super::body;
use crate::edge::guard::SignedIn;
use crate::edge::listen::Closing;
use crate::edge::read::{Asked, Named};
use crate::problem::Failure;
use crate::rest::stream::{alive, last, take_place};
use crate::server::{Server, blocking};

/// From where.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Only entries after this position. The header `Last-Event-ID` counts before it.
    #[param(minimum = -1)]
    after: Option<i64>,
}

/// A run's journal entry by entry, as it grows, until the run has ended.
#[utoipa::path(
    get, path = "/api/v1/runs/{run}/events", operation_id = "run_events", tag = "runs",
    params(
        ("run" = String, Path, description = "The run's id."),
        ("Last-Event-ID" = Option<i64>, Header, description = "The last event that arrived."),
        EventQuery,
    ),
    responses(
        (status = 200, description = "Server-sent events: `id` is the entry's position, `event` \
         its kind, `data` the entry as JSON. Between them, without an `id`: `progress`, the steps \
         under way by their addresses, and how far each is.", body = String, content_type = "text/event-stream"),
        (status = 204, description = "The run has ended and there is nothing after the position."),
    ),
)]
pub(crate) async fn events(
    State(server): State<Server>,
    Extension(Closing(closing)): Extension<Closing>,
    SignedIn(caller): SignedIn,
    Named(run): Named<RunId>,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let after = position(&headers, &query)?;
    let request = server.authorise(caller, RunRead { run })?;
    // Subscribed before the first look, so that nothing falls between the two.
    let changes = server.engine().journal().subscribe();
    let mut pending = read(&server, &request, (after - 1).max(-1)).await?;
    let before = pending.pop_front_if(|entry| entry.seq <= after);
    match before {
        None if after >= 0 => {
            let detail = format!("{run} has no entry {after} to go on from");
            return Err(Failure::malformed(detail));
        }
        Some(entry) if ends(entry.kind) => return Ok(StatusCode::NO_CONTENT.into_response()),
        _ => {}
    }
    let permit = take_place(&server)?;
    let feed = Feed {
        server,
        request,
        position: after,
        pending,
        changes,
        closing,
        said: BTreeMap::new(),
        ended: false,
        _permit: permit,
    };
    let stream = stream::unfold(feed, |mut feed| async move {
        let event = feed.next().await?;
        Some((Ok::<_, Infallible>(event), feed))
    });
    Ok(Sse::new(stream).into_response())
}

fn position(headers: &HeaderMap, query: &EventQuery) -> Result<i64, Failure> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(query.after.unwrap_or(-1).max(-1));
    };
    let position = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<i64>().ok());
    let position = position.filter(|position| *position >= -1);
    position.ok_or_else(|| Failure::malformed("`Last-Event-ID` is not a position"))
}

/// The most entries that wait for a slow client in memory.
const PAGE: u32 = 200;

/// Whether a run has no entry after one of this kind.
fn ends(kind: EntryKind) -> bool {
    matches!(
        kind,
        EntryKind::RunCompleted | EntryKind::RunFailed | EntryKind::RunCancelled
    )
}

async fn read(
    server: &Server,
    request: &Authorised<RunRead>,
    after: i64,
) -> Result<VecDeque<Entry>, Failure> {
    let (server, request) = (server.clone(), request.clone());
    let entries =
        blocking(move || runs::entries(server.database(), server.blobs(), &request, after, PAGE));
    Ok(entries.await?.into())
}

/// One client's place in a journal.
struct Feed {
    server: Server,
    request: Authorised<RunRead>,
    position: i64,
    pending: VecDeque<Entry>,
    changes: watch::Receiver<i64>,
    closing: watch::Receiver<bool>,
    /// How far the steps under way were said to be.
    said: BTreeMap<String, Value>,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

/// Why a feed looks up.
enum Woken {
    Written,
    Silence,
    Closing,
}

impl Feed {
    /// The next event; none when the stream ends.
    async fn next(&mut self) -> Option<Event> {
        loop {
            if let Some(entry) = self.pending.pop_front() {
                self.position = entry.seq;
                self.ended = ends(entry.kind);
                return event(entry);
            }
            if self.ended {
                return None;
            }
            self.changes.borrow_and_update();
            self.pending = match read(&self.server, &self.request, self.position).await {
                Ok(entries) => entries,
                Err(failure) => return self.fail(&failure),
            };
            if !self.pending.is_empty() {
                continue;
            }
            match self.progress().await {
                Ok(None) => {}
                Ok(told) => return told,
                Err(failure) => return self.fail(&failure),
            }
            match self.wake().await {
                Woken::Written => {}
                Woken::Closing => return None,
                Woken::Silence => return self.heartbeat(),
            }
        }
    }

    /// How far the steps under way are, if that is news. It has no position: whoever missed it is told
    /// the next time.
    async fn progress(&mut self) -> Result<Option<Event>, Failure> {
        let (server, request) = (self.server.clone(), self.request.clone());
        let said = blocking(move || runs::steps_under_way(server.database(), &request)).await?;
        if said == self.said {
            return Ok(None);
        }
        self.said = said;
        let event = Event::default().event("progress");
        Ok(event.json_data(&self.said).ok())
    }

    async fn wake(&mut self) -> Woken {
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => Woken::Closing,
            changed = self.changes.changed() => match changed {
                Ok(()) => Woken::Written,
                Err(_) => Woken::Closing,
            },
            () = tokio::time::sleep(self.server.limits().heartbeat) => Woken::Silence,
        }
    }

    /// Says that the stream is alive, if its caller may still read.
    fn heartbeat(&mut self) -> Option<Event> {
        match alive(&self.server, &self.request) {
            Ok(alive) => Some(alive),
            Err(failure) => self.fail(&failure),
        }
    }

    /// A last event, `problem`, with what went wrong.
    fn fail(&mut self, failure: &Failure) -> Option<Event> {
        self.ended = true;
        last(failure)
    }
}

fn event(entry: Entry) -> Option<Event> {
    let event = Event::default()
        .id(entry.seq.to_string())
        .event(entry.kind.as_str());
    // An entry is JSON by its nature; one that is not ends the stream rather than leave a gap.
    event.json_data(body::Entry::from(entry)).ok()
}
