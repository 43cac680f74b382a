//! `GET /api/v1/events`: as pages, or as server-sent events.

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use matrix_core::RunId;
use matrix_engine::events::{self, EventFilter, EventRead, StartAt, TopicPattern};
use serde::Deserialize;
use utoipa::IntoParams;

use super::body::{Event, EventPage};
use super::feed;
use crate::edge::guard::SignedIn;
use crate::edge::listen::Closing;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::rest::page;
use crate::server::{Server, blocking};

/// The most patterns of one request.
const TOPICS_MAX: usize = 32;

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EventQuery {
    /// Only events with one of these topics, as patterns between commas: `run.*,deployment.*`.
    topic: Option<String>,
    /// Only events of this run.
    #[param(value_type = Option<String>)]
    run: Option<RunId>,
    /// Only events of runs of this kind, such as `change`.
    kind: Option<String>,
    /// With their payloads.
    #[serde(default)]
    payloads: bool,
    /// Only events after this place: `beginning`, `now`, or `next` of a page or `id` of a streamed
    /// event. Absent, pages begin at the beginning and streams now. The header `Last-Event-ID`
    /// counts before it.
    after: Option<String>,
    /// How many items at most, 1 to 200; 50 when absent. Streams have no end.
    #[param(minimum = 1, maximum = 200)]
    limit: Option<u32>,
}

/// What happened to runs, in the order in which it was committed: as a page of JSON, or, for
/// `Accept: text/event-stream`, as it happens.
#[utoipa::path(
    get, path = "/api/v1/events", operation_id = "event_list", tag = "events",
    params(
        ("Last-Event-ID" = Option<String>, Header, description = "The last event that arrived."),
        EventQuery,
    ),
    responses((status = 200, description = "A page; or server-sent events: `id` is the place \
               behind the event, `event` its topic, `data` the event as JSON.",
               content((EventPage = "application/json"), (String = "text/event-stream")))),
)]
pub(crate) async fn list(
    State(server): State<Server>,
    Extension(Closing(closing)): Extension<Closing>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<EventQuery>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    let last = headers.get("last-event-id");
    let last = last.map(|value| value.to_str().unwrap_or("?").to_owned());
    let after: Option<StartAt> = last
        .or(query.after)
        .map(|text| text.parse().map_err(events::EventError::from))
        .transpose()?;
    let action = EventRead {
        filter: EventFilter {
            topics: patterns(query.topic.as_deref().unwrap_or_default())?,
            run: query.run,
            kind: query.kind.unwrap_or_default(),
        },
        payloads: query.payloads,
    };
    let request = server.authorise(caller, action)?;
    let accept = headers.get(header::ACCEPT);
    let streams = accept.is_some_and(|accept| {
        let accept = accept.to_str().unwrap_or_default();
        accept.contains("text/event-stream")
    });
    if streams {
        let from = after.unwrap_or(StartAt::Now);
        return feed::open(server, request, from, closing).await;
    }
    let (from, limit) = (after.unwrap_or_default(), page::limit(query.limit));
    let page = blocking(move || events::page(server.events(), &request, &from, limit)).await?;
    let items = page.events.into_iter().map(|(event, _)| Event::from(event));
    Ok(Json(EventPage {
        items: items.collect(),
        next: page.next.to_string(),
        more: page.more,
    })
    .into_response())
}

/// Patterns between commas.
fn patterns(text: &str) -> Result<Vec<TopicPattern>, Failure> {
    let parts: Vec<&str> = text.split(',').filter(|part| !part.is_empty()).collect();
    if parts.len() > TOPICS_MAX {
        return Err(events::EventError::Topics(TOPICS_MAX).into());
    }
    let parsed = parts.into_iter().map(str::parse).collect::<Result<_, _>>();
    parsed.map_err(|error| events::EventError::from(error).into())
}
