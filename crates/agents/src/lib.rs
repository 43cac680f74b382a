//! Agents: a goal, a model, tools, and a journal.
//!
//! An agent's work is a run. What it decides next follows from its journal alone: [`machine`] is
//! pure, takes what the model said and what tools gave, and names the next command; [`function`] does
//! what it is told, each call of a model a metered step, each call of a tool a step of the tool's
//! effect class. So a run that was killed anywhere goes on without asking a model twice, a fork
//! shares what was paid for, and a replay costs nothing.
//!
//! What an agent *is* stands in its definition ([`definition`]), whose versions do not change; a run
//! keeps the one that it began with. Its hands are [`tools`], which work in a sandbox that stays
//! open on a work tree of its own ([`workspace`]); what a tool wrote is kept beside its result, so
//! that the tree can be laid out again anywhere.
//!
//! [`service`] is what the faces call.

pub mod definition;
pub mod error;
pub mod function;
pub mod machine;
pub mod service;
pub mod tools;
pub mod topics;
pub mod workspace;

pub use definition::{AgentKind, Definition};
pub use error::AgentError;
pub use function::{AgentFunction, AgentInput, Done, KIND};
pub use tools::Toolbox;
pub use workspace::Workshop;
