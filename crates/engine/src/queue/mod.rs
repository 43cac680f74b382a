//! Who is next: lanes, priorities, fairness between tenants, and limits.
//!
//! A run that is ready stands in a *flow*: its lane, its tenant, the capabilities it requires and
//! its priority. Within a flow the first to come is the first to go. Between flows of a tenant each
//! level of priority is worth some time of waiting ([`Rules::ageing`]), so that the urgent go first
//! and nobody starves. Between tenants it goes round (deficit round robin by weight), whatever they
//! have queued.
//!
//! A run that begins takes a slot of its lane, of its tenant and of its concurrency key; a *slot*
//! is a run that runs, counted in the transaction that makes it run, so that the limits hold across
//! processes and no slot can leak. A run that waits for something outside holds none.
//!
//! * [`Placing`] — what a caller says about where a run queues.
//! * [`pause`] and [`resume`] — what a person says about a key.
//! * [`Rules`] — what the operator says about lanes, keys and tenants.
//! * [`Queue`] — the decision, without any input or output: it asks for what it needs to know
//!   ([`Next::Look`], [`Next::Fill`]) and names whom to take.

mod line;
mod machine;
mod pause;
mod placing;
mod rules;
mod show;
#[cfg(test)]
mod tests;

pub use machine::{Fill, Next, Queue, Standing, Took};
pub use pause::{FOR_GOOD, QueuePause, QueueResume, pause, resume};
pub use placing::{Again, BadPlacing, DEFAULT_LANE, Placing, Priority, Singleton, is_key, is_name};
pub use rules::{Limit, Rate, Rules};
pub use show::{Depth, LaneView, PausedKey, QueueRead, QueueView, show};
