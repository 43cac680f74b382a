//! One subscription, from its cursor on.

use std::convert::Infallible;
use std::time::Duration;

use matrix_core::id::SubscriptionId;
use matrix_core::{Authorised, Caller};
use matrix_store::StoreError;
use matrix_store::bus::{Bus, BusError, Destination, Message};
use matrix_store::tables::subscriptions::{self, SubscriptionRow};

use super::super::cursor::{Cursor, StartAt};
use super::super::error::EventError;
use super::super::event::Event;
use super::super::read::{EventFilter, EventPage, EventRead, page};
use super::Forwarder;

/// The most events that are sent before the broker has acknowledged them.
const BATCH: u32 = 256;

/// How long a broker may take to connect, and to acknowledge.
const PATIENCE: Duration = Duration::from_secs(10);

/// How long nothing is to be sent before it is kept that there was nothing; and how often other
/// processes' entries are looked for.
const IDLE: Duration = Duration::from_secs(1);

/// The longest wait after the first failure; it doubles with each further one.
const BACK_OFF: Duration = Duration::from_millis(200);

/// The longest wait after any failure.
const BACK_OFF_MAX: Duration = Duration::from_secs(30);

/// After so many failures in a row a broker is asked with a single event, until it takes one.
const BROKEN_AFTER: i64 = 3;

/// The most characters of an error that are kept.
const ERROR_MAX: usize = 500;

