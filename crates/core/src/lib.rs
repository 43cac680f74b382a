//! The words of the domain: ids, time, digests, callers, problems.
//!
//! Every other room speaks these words, so this crate does nothing by itself: no file, no
//! socket, no thread. The two exceptions are [`system`], which reads the machine's clock and
//! its random source for the one place that composes the product; everybody else is handed a
//! [`Clock`] and an [`Entropy`] and can therefore be tested with a fixed time and a fixed seed.
//!
//! Read in this order: [`id`] and [`digest`] name things, [`time`] dates them, [`caller`] says
//! who acts and where, [`authorise`] is the only door to a service function, [`problem`] is how
//! everything that goes wrong reaches a person.

pub mod authorise;
pub mod caller;
pub mod canonical;
pub mod clock;
pub mod digest;
pub mod id;
pub mod meter;
pub mod money;
pub mod problem;
pub mod recent;
pub mod system;
pub mod time;

pub use authorise::{Action, Authorised, Authorizer, Denied};
pub use caller::{Caller, Principal, PrincipalKind, Scope};
pub use clock::{Clock, Entropy};
pub use digest::Digest;
pub use id::RunId;
pub use money::Money;
pub use problem::{Code, Problem};
pub use recent::Recent;
pub use time::Timestamp;
