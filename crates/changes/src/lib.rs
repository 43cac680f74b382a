//! Changes: a plan and a repository become a deployed, published and proven release.
//!
//! A change is one run of the durable function in [`function`]: PLAN → PATCH → VERIFY → GATE →
//! DEPLOY → PUBLISH, each stage a file of [`stage`] and a few steps of the journal. What the
//! stages hand on is small and typed; bytes stand in the blob store.
//!
//! * [`plan`] — what a person or an agent wants changed.
//! * [`intake`] — what is looked at before a run exists; [`forecast`] — what would come of it.
//! * [`verify`] — the checks of a repository and what they say, relative to the base revision.
//! * [`risk`] — how dangerous a change is, by a table of rules.
//! * [`target`] — where changes are deployed to.
//! * [`topics`] — what their entries are about, for whoever subscribes to events.
//! * [`retention`] — what goes when it is past its time.
//! * [`signing`] — the keys of a data directory.
//! * [`service`] — what callers may do: submit, show, decide, roll back.
//! * [`view`] — a change as people and programs see it, read from its journal.
//!
//! Nothing of a repository runs outside a sandbox, and what is checked, required and signed never
//! depends on a file of the change itself: configuration is read at the base revision and policy
//! from the data directory.

pub mod error;
pub mod forecast;
pub mod function;
pub mod intake;
pub mod layout;
pub mod plan;
pub mod retention;
pub mod risk;
pub mod service;
pub mod signing;
pub mod stage;
pub mod target;
pub mod topics;
pub mod verify;
pub mod view;
pub mod workshop;

pub use function::ChangeFunction;
pub use layout::Layout;
pub use matrix_worktree::{Git, LooseHunk};
pub use topics::TOPICS;
pub use workshop::{Settings, Workshop};
