//! Who acts, what they may do, and who has to be asked.
//!
//! Read [`policy`] first: it decides about every function and about every release, in Cedar.
//! [`role`] and [`votes`] are the words it uses: what a principal is here, and whose approval
//! counts. [`principals`] keeps the people and programs of a data directory and turns a token
//! into a caller.

pub mod policy;
pub mod principals;
pub mod role;
pub mod votes;

pub use policy::{
    Access, EvidenceStatus, GateFacts, GateVerdict, Observation, PolicyEngine, PolicyError, Risk,
    Roster,
};
pub use principals::{Account, Accounts, NewUser, Token, UserAdd, UserError, UserRead};
pub use role::Role;
pub use votes::{Ballot, Choice, Tally, Vote};
