//! The command line of steps that workers outside do.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use matrix_core::RunId;

use super::PlacingArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Let workers do a step, or several one after the other, and follow them.
    Run(Box<TaskRunArgs>),
    /// Who has which step of a run, since when, and how far they are.
    List {
        /// The run.
        run: RunId,
    },
    /// What workers printed about the steps of a run.
    Logs {
        /// The run.
        run: RunId,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct TaskRunArgs {
    /// What a worker must be able to do.
    #[arg(
        required_unless_present = "steps",
        conflicts_with = "steps",
        requires = "effect"
    )]
    pub(crate) name: Option<String>,
    /// What a lost worker means: it is done again, done again with the same key, done again a
    /// bounded number of times, or in doubt.
    #[arg(long, value_parser = ["read", "idempotent", "metered", "external"],
        conflicts_with = "steps")]
    pub(crate) effect: Option<String>,
    /// What the worker is given, JSON.
    #[arg(long, value_name = "JSON", conflicts_with = "steps")]
    pub(crate) input: Option<String>,
    /// The queue whose workers may take it.
    #[arg(long, value_name = "NAME", conflicts_with = "steps")]
    pub(crate) queue: Option<String>,
    /// The most attempts.
    #[arg(long, value_name = "N", conflicts_with = "steps")]
    pub(crate) attempts: Option<u32>,
    /// How many seconds a worker may take.
    #[arg(long, value_name = "SECONDS", conflicts_with = "steps")]
    pub(crate) timeout_s: Option<u64>,
    /// How many seconds a worker may show no heartbeat.
    #[arg(long, value_name = "SECONDS", conflicts_with = "steps")]
    pub(crate) lease_s: Option<u64>,
    /// A file with several steps, JSON: a list, or an object with `steps` and `title`.
    #[arg(long, value_name = "FILE")]
    pub(crate) steps: Option<PathBuf>,
    /// One line for people.
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "",
        hide_default_value = true
    )]
    pub(crate) title: String,
    #[command(flatten)]
    pub(crate) placing: PlacingArgs,
    /// Return as soon as the run is durable.
    #[arg(long)]
    pub(crate) detach: bool,
}
