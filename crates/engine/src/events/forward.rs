//! Sends what is behind each subscription's cursor to its broker.
//!
//! One process sends a subscription at a time, under an epoch: a host that is alone with its
//! database takes all of them; beside others it takes those that nobody has, and those of an owner
//! whose counter stood still for a lease on *our* monotonic clock. Whoever lost one may still send
//! what it had read, which then arrives twice with the same id, but moves no cursor.

mod deliver;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use matrix_core::Authorizer;
use matrix_core::id::SubscriptionId;
use matrix_store::StoreError;
use matrix_store::bus::Connect;
use matrix_store::tables::subscriptions::{self, SubscriptionRow};
use tokio::sync::watch;
use tokio::task::{AbortHandle, JoinSet};
use tracing::Instrument;

use self::deliver::Delivery;
use super::Events;
use crate::engine::Engine;

/// The most subscriptions that one process looks at.
const SUBSCRIPTIONS_MAX: i64 = 10_000;

/// Sends events for the subscriptions of a database. Cheap to clone.
#[derive(Clone)]
pub struct Forwarder {
    pub(super) engine: Engine,
    pub(super) events: Events,
    pub(super) connect: Arc<dyn Connect>,
    pub(super) authorizer: Arc<dyn Authorizer>,
}

impl std::fmt::Debug for Forwarder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Forwarder").finish_non_exhaustive()
    }
}

/// A subscription that is being sent by this process.
struct Sending {
    epoch: i64,
    task: AbortHandle,
}

/// What this process knows of the others' subscriptions: their counter, and since when it stands.
type Seen = HashMap<SubscriptionId, (i64, Duration)>;

impl Forwarder {
    /// Sends for those who made a subscription, what they may read. `connect` makes connections to
    /// brokers.
    pub fn new(
        engine: Engine,
        events: Events,
        connect: Arc<dyn Connect>,
        authorizer: Arc<dyn Authorizer>,
    ) -> Self {
        Self {
            engine,
            events,
            connect,
            authorizer,
        }
    }

    /// Sends until it is told to end, and then gives up what it has.
    pub async fn keep_up(self, mut closing: watch::Receiver<bool>) {
        let period = self.engine.lease_length() / 3;
        let (mut sending, mut seen) = (BTreeMap::new(), Seen::new());
        let mut tasks = JoinSet::new();
        while !*closing.borrow_and_update() {
            if let Err(error) = self.manage(&mut sending, &mut seen, &mut tasks).await {
                tracing::warn!(%error, "subscriptions were not looked at");
            }
            tokio::select! {
                biased;
                closed = closing.changed() => {
                    if closed.is_err() {
                        break;
                    }
                }
                () = self.events.changed.notified() => {}
                // One that ended lost its subscription; the next look says to whom.
                Some(_) = tasks.join_next(), if !tasks.is_empty() => {
                    sending.retain(|_, Sending { task, .. }| !task.is_finished());
                }
                () = tokio::time::sleep(period) => {}
            }
        }
        tasks.shutdown().await;
        let own = self.engine.worker().to_owned();
        let released = self
            .events
            .database
            .write::<_, StoreError, _>(move |tx| subscriptions::release(tx, &own))
            .await;
        if let Err(error) = released {
            tracing::warn!(%error, "subscriptions stay marked as this process's");
        }
    }

    /// Ends what is not ours any more and takes what is to be taken.
    async fn manage(
        &self,
        sending: &mut BTreeMap<SubscriptionId, Sending>,
        seen: &mut Seen,
        tasks: &mut JoinSet<()>,
    ) -> Result<(), StoreError> {
        let own = self.engine.worker().to_owned();
        if !sending.is_empty() && !self.engine.is_alone() {
            let own = own.clone();
            self.events
                .database
                .write::<_, StoreError, _>(move |tx| subscriptions::beat(tx, &own))
                .await?;
        }
        let rows = self
            .events
            .database
            .read::<_, StoreError, _>(|tx| subscriptions::all(tx, SUBSCRIPTIONS_MAX))
            .await?;
        sending.retain(|id, Sending { epoch, task }| {
            let stands = rows
                .iter()
                .any(|row| row.subscription == *id && row.epoch == *epoch);
            if !stands {
                task.abort();
            }
            stands && !task.is_finished()
        });
        seen.retain(|id, _| rows.iter().any(|row| row.subscription == *id));
        for row in rows {
            if sending.contains_key(&row.subscription) || !self.is_free(&row, seen) {
                continue;
            }
            let (id, epoch, name) = (row.subscription, row.epoch, own.clone());
            let claimed = self
                .events
                .database
                .write::<_, StoreError, _>(move |tx| subscriptions::claim(tx, id, &name, epoch))
                .await?;
            if !claimed {
                continue;
            }
            tracing::debug!(subscription = %row.name, "this process sends it");
            let (epoch, span) = (
                epoch + 1,
                tracing::info_span!("subscription", name = %row.name),
            );
            let delivery = Delivery::new(self.clone(), row, epoch);
            let task = tasks.spawn(delivery.run().instrument(span));
            sending.insert(id, Sending { epoch, task });
        }
        Ok(())
    }

    /// Whether nobody else sends a subscription.
    fn is_free(&self, row: &SubscriptionRow, seen: &mut Seen) -> bool {
        let Some(owner) = &row.owner else {
            return true;
        };
        if self.engine.is_alone() || owner == self.engine.worker() {
            return true;
        }
        let now = self.engine.clock().monotonic();
        let (beat, since) = *seen.entry(row.subscription).or_insert((row.beat, now));
        if beat != row.beat {
            seen.insert(row.subscription, (row.beat, now));
            return false;
        }
        now.saturating_sub(since) >= self.engine.lease_length()
    }
}
