//! The project's own automation, and its one door: `cargo xtask …`.
//!
//! Everything a person or a machine does with this repository beyond writing code is a command
//! here, so that there is one way to do it: [`demo`] shows the product, [`test`] says whether the
//! tree is good, [`check`] holds the rules that a compiler does not know, [`generate`] writes the
//! files that are made from others, [`bench`] measures, [`nightly`] is what takes too long for
//! every day.
//!
//! Nothing here installs or compiles a tool on the way; what is missing is named, with what to do
//! about it. The one exception are the validators that tests compare our formats with: [`tools`]
//! keeps them in a Python environment under the target directory.

mod bench;
mod check;
mod demo;
mod generate;
mod machine;
mod nightly;
mod process;
mod say;
mod stages;
mod test;
mod tools;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// The project's own automation.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build Matrix and take an example repository from a plan to a signed release
    Demo {
        /// Passed on to `matrix demo`
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    /// Say whether the tree is good: format, rules, lints and every test
    Test,
    /// Check the rules that the compiler does not know
    Check,
    /// Write the files that are made from others
    Generate,
    /// Measure, beside a peer doing the same
    Bench {
        /// What to measure
        name: bench::Name,
        /// How many times each command is measured
        #[arg(long)]
        rounds: Option<usize>,
    },
    /// Run what takes too long for every day: many more cases, the ignored tests, every benchmark
    Nightly,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = |()| ExitCode::SUCCESS;
    let result = match arguments.command {
        Command::Demo { rest } => demo::run(&rest).map(done),
        Command::Test => Ok(test::run()),
        Command::Check => check::run().map(done),
        Command::Generate => generate::run().map(done),
        Command::Bench { name, rounds } => bench::run(name, rounds).map(done),
        Command::Nightly => nightly::run().map(done),
    };
    result.unwrap_or_else(|error| {
        say::error(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}
