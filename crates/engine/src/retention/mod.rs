//! Retention of runs: a journal goes when its run ended long ago and nothing needs it.
//!
//! The rules are pure ([`rule`]). The removal is a run of its own ([`function`]), so that it is on
//! record what went, and so that it goes on wherever it was interrupted. It does three things:
//!
//! * It makes sure that the hashes of a run's entries are kept ([`cover`]): the tree over the journal
//!   stands on them, so heads, proofs of other entries and what was signed before hold as before.
//! * It marks the run as removed ([`remove`]), in a transaction that asks the rules once more. From
//!   then on whoever asks for the run is told that retention removed it, and when; its row stays.
//! * It lets the entries go ([`empty`]): by short deletions on SQLite, by months on PostgreSQL, where
//!   nobody but the owner of the tables may, whose functions ask for themselves.
//!
//! What a host may do of itself, and what callers may ask for, is in [`prune`]; whether everything that
//! says it was removed was removed, in [`record`].

mod cover;
mod empty;
mod function;
mod prune;
mod record;
mod remove;
mod rule;

pub use self::function::{KIND, RetentionFunction};
pub use self::prune::{Keeping, RunPrune, begin, keep_up, rehearse};
pub use self::record::accounted;
pub use self::remove::{Counted, Kept};
pub use self::rule::Reason;
