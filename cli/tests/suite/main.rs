//! The program as people and programs use it: through its command line, its exit codes, its last
//! line of JSON and its loopback port. Nothing here looks inside.
//!
//! * [`site`] — a directory with repository, data directory and the program, and what must not be
//!   left behind.
//! * [`serving`] — a server, and a client that sends what it is told.
//! * [`examples`] — every example with its plans.
//! * [`refusals`] — what is refused before a run exists, and what ends one early.
//! * [`hostile`] — checks that do not end, multiply, shout or outgrow their place.
//! * [`weaken`] — plans that weaken what they are judged by.
//! * [`approvals`] — people who decide.
//! * [`deployments`] — what is deployed, going back, and what can no longer be acted on.
//! * [`forecasts`] — what is told of a plan before anything runs.
//! * [`journal`] — checkpoints and proofs of the journal, and what they do not let pass.
//! * [`portable`] — a run as a file, opened elsewhere.
//! * [`replay`] — a change over its journal again.
//! * [`steering`] — hosts, and runs that are stopped, paused, resumed and taken over.
//! * [`hosts`] — hosts that die, are asked by others, or lose their directory; `serve` and its names.
//! * [`postgres`] — state in PostgreSQL instead of the data directory, and what is refused there.
//! * [`blobs`] — blobs in a bucket, and a store of them that goes away.
//! * [`processes`] — several processes on one database, which die, stop and lose it.
//! * [`ages`] — data directories of older and newer programs.
//! * [`models`] — models, and clients of providers that are pointed at them.
//! * [`spending`] — what processes spend on models together.
//! * [`batching`] — batches, processes that die meanwhile, and a provider that fails.
//! * [`upstream`] — a provider of models that counts.
//! * [`lists`] — lists that are narrowed.
//! * [`retention`] — runs that are past their time.
//! * [`remote`] — workers outside, which do steps, die, hang, and speak twice.
//! * [`machine`] — a machine that is full, read-only, without tools, or late.
//! * [`faces`] — help, configuration, JSON everywhere.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod agents;
mod ages;
mod approvals;
mod batching;
mod blobs;
#[path = "../../../crates/store/tests/blobs/bucket.rs"]
#[expect(dead_code, reason = "the store's own tests use more of it")]
mod bucket;
mod deployments;
mod examples;
mod faces;
mod forecasts;
mod hostile;
mod hosts;
mod journal;
mod lists;
mod machine;
mod models;
mod portable;
mod postgres;
#[path = "../../../crates/store/tests/conformance/server.rs"]
#[expect(
    dead_code,
    clippy::expect_used,
    reason = "the store's own tests use more of it, and expect"
)]
mod postgresql;
mod processes;
mod queue;
mod refusals;
mod remote;
mod replay;
mod retention;
mod schedules;
mod serving;
mod site;
mod spending;
mod steering;
mod upstream;
mod weaken;
