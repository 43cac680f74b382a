//! What must not go to a model: secrets, and what tells of people.
//!
//! Before a call is planned, priced or looked for among kept answers, every text of it is looked at
//! ([`texts`] says which there are, [`detect`] what is in them). What is done with what is found is
//! decided by the operator and the route together ([`rules`]): it goes on, a placeholder goes in its
//! place ([`vault`]), or the call is refused. So budgets, caches, digests and journals know the request
//! as it was sent. Placeholders in an answer are turned back last of all, for the asker alone
//! ([`screen`] for an answer as a whole, [`flow`] for a stream).
//!
//! Whoever redacts is behind one port ([`port`]): our patterns in this process, and a service of the
//! operator's over HTTP ([`hook`]), which is asked after them. Nothing here fails open: a service that
//! does not answer refuses the call. Values are in no error, log, count or event.

mod checks;
mod class;
mod detect;
mod flow;
mod hook;
mod port;
mod rules;
mod screen;
mod texts;
mod vault;

pub use self::class::{Class, Counts, Topic, UnknownTopic};
pub use self::detect::{Finding, find};
pub(crate) use self::flow::Flow;
pub(crate) use self::hook::Hook;
pub use self::hook::HookSpec;
pub(crate) use self::port::{Redactor, Refused};
pub use self::rules::{Action, GuardSpec, Policy, Record, Rules};
pub(crate) use self::screen::{Screen, cleaned};
pub(crate) use self::texts::Texts;
