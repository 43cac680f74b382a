//! Which model is asked: what stands between a name and the provider that answers.
//!
//! [`breaker`] and the choices of [`choose`] are pure; [`health`] keeps what was seen of each model
//! in this process and asks them.

mod breaker;
mod choose;
mod health;

pub use breaker::Gate;
pub use choose::{Candidate, order};
pub use health::{Attempt, Board, Shut, State};
