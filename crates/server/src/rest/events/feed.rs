//! Events as they happen, as server-sent events.
//!
//! `id` is the place *behind* an event, in every shard: a client that lost its connection sends it
//! as `Last-Event-ID` (browsers do by themselves) and misses nothing. Nothing is buffered for a
//! slow client: events are read when the connection can take them.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event as Frame, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream;
use matrix_core::Authorised;
use matrix_engine::events::{self, Cursor, Event, EventRead, StartAt};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::body;
use crate::problem::Failure;
use crate::rest::stream::{alive, last, take_place};
use crate::server::{Server, blocking};

/// The most events that wait for a slow client in memory.
const PAGE: u32 = 200;

/// How often entries of other processes are looked for.
const ELSEWHERE: Duration = Duration::from_secs(1);

/// Answers with a stream from a place on.
pub(super) async fn open(
    server: Server,
    request: Authorised<EventRead>,
    from: StartAt,
    closing: watch::Receiver<bool>,
) -> Result<Response, Failure> {
    let permit = take_place(&server)?;
    // Subscribed before the first look, so that nothing falls between the two.
    let changes = server.engine().journal().subscribe();
    let (pending, place, _) = read(&server, &request, from).await?;
    let feed = Feed {
        server,
        request,
        place,
        pending,
        changes,
        closing,
        silent: Duration::ZERO,
        ended: false,
        _permit: permit,
    };
    let stream = stream::unfold(feed, |mut feed| async move {
        let frame = feed.next().await?;
        Some((Ok::<_, Infallible>(frame), feed))
    });
    Ok(Sse::new(stream).into_response())
}

type Pending = VecDeque<(Event, Cursor)>;

async fn read(
    server: &Server,
    request: &Authorised<EventRead>,
    from: StartAt,
) -> Result<(Pending, Cursor, bool), Failure> {
    let (server, request) = (server.clone(), request.clone());
    let read = blocking(move || events::page(server.events(), &request, &from, PAGE));
    let page = read.await?;
    Ok((page.events.into(), page.next, page.more))
}

/// One client's place.
struct Feed {
    server: Server,
    request: Authorised<EventRead>,
    /// Behind everything that is pending.
    place: Cursor,
    pending: Pending,
    changes: watch::Receiver<i64>,
    closing: watch::Receiver<bool>,
    /// For how long there was nothing to say.
    silent: Duration,
    ended: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    /// The next frame; none when the stream ends.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some((event, behind)) = self.pending.pop_front() {
                self.silent = Duration::ZERO;
                return frame(event, &behind);
            }
            if self.ended {
                return None;
            }
            self.changes.borrow_and_update();
            let from = StartAt::After(self.place.clone());
            let more = match read(&self.server, &self.request, from).await {
                Ok((pending, place, more)) => {
                    (self.pending, self.place) = (pending, place);
                    more
                }
                Err(failure) => return self.fail(&failure),
            };
            if more || !self.pending.is_empty() {
                continue;
            }
            if !self.wait().await? {
                return self.heartbeat();
            }
        }
    }

    /// Waits until there may be more; false when it is time to say that the stream is alive, and
    /// none when the stream ends.
    async fn wait(&mut self) -> Option<bool> {
        let heartbeat = self.server.limits().heartbeat;
        let wait = ELSEWHERE.min(heartbeat);
        tokio::select! {
            biased;
            _ = self.closing.wait_for(|closing| *closing) => None,
            changed = self.changes.changed() => changed.ok().map(|()| true),
            () = tokio::time::sleep(wait) => {
                self.silent += wait;
                let speaks = self.silent >= heartbeat;
                if speaks {
                    self.silent = Duration::ZERO;
                }
                Some(!speaks)
            }
        }
    }

    /// Says that the stream is alive, if its caller may still read.
    fn heartbeat(&mut self) -> Option<Frame> {
        match alive(&self.server, &self.request) {
            Ok(alive) => Some(alive),
            Err(failure) => self.fail(&failure),
        }
    }

    /// A last event, `problem`, with what went wrong.
    fn fail(&mut self, failure: &Failure) -> Option<Frame> {
        self.ended = true;
        last(failure)
    }
}

fn frame(event: Event, behind: &Cursor) -> Option<Frame> {
    let frame = Frame::default().id(behind.to_string()).event(&event.topic);
    // An event is JSON by its nature; one that is not ends the stream rather than leave a gap.
    frame.json_data(body::Event::from(event)).ok()
}
