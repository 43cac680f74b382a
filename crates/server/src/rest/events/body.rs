//! Events and subscriptions as the API writes them.

use matrix_core::Timestamp;
use matrix_engine::events::{self, EventRead};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Something that happened to a run: one entry of its journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Its position: the shard and the number in it.
    #[schema(example = "0:17")]
    pub id: String,
    /// What it is about, in general.
    #[schema(example = "step.completed")]
    pub topic: String,
    /// Everything it can be subscribed by, the general topic first.
    pub topics: Vec<String>,
    /// When, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// The run.
    #[schema(example = "run_01k6g0000000000000000000aa")]
    pub run: String,
    /// The kind of the run's function.
    pub run_kind: String,
    /// The entry's position in the run, from zero.
    pub seq: i64,
    /// What the entry says.
    pub kind: String,
    /// The address of the step, timer, signal or approval; empty for the run itself.
    pub path: String,
    /// Who wrote it, as `user:name` or `worker:id`.
    pub actor: String,
    /// The chain's hash up to and with the entry, in hexadecimal.
    pub hash: String,
    /// Where to read on.
    pub links: EventLinks,
    /// The entry's payload, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<serde_json::Value>,
    /// Why the payload that was asked for is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// Addresses of what an event is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct EventLinks {
    /// The run.
    pub run: String,
    /// A page that begins with the entry, payload and all.
    pub entry: String,
}

impl From<events::Event> for Event {
    fn from(event: events::Event) -> Self {
        Self {
            id: event.id,
            topic: event.topic,
            topics: event.topics,
            at: event.at,
            run: event.run.to_string(),
            run_kind: event.run_kind,
            seq: event.seq,
            kind: event.kind,
            path: event.path,
            actor: event.actor,
            hash: event.hash.to_string(),
            links: EventLinks {
                run: event.links.run,
                entry: event.links.entry,
            },
            payload: event.payload,
            withheld: event.withheld,
        }
    }
}

/// A page of events. It may be empty although there is more to look through.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct EventPage {
    /// The events, each shard's in the order in which they were committed.
    pub items: Vec<Event>,
    /// Where the next page begins, now or whenever there is more: `after` of the next request.
    #[schema(example = "0:17")]
    pub next: String,
    /// Whether there was more when this page was made.
    pub more: bool,
}

/// How a subscription does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SubscriptionState {
    /// There is nothing behind its cursor.
    CaughtUp,
    /// What is behind its cursor is being sent.
    Sending,
    /// The last attempt failed; it is tried again.
    Retrying,
    /// No process sends.
    Unowned,
}

impl From<events::SubscriptionState> for SubscriptionState {
    fn from(state: events::SubscriptionState) -> Self {
        match state {
            events::SubscriptionState::CaughtUp => Self::CaughtUp,
            events::SubscriptionState::Sending => Self::Sending,
            events::SubscriptionState::Retrying => Self::Retrying,
            events::SubscriptionState::Unowned => Self::Unowned,
        }
    }
}

/// Somebody outside who is told of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Subscription {
    /// Its id, with which the ids of its messages begin.
    pub subscription: String,
    /// Its name.
    pub name: String,
    /// Patterns of topics.
    pub topics: Vec<String>,
    /// Only events of this run.
    pub run: Option<String>,
    /// Only events of runs of this kind; empty for all.
    pub kind: String,
    /// Whether payloads are sent along.
    pub payloads: bool,
    /// Where to.
    pub to: String,
    /// How it does.
    pub state: SubscriptionState,
    /// How many entries, of whatever topic and tenant, are behind its cursor.
    pub lag: i64,
    /// Up to where it has come.
    pub cursor: String,
    /// How many events were acknowledged.
    pub delivered: i64,
    /// When the newest was, in microseconds since 1970.
    #[schema(value_type = Option<i64>)]
    pub delivered_at: Option<Timestamp>,
    /// Attempts that failed since one succeeded.
    pub failures: i64,
    /// Why the newest of them did.
    pub error: Option<String>,
    /// When an attempt last failed, in microseconds since 1970.
    #[schema(value_type = Option<i64>)]
    pub failed_at: Option<Timestamp>,
    /// How often it was set to another place.
    pub generation: i64,
    /// Who made it, as `user:name`.
    pub created_by: String,
    /// When, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
}

impl From<events::SubscriptionView> for Subscription {
    fn from(view: events::SubscriptionView) -> Self {
        Self {
            subscription: view.subscription.to_string(),
            name: view.name,
            topics: view.topics.into_iter().map(String::from).collect(),
            run: view.run.map(|run| run.to_string()),
            kind: view.kind,
            payloads: view.payloads,
            to: view.to,
            state: view.state.into(),
            lag: view.lag,
            cursor: view.cursor.to_string(),
            delivered: view.delivered,
            delivered_at: view.delivered_at,
            failures: view.failures,
            error: view.error,
            failed_at: view.failed_at,
            generation: view.generation,
            created_by: view.created_by,
            created_at: view.created_at,
        }
    }
}

/// Looking at subscriptions is reading events without their payloads.
pub(super) fn reading() -> EventRead {
    EventRead::default()
}
