//! The arguments of `matrix run`.

use std::path::PathBuf;

use clap::Subcommand;
use matrix_core::RunId;

use super::{ManyArgs, RunListArgs, WhichArgs};

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// Runs, the newest first.
    List(RunListArgs),
    /// One run with its steps.
    Show {
        /// The run.
        run: RunId,
        /// Every entry of its journal.
        #[arg(long)]
        journal: bool,
    },
    /// What a run waits for, since when, and why.
    Why {
        /// The run.
        run: RunId,
    },
    /// Run its function over its journal again, without any effect, and compare how it ends.
    Replay {
        /// The run.
        run: RunId,
    },
    /// Write a run to a file that opens elsewhere; payloads that hold secrets stay.
    Export {
        /// The run.
        run: RunId,
        /// Where to write it; without one, to standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a file that `run export` wrote, and show its run.
    Open {
        /// The file.
        file: PathBuf,
        /// With its journal.
        #[arg(long)]
        journal: bool,
        /// A trusted public key, PEM; without one, those of the data directory.
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
    },
    /// Follow a run until it ends or waits.
    Watch {
        /// The run.
        run: RunId,
    },
    /// End a run, or all that a filter finds, at its next step.
    Cancel {
        #[command(flatten)]
        which: WhichArgs,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let a run, or all that a filter finds, rest at its next step.
    Pause {
        #[command(flatten)]
        which: WhichArgs,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Go on after a crash (without a run: with all) or after a pause.
    Resume {
        /// The run; a paused run is resumed only when it is named, or found by a filter.
        #[arg(conflicts_with = "words")]
        run: Option<RunId>,
        #[command(flatten)]
        many: ManyArgs,
    },
    /// Do a step, and everything after it, again.
    ///
    /// Of the runs that a filter finds, those that rest, each from the step that failed.
    Retry {
        #[command(flatten)]
        which: WhichArgs,
        /// The step; by default the last that failed or was interrupted.
        #[arg(long, value_name = "PATH", conflicts_with = "words")]
        step: Option<String>,
    },
    /// Start a new run that shares what another one did before a step, and goes its own way.
    Fork {
        /// The run.
        run: RunId,
        /// The first step that the new run does itself; by default it goes on at the other one's end.
        #[arg(long, value_name = "PATH")]
        step: Option<String>,
        /// Another input, JSON; only for kinds of runs that take one as it stands.
        #[arg(long, value_name = "JSON")]
        input: Option<String>,
        /// Another version of its function.
        #[arg(long, value_name = "VERSION")]
        function_version: Option<String>,
        /// One line for people.
        #[arg(long)]
        title: Option<String>,
    },
    /// Keep a run from being removed by retention until `run unhold`.
    Hold {
        /// The run.
        run: RunId,
        /// Why.
        #[arg(long)]
        reason: String,
    },
    /// Let go of a run that is held.
    Unhold {
        /// The run.
        run: RunId,
    },
    /// Remove the journals of runs that are past their time (`keep_runs`) and that nothing needs.
    Prune {
        /// Only tell what would go.
        #[arg(long)]
        dry_run: bool,
    },
    /// Send a named value to a run.
    Signal {
        /// The run.
        run: RunId,
        /// The signal's name.
        name: String,
        /// The value, JSON.
        #[arg(default_value = "null")]
        value: String,
    },
}
