//! What can go wrong with events, and how each reaches a person.

use matrix_core::{Code, Problem};
use matrix_store::StoreError;
use matrix_store::bus::{Broker, InvalidDestination};

use super::cursor::InvalidCursor;
use super::topic::InvalidPattern;

/// No subscription of this name.
pub const NO_SUBSCRIPTION: Code = Code::new("EVENT-0001", 404, 6, "no such subscription");
/// There is a subscription of this name.
pub const NAME_TAKEN: Code = Code::new("EVENT-0002", 409, 1, "the name is taken");
/// What was asked for cannot be understood.
pub const NOT_UNDERSTOOD: Code = Code::new("EVENT-0003", 422, 2, "not a subscription");
/// This build cannot speak to such a broker.
pub const NO_ADAPTER: Code = Code::new("EVENT-0004", 409, 1, "no adapter for this broker");
/// There are as many subscriptions as there may be.
pub const TOO_MANY: Code = Code::new("EVENT-0005", 409, 1, "too many subscriptions");

/// Why a request about events was refused.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// There is none of this name.
    #[error("there is no subscription `{0}`")]
    NoSubscription(String),
    /// There is one of this name.
    #[error("there is a subscription `{0}` already")]
    NameTaken(String),
    /// The name is not one.
    #[error("`{0}` is no name: 1 to 64 of a-z, 0-9 and `-`")]
    Name(String),
    /// No topics, or too many.
    #[error("a subscription has 1 to {0} patterns of topics")]
    Topics(usize),
    /// A pattern is not one.
    #[error(transparent)]
    Pattern(#[from] InvalidPattern),
    /// A cursor is not one.
    #[error(transparent)]
    Cursor(#[from] InvalidCursor),
    /// A destination is not one.
    #[error(transparent)]
    Destination(#[from] InvalidDestination),
    /// This build cannot speak to the broker.
    #[error("this build has no adapter for {0}")]
    NoAdapter(Broker),
    /// There are as many as there may be.
    #[error("there are {0} subscriptions, which is the most")]
    TooMany(i64),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<EventError> for Problem {
    fn from(error: EventError) -> Self {
        let text = error.to_string();
        match error {
            EventError::NoSubscription(_) => {
                Problem::new(NO_SUBSCRIPTION, text).help("see `matrix event subscriptions`")
            }
            EventError::NameTaken(_) => Problem::new(NAME_TAKEN, text)
                .help("take another name, or remove that one with `matrix event remove`"),
            EventError::Name(_)
            | EventError::Topics(_)
            | EventError::Pattern(_)
            | EventError::Cursor(_)
            | EventError::Destination(_) => Problem::new(NOT_UNDERSTOOD, text)
                .help("see `docs/reference/events.md` for what can be asked"),
            EventError::NoAdapter(broker) => {
                let feature = broker.scheme();
                Problem::new(NO_ADAPTER, text).help(format!("build it with `--features {feature}`"))
            }
            EventError::TooMany(_) => {
                Problem::new(TOO_MANY, text).help("remove one that is not needed")
            }
            EventError::Store(error) => error.into(),
        }
    }
}
