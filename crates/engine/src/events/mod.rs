//! Events: what happened to runs, for whoever wants to be told.
//!
//! Every committed entry of a journal is an event. It has a position (a shard and a number in it,
//! see [`cursor`]) and topics ([`topic`]), and is told as metadata with links; payloads only to who
//! asked for them and may read them, and never one that holds a secret.
//!
//! * [`read`] gives one tenant's events behind a cursor, a page at a time; nobody skips an entry
//!   that is committed late.
//! * A *subscription* ([`subscription`], one file for each verb beside it) is a cursor that lasts:
//!   the [`Forwarder`] of a host sends what is behind it to a broker and moves it when the broker
//!   has acknowledged. At least once, each event with the same message id whenever it is sent.

pub mod cursor;
pub mod error;
mod event;
mod forward;
mod read;
mod remove;
mod reset;
mod subscribe;
pub mod subscription;
pub mod topic;

use std::sync::Arc;

use matrix_store::{Blobs, Database};
use tokio::sync::Notify;

pub use cursor::{Cursor, StartAt};
pub use error::EventError;
pub use event::{Event, EventLinks};
pub use forward::Forwarder;
pub use read::{EVENTS_MAX, EventFilter, EventPage, EventRead, page};
pub use remove::{EventRemove, remove};
pub use reset::{EventReset, reset};
pub use subscribe::{EventSubscribe, subscribe};
pub use subscription::{SubscriptionState, SubscriptionView, list, show};
pub use topic::{TopicPattern, TopicRule};

/// Names what a text holds that must not leave; nothing means that it may.
pub type Screen = Arc<dyn Fn(&str) -> Vec<String> + Send + Sync>;

/// Where events come from and how they are told. Cheap to clone.
#[derive(Clone)]
pub struct Events {
    database: Database,
    blobs: Blobs,
    rules: Arc<[TopicRule]>,
    screen: Screen,
    /// Notified when a subscription was made, reset or removed here.
    changed: Arc<Notify>,
}

impl std::fmt::Debug for Events {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Events").finish_non_exhaustive()
    }
}

impl Events {
    /// Events of a database, with the topics that the rooms above give them. `screen` finds what
    /// must not leave in a payload.
    pub fn new(database: Database, blobs: Blobs, rules: &[TopicRule], screen: Screen) -> Self {
        Self {
            database,
            blobs,
            rules: rules.into(),
            screen,
            changed: Arc::default(),
        }
    }
}
