//! The model gateway: one door to every model, for our agents and for anyone with a client of a
//! model provider.
//!
//! Read [`chat`] first: a conversation and its answer in words that belong to no provider. [`wire`]
//! turns them into each protocol and back, in both directions, and does nothing else. [`provider`]
//! asks, [`registry`] knows which models there are, [`route`] chooses among them, [`budget`] says
//! whether a call may be paid for, [`price`] what it costs, [`ledger`] keeps what was used.
//! [`redact`] keeps back what must not go to a model. [`gateway`] is the door: it brings them together
//! for one call.
//!
//! What holds here: an answer is the same whether it came as a stream or as a whole; a stream that
//! was cut is an error, never an end; no call is made whose price nobody knows; budgets are never
//! overdrawn by more than one call per process costs beyond what was reserved for it; keys are
//! references and are read at the last moment.

pub mod admission;
pub mod batch;
pub mod budget;
pub mod chat;
pub mod delta;
pub mod embed;
pub mod error;
pub mod estimate;
pub mod gateway;
pub mod inference;
pub mod ledger;
pub mod neighbours;
pub mod price;
pub mod provider;
pub mod redact;
pub mod registry;
pub mod rerank;
pub mod route;
pub mod secret;
pub mod sources;
pub mod usage;
pub mod wire;

pub use error::ModelError;
pub use gateway::{Answered, Cached, Gateway, GatewayParts, Guards, ModelUse, Receipt, Streaming};
pub use registry::Registry;
