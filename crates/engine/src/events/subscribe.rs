//! Makes a subscription.

use matrix_core::id::SubscriptionId;
use matrix_core::{Action, Authorised, RunId};
use matrix_store::StoreError;
use matrix_store::bus::{Brokers, Destination};
use matrix_store::tables::audit;
use matrix_store::tables::subscriptions::{self, SubscriptionRow};
use serde_json::{Value, json};

use super::Events;
use super::cursor::StartAt;
use super::error::EventError;
use super::subscription::{SubscriptionView, is_name, view};
use super::topic::TopicPattern;
use crate::engine::Engine;

/// The most patterns of a subscription.
const TOPICS_MAX: usize = 32;

/// The most subscriptions of a scope.
const SUBSCRIPTIONS_MAX: i64 = 100;

/// Has events sent to a broker.
#[derive(Debug, Clone)]
pub struct EventSubscribe {
    /// The subscription's name.
    pub name: String,
    /// Which topics.
    pub topics: Vec<TopicPattern>,
    /// Only events of this run.
    pub run: Option<RunId>,
    /// Only events of runs of this kind; empty for all.
    pub kind: String,
    /// With their payloads.
    pub payloads: bool,
    /// Where to.
    pub to: Destination,
    /// From where.
    pub from: StartAt,
}

impl Action for EventSubscribe {
    const NAME: &'static str = "event_subscribe";

    fn facts(&self) -> Value {
        json!({ "payloads": self.payloads })
    }
}

/// Makes a subscription; from then on a host sends.
pub async fn subscribe(
    engine: &Engine,
    events: &Events,
    request: &Authorised<EventSubscribe>,
) -> Result<SubscriptionView, EventError> {
    let (caller, action) = (request.caller().clone(), request.action().clone());
    if !is_name(&action.name) {
        return Err(EventError::Name(action.name.chars().take(80).collect()));
    }
    if action.topics.is_empty() || action.topics.len() > TOPICS_MAX {
        return Err(EventError::Topics(TOPICS_MAX));
    }
    if !Brokers::has(action.to.broker) {
        return Err(EventError::NoAdapter(action.to.broker));
    }
    let at = engine.clock().now();
    let id = SubscriptionId::generate(&**engine.clock(), &**engine.entropy());
    let source = events.clone();
    let made = events
        .database
        .write::<_, EventError, _>(move |tx| {
            let row = SubscriptionRow {
                subscription: id,
                scope: caller.scope.clone(),
                name: action.name,
                topics: serde_json::to_string(&action.topics).map_err(StoreError::corrupt)?,
                kind: action.kind,
                run: action.run,
                payloads: action.payloads,
                destination: action.to.to_string(),
                caller: serde_json::to_string(&caller).map_err(StoreError::corrupt)?,
                cursor: source.start(tx, &action.from)?.to_string(),
                generation: 0,
                delivered: 0,
                delivered_at: None,
                failures: 0,
                error: None,
                failed_at: None,
                owner: None,
                epoch: 0,
                beat: 0,
                created_at: at,
            };
            let others = subscriptions::list(tx, &caller.scope, SUBSCRIPTIONS_MAX)?.len();
            if i64::try_from(others).unwrap_or(i64::MAX) >= SUBSCRIPTIONS_MAX {
                return Err(EventError::TooMany(SUBSCRIPTIONS_MAX));
            }
            if !subscriptions::insert(tx, &row)? {
                return Err(EventError::NameTaken(row.name));
            }
            let detail = row.destination.as_str();
            audit::insert(tx, &caller, at, EventSubscribe::NAME, &row.name, detail)?;
            view(tx, row).map_err(EventError::from)
        })
        .await?;
    events.changed.notify_one();
    Ok(made)
}
