//! Who acts, what they may do, and who has to be asked.
//!
//! Read [`policy`] first: it decides about every function and about every release. [`role`] and
//! [`votes`] are the words it uses.

pub mod policy;
pub mod role;
pub mod votes;

pub use policy::{Access, EvidenceStatus, GateFacts, GateVerdict, PolicyEngine, PolicyError, Risk};
pub use role::Role;
pub use votes::{Ballot, Choice, Tally, Vote};
