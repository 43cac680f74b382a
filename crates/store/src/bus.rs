//! The bus: where events go that somebody outside is told of.
//!
//! A [`Bus`] is a connection to one place of a broker. It is given messages in order and answers
//! when the broker has acknowledged all of them; whatever else it answers, they are given to it
//! again, each with the same [`Message::id`]. Adapters are cargo features of this crate: `nats`
//! (`JetStream`), `redis` (streams) and `kafka`.

mod destination;
#[cfg(feature = "kafka")]
mod kafka;
#[cfg(feature = "nats")]
mod nats;
#[cfg(feature = "redis")]
mod redis;
#[cfg_attr(
    not(any(feature = "nats", feature = "redis", feature = "kafka")),
    expect(dead_code, reason = "a build without adapters reads no credentials")
)]
mod secret;

use std::path::PathBuf;
use std::sync::Arc;

use async_trait::async_trait;
use matrix_core::Timestamp;

pub use destination::{Broker, Destination, InvalidDestination};
use secret::Secret;

/// A message to the outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// The same for the same event of the same subscription, whenever it is sent: brokers that
    /// recognise duplicates know them by it.
    pub id: String,
    /// The event's general topic.
    pub topic: String,
    /// What must stay in order among itself: the run.
    pub key: String,
    /// When it is sent. Brokers that keep messages for a time reckon it from here, not from when the
    /// event happened: what is sent late is kept no shorter.
    pub at: Timestamp,
    /// The event as JSON.
    pub body: Vec<u8>,
}

/// Why messages were not acknowledged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BusError(pub String);

impl BusError {
    /// An error with what went wrong; it holds no credentials.
    pub fn new(text: impl std::fmt::Display) -> Self {
        Self(text.to_string())
    }
}

/// A connection to one place of a broker.
#[async_trait]
pub trait Bus: Send + Sync {
    /// Sends messages in their order and returns when the broker has acknowledged all of them.
    async fn publish(&mut self, messages: &[Message]) -> Result<(), BusError>;
}

/// Makes connections.
#[async_trait]
pub trait Connect: Send + Sync {
    /// Connects to a place.
    async fn connect(&self, destination: &Destination) -> Result<Box<dyn Bus>, BusError>;
}

/// Connects to the brokers that this build has adapters for.
#[derive(Debug, Clone)]
pub struct Brokers {
    credentials: Arc<PathBuf>,
}

impl Brokers {
    /// Credentials that a destination names are files of this directory.
    pub fn new(credentials: PathBuf) -> Self {
        Self {
            credentials: Arc::new(credentials),
        }
    }

    /// Whether this build has an adapter.
    pub const fn has(broker: Broker) -> bool {
        match broker {
            Broker::Nats => cfg!(feature = "nats"),
            Broker::Redis => cfg!(feature = "redis"),
            Broker::Kafka => cfg!(feature = "kafka"),
        }
    }
}

#[async_trait]
impl Connect for Brokers {
    async fn connect(&self, destination: &Destination) -> Result<Box<dyn Bus>, BusError> {
        let secret = match &destination.credentials {
            Some(name) => Some(Secret::read(&self.credentials, name)?),
            None => None,
        };
        match destination.broker {
            #[cfg(feature = "nats")]
            Broker::Nats => Ok(Box::new(nats::Nats::connect(destination, secret).await?)),
            #[cfg(feature = "redis")]
            Broker::Redis => Ok(Box::new(redis::Redis::connect(destination, secret).await?)),
            #[cfg(feature = "kafka")]
            Broker::Kafka => Ok(Box::new(kafka::Kafka::connect(destination, secret).await?)),
            #[cfg(not(all(feature = "nats", feature = "redis", feature = "kafka")))]
            broker => {
                drop(secret);
                Err(BusError::new(format_args!(
                    "this build has no adapter for {broker}"
                )))
            }
        }
    }
}
