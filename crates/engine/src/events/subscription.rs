//! Subscriptions for people and programs.

use matrix_core::id::SubscriptionId;
use matrix_core::{Authorised, Caller, RunId, Timestamp};
use matrix_store::tables::events;
use matrix_store::tables::subscriptions::{self, SubscriptionRow};
use matrix_store::{StoreError, Tx};
use serde::Serialize;

use super::Events;
use super::cursor::Cursor;
use super::error::EventError;
use super::read::EventRead;
use super::topic::TopicPattern;

/// The most subscriptions that are listed; a scope has no more.
const LIST_MAX: i64 = 100;

/// How a subscription does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
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

/// A subscription for people and programs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SubscriptionView {
    /// Its id, with which the ids of its messages begin.
    pub subscription: SubscriptionId,
    /// Its name.
    pub name: String,
    /// Which topics.
    pub topics: Vec<TopicPattern>,
    /// Only events of this run.
    pub run: Option<RunId>,
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
    pub cursor: Cursor,
    /// How many events were acknowledged.
    pub delivered: i64,
    /// When the newest was, in microseconds since 1970.
    pub delivered_at: Option<Timestamp>,
    /// Attempts that failed since one succeeded.
    pub failures: i64,
    /// Why the newest of them did.
    pub error: Option<String>,
    /// When an attempt last failed.
    pub failed_at: Option<Timestamp>,
    /// How often it was set to another place.
    pub generation: i64,
    /// Who made it.
    pub created_by: String,
    /// When.
    pub created_at: Timestamp,
}

/// The caller's subscriptions by name.
pub fn list(
    events: &Events,
    request: &Authorised<EventRead>,
) -> Result<Vec<SubscriptionView>, EventError> {
    let scope = &request.caller().scope;
    let views = events.database.read_now::<_, StoreError, _>(|tx| {
        let rows = subscriptions::list(tx, scope, LIST_MAX)?;
        rows.into_iter().map(|row| view(tx, row)).collect()
    })?;
    Ok(views)
}

/// One subscription.
pub fn show(
    events: &Events,
    request: &Authorised<EventRead>,
    name: &str,
) -> Result<SubscriptionView, EventError> {
    let scope = &request.caller().scope;
    let found = events.database.read_now::<_, StoreError, _>(|tx| {
        let row = subscriptions::get(tx, scope, name)?;
        row.map(|row| view(tx, row)).transpose()
    })?;
    found.ok_or_else(|| EventError::NoSubscription(name.chars().take(80).collect()))
}

/// A row as it is shown.
pub(super) fn view(tx: &Tx<'_>, row: SubscriptionRow) -> Result<SubscriptionView, StoreError> {
    let damaged = || StoreError::corrupt(format_args!("the subscription `{}`", row.name));
    let topics = serde_json::from_str(&row.topics).map_err(|_| damaged())?;
    let cursor: Cursor = row.cursor.parse().map_err(|_| damaged())?;
    let caller: Caller = serde_json::from_str(&row.caller).map_err(|_| damaged())?;
    let lag = events::shards(tx)?
        .into_iter()
        .map(|(shard, newest)| (newest - cursor.position(shard)).max(0))
        .sum();
    let state = match (&row.owner, row.failures, lag) {
        (None, ..) => SubscriptionState::Unowned,
        (Some(_), 1.., _) => SubscriptionState::Retrying,
        (Some(_), _, 0) => SubscriptionState::CaughtUp,
        (Some(_), ..) => SubscriptionState::Sending,
    };
    Ok(SubscriptionView {
        subscription: row.subscription,
        name: row.name,
        topics,
        run: row.run,
        kind: row.kind,
        payloads: row.payloads,
        to: row.destination,
        state,
        lag,
        cursor,
        delivered: row.delivered,
        delivered_at: row.delivered_at,
        failures: row.failures,
        error: row.error,
        failed_at: row.failed_at,
        generation: row.generation,
        created_by: caller.principal.to_string(),
        created_at: row.created_at,
    })
}

/// Whether a text can be a subscription's name.
pub(super) fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    (1..=64).contains(&text.len()) && text.chars().all(letter)
}
