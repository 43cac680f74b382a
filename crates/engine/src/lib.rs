//! Runs: durable functions whose every effect is a step in an append-only, hash-chained journal.
//!
//! A [`DurableFunction`] is an ordinary async function over a [`Run`]. Whatever it does to the
//! world it does in a step, and each step's result is an entry of the journal before anyone sees
//! it. After a crash the function simply runs again: recorded steps answer from the journal
//! ([`history`]), the first unrecorded one goes on.
//!
//! * [`entry`] — what an entry is and how the chain is computed, so that anybody can check it.
//! * [`journal`] — appending under a fence (run, epoch, head), reading, verifying, erasing.
//! * [`step`] and [`run`] — the surface a durable function sees: steps by effect class, branches,
//!   timers, signals, approvals.
//! * [`worker`] — one owner drives one run: replays, moves the inbox into the journal, parks.
//! * [`engine`] — claims ready runs, wakes due ones, sweeps dead owners' runs back to the queue.
//! * [`meters`] — what it counts of itself.
//! * [`queue`] — who is next: lanes, priorities, fairness between tenants, limits.
//! * [`seal`] — a tree over all entries, its signed heads, and proofs for those outside.
//! * [`retention`] — what ended long ago and nobody needs goes, and it is on record that it did.
//! * [`runfile`] — one run as a file, to be opened elsewhere.
//! * [`spans`] — what is told to a tracing system.
//! * [`storage`] — the way to the database, which a test can make long and bad.
//! * [`tasks`] — steps that workers outside do: offers, leases, reports.
//! * [`events`] — what is committed, for whoever wants to be told; subscriptions and their sending.
//! * [`schedule`] — runs that start others at times.
//! * [`runs`] — what callers may do with runs, one file for each verb.
//!
//! Two rules hold everywhere. One owner: every append names the epoch it was claimed under, and an
//! append under an old epoch is refused. One hand-over: whatever happens to an owner, a run passes
//! through the queue (`ready`) before anyone else gets it.

pub mod engine;
pub mod entry;
pub mod error;
pub mod events;
pub mod history;
pub mod journal;
mod lease;
mod lineage;
pub mod meters;
pub mod queue;
pub mod retention;
pub mod run;
pub mod runfile;
pub mod runs;
pub mod schedule;
pub mod seal;
pub mod spans;
pub mod step;
pub mod stopped;
pub mod storage;
pub mod tasks;
mod wait;
pub mod worker;

pub use engine::{Beside, Engine, EngineOptions, NewRun, OnFullDisk, Scheduling};
pub use entry::{Draft, Entry, EntryKind};
pub use error::{RunError, StepError};
pub use events::{Events, Forwarder};
pub use journal::Journal;
pub use run::{Child, Decision, NewChild, Progress, Run, Saga, Verdict};
pub use step::{EffectClass, Later, RetryPolicy, Step, StepContext};
pub use tasks::{Task, TaskFunction, WorkerChoice};
pub use worker::DurableFunction;
