//! `POST /api/v1/events/subscriptions`.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use matrix_core::RunId;
use matrix_engine::events::{self, EventError, EventSubscribe, StartAt};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::body::Subscription;
use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::problem::Failure;
use crate::server::Server;

/// Who wants to be told of what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSubscription {
    /// Its name: 1 to 64 of a-z, 0-9 and `-`.
    #[schema(max_length = 64)]
    pub name: String,
    /// Patterns of topics, 1 to 32: `run.*`, `deployment.*`, or `*` for all.
    pub topics: Vec<String>,
    /// Only events of this run.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub run: Option<RunId>,
    /// Only events of runs of this kind.
    #[serde(default)]
    pub kind: Option<String>,
    /// With their payloads.
    #[serde(default)]
    pub payloads: bool,
    /// Where to: `nats://HOST/SUBJECT`, `redis://HOST/STREAM` or `kafka://HOST/TOPIC`, with
    /// `?credentials=NAME` if they are needed.
    #[schema(example = "nats://127.0.0.1:4222/matrix")]
    pub to: String,
    /// From where: `now` (when absent), `beginning`, or a place.
    #[serde(default)]
    pub after: Option<String>,
}

/// Has events sent to a broker, from then on and for as long as the subscription stands.
#[utoipa::path(
    post, path = "/api/v1/events/subscriptions", operation_id = "event_subscribe", tag = "events",
    request_body = NewSubscription,
    responses((status = 201, description = "It stands.", body = Subscription)),
)]
pub(crate) async fn subscribe(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Body(new): Body<NewSubscription>,
) -> Result<(StatusCode, Json<Subscription>), Failure> {
    let from = new.after.map_or(Ok(StartAt::Now), |text| text.parse());
    let topics = new.topics.iter().map(|text| text.parse());
    let action = EventSubscribe {
        name: new.name,
        topics: topics
            .collect::<Result<_, _>>()
            .map_err(EventError::Pattern)?,
        run: new.run,
        kind: new.kind.unwrap_or_default(),
        payloads: new.payloads,
        to: new.to.parse().map_err(EventError::Destination)?,
        from: from.map_err(EventError::Cursor)?,
    };
    let request = server.authorise(caller, action)?;
    let made = events::subscribe(server.engine(), server.events(), &request).await?;
    Ok((StatusCode::CREATED, Json(made.into())))
}