/// One subscription under one epoch.
pub(super) struct Delivery {
    forwarder: Forwarder,
    row: SubscriptionRow,
    id: SubscriptionId,
    epoch: i64,
    /// The cursor as it is kept.
    kept: String,
    bus: Option<Box<dyn Bus>>,
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum Stuck {
    /// Another process has the subscription, or nobody.
    #[error("another process has the subscription")]
    Lost,
    /// It may go on later.
    #[error("{0}")]
    Later(String),
}

impl From<StoreError> for Stuck {
    fn from(error: StoreError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<EventError> for Stuck {
    fn from(error: EventError) -> Self {
        Self::Later(error.to_string())
    }
}

impl From<BusError> for Stuck {
    fn from(error: BusError) -> Self {
        Self::Later(error.to_string())
    }
}

impl Delivery {
    pub(super) fn new(forwarder: Forwarder, row: SubscriptionRow, epoch: i64) -> Self {
        Self {
            forwarder,
            id: row.subscription,
            kept: row.cursor.clone(),
            epoch,
            row,
            bus: None,
        }
    }

    /// Sends until the subscription is lost.
    pub(super) async fn run(mut self) {
        let mut failures = self.row.failures;
        loop {
            let why = match self.send(&mut failures).await {
                Ok(never) => match never {},
                Err(Stuck::Lost) => return,
                Err(Stuck::Later(why)) => why,
            };
            self.bus = None;
            failures += 1;
            tracing::warn!(failures, why, "events were not delivered");
            match self.note(why).await {
                Ok(true) => {}
                Ok(false) => return,
                Err(error) => tracing::warn!(%error, "nor was that kept"),
            }
            tokio::time::sleep(self.back_off(failures)).await;
        }
    }

    /// Sends whatever comes, until something is in the way.
    async fn send(&mut self, failures: &mut i64) -> Result<Infallible, Stuck> {
        let mut changes = self.forwarder.engine.journal().subscribe();
        changes.borrow_and_update();
        let mut cursor: Cursor = self.kept.parse().map_err(EventError::from)?;
        loop {
            let limit = if *failures >= BROKEN_AFTER { 1 } else { BATCH };
            let EventPage { events, next, more } = self.read(cursor, limit).await?;
            if !events.is_empty() {
                self.owns().await?;
                let count = events.len();
                self.publish(events.into_iter().map(|(event, _)| event))
                    .await?;
                self.advance(&next, count).await?;
                *failures = 0;
            }
            cursor = next;
            if more {
                continue;
            }
            let idle = tokio::time::timeout(IDLE, changes.changed()).await;
            match idle {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return Err(Stuck::Lost),
                Err(_) => {
                    if self.kept != cursor.to_string() {
                        self.advance(&cursor, 0).await?;
                    }
                    if self.forwarder.engine.is_alone() {
                        changes.changed().await.map_err(|_| Stuck::Lost)?;
                    }
                }
            }
            changes.borrow_and_update();
        }
    }

    /// Refuses to go on with what was removed, reset or taken over meanwhile.
    async fn owns(&self) -> Result<(), Stuck> {
        let SubscriptionRow { scope, name, .. } = self.row.clone();
        let database = &self.forwarder.events.database;
        let found = database
            .read::<_, StoreError, _>(move |tx| subscriptions::get(tx, &scope, &name))
            .await?;
        let own = found.filter(|row| row.subscription == self.id && row.epoch == self.epoch);
        own.map(drop).ok_or(Stuck::Lost)
    }

    /// The next page, if who made the subscription may still read it.
    async fn read(&self, cursor: Cursor, limit: u32) -> Result<EventPage, Stuck> {
        let damaged = || Stuck::Later(format!("the subscription `{}` is damaged", self.row.name));
        let caller: Caller = serde_json::from_str(&self.row.caller).map_err(|_| damaged())?;
        let action = EventRead {
            filter: EventFilter {
                topics: serde_json::from_str(&self.row.topics).map_err(|_| damaged())?,
                run: self.row.run,
                kind: self.row.kind.clone(),
            },
            payloads: self.row.payloads,
        };
        let request = Authorised::obtain(&*self.forwarder.authorizer, caller, action)
            .map_err(|denied| Stuck::Later(denied.to_string()))?;
        let events = self.forwarder.events.clone();
        let read = move || page(&events, &request, &StartAt::After(cursor), limit);
        let read = tokio::task::spawn_blocking(read).await;
        Ok(read.map_err(|error| Stuck::Later(error.to_string()))??)
    }

    async fn publish(&mut self, events: impl Iterator<Item = Event>) -> Result<(), Stuck> {
        let messages = events
            .map(|event| self.message(&event))
            .collect::<Result<Vec<_>, _>>()?;
        let late = |_| BusError::new("the broker does not answer");
        let mut bus = if let Some(bus) = self.bus.take() {
            bus
        } else {
            let to: Destination = self.row.destination.parse().map_err(EventError::from)?;
            let connecting = self.forwarder.connect.connect(&to);
            tokio::time::timeout(PATIENCE, connecting)
                .await
                .map_err(late)??
        };
        tokio::time::timeout(PATIENCE, bus.publish(&messages))
            .await
            .map_err(late)??;
        self.bus = Some(bus);
        Ok(())
    }

    /// An event as it is sent. Its id tells apart what is sent again because somebody asked for it.
    fn message(&self, event: &Event) -> Result<Message, Stuck> {
        let body = serde_json::to_vec(event).map_err(|error| Stuck::Later(error.to_string()))?;
        Ok(Message {
            id: format!("{}.{}.{}", self.id, self.row.generation, event.id),
            topic: event.topic.clone(),
            key: event.run.to_string(),
            at: self.forwarder.engine.clock().now(),
            body,
        })
    }

    /// Keeps how far it has come.
    async fn advance(&mut self, cursor: &Cursor, count: usize) -> Result<(), Stuck> {
        let (text, fence) = (cursor.to_string(), (self.id, self.epoch));
        let (kept, at) = (text.clone(), self.forwarder.engine.clock().now());
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        let ours = self
            .forwarder
            .events
            .database
            .write::<_, StoreError, _>(move |tx| {
                subscriptions::advance(tx, fence, &text, count, at)
            })
            .await?;
        if !ours {
            return Err(Stuck::Lost);
        }
        self.kept = kept;
        Ok(())
    }

    /// Keeps why it has come no further.
    async fn note(&self, why: String) -> Result<bool, StoreError> {
        let why: String = why.chars().take(ERROR_MAX).collect();
        let (fence, at) = ((self.id, self.epoch), self.forwarder.engine.clock().now());
        self.forwarder
            .events
            .database
            .write::<_, StoreError, _>(move |tx| subscriptions::fail(tx, fence, &why, at))
            .await
    }

    /// A time between nothing and a longest one that doubles with each failure, so that many who
    /// wait for one broker do not come at once.
    fn back_off(&self, failures: i64) -> Duration {
        let doublings = u32::try_from(failures.clamp(1, 16) - 1).unwrap_or(0);
        let longest = BACK_OFF.saturating_mul(1 << doublings).min(BACK_OFF_MAX);
        let mut random = [0_u8; 2];
        self.forwarder.engine.entropy().fill(&mut random);
        longest * (u32::from(u16::from_le_bytes(random)) + 1) / (1 << 16)
    }
}
