//! VERIFY: what a change's checks say, relative to the revision it starts from.
//!
//! The room around this module runs one durable step for each (check, side, attempt) and gives
//! the results to a pure judge:
//!
//! 1. [`ProjectConfig::parse`] reads `matrix.yaml` of the **base** revision, [`Project::detect`]
//!    finds the checks of both revisions and pairs them.
//! 2. [`Toolchains::find`] looks for the host's tools once; [`prepare`] fetches what lock files
//!    name.
//! 3. [`run_check`] executes one attempt of one [`CheckJob`] on one [`Side`], in a sandbox of its
//!    own on a throw-away copy of its own, and gives a small [`CheckResult`] with the bytes behind
//!    it. [`needs_second_attempt`] says whether a red result is to be tried again.
//! 4. [`judge()`] turns all results of a kind into `Evidence` and [`Facts`], what the diff does to
//!    the tests among them; [`Facts::of_project`] adds what the checks' definitions say.
//!
//! What holds here: nothing of a repository runs outside a sandbox; what cannot run is skipped
//! with the reason and never passed; a change is judged by the checks of its base; and output of
//! the code under change is read with limits and without trust.

mod attempt;
mod audit;
mod command;
pub mod config;
mod counted;
mod definition;
pub mod detect;
mod diff;
pub mod error;
pub mod executor;
pub mod facts;
pub mod judge;
mod lockfiles;
mod outputs;
pub mod prepare;
pub mod project;
mod read;
mod requires;
pub mod result;
pub mod run;
mod sbom;
mod security;
mod words;

pub use config::{CustomCheck, Environment, Health, ProjectConfig, TargetConfig, TargetKind};
pub use counted::Counted;
pub use detect::{Ecosystem, Recipe};
pub use error::VerifyError;
pub use executor::{Executor, NotExecuted};
pub use facts::Facts;
pub use judge::{Judged, judge, needs_second_attempt};
pub use matrix_sandbox::toolchain::{Search, Tool, Toolchain, Toolchains};
pub use prepare::{Prepared, Preparer, Provision, Ready};
pub use project::{CheckJob, Invocation, Project, Work};
pub use result::{CheckResult, Checked, Dependency, Produced, Report, Side, State};
pub use run::{Context, LogSink, Tree, run_check};
pub use security::{Weakening, secrets_in, weakening};
