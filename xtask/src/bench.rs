//! `bench`: measures us and, right beside, a peer doing the same on the same machine in the same
//! minute. Prints a table and keeps nothing; what is worth keeping is written down by a person.

mod change;
mod cli;
mod contest;
mod engine;
mod measure;
mod models;
mod node;
mod queue;
mod remote;
mod serve;
mod verify;

use anyhow::Result;
use clap::ValueEnum;
use clap::builder::PossibleValue;

use crate::process;
use crate::workspace::Workspace;

/// What can be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Name {
    /// Starting a sandbox
    Sandbox,
    /// Verifying a bundle
    Verify,
    /// Starting the command line
    Cli,
    /// A whole change, from its plan to its release
    Change,
    /// The server's start and memory
    Serve,
    /// Durable steps
    Engine,
    /// Durable steps that another process does
    Remote,
    /// Jobs on PostgreSQL
    Queue,
    /// Models through the gateway
    Models,
}

impl Name {
    /// All of them.
    pub(crate) const ALL: [Self; 9] = [
        Self::Sandbox,
        Self::Verify,
        Self::Cli,
        Self::Change,
        Self::Serve,
        Self::Engine,
        Self::Remote,
        Self::Queue,
        Self::Models,
    ];
}

impl ValueEnum for Name {
    fn value_variants<'a>() -> &'a [Self] {
        &Self::ALL
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(match self {
            Self::Sandbox => PossibleValue::new("sandbox").help("Starting a sandbox"),
            Self::Verify => PossibleValue::new("verify").help("Verifying a bundle"),
            Self::Cli => PossibleValue::new("cli").help("Starting the command line"),
            Self::Change => {
                PossibleValue::new("change").help("A whole change, from its plan to its release")
            }
            Self::Serve => PossibleValue::new("serve").help("The server's start and memory"),
            Self::Engine => PossibleValue::new("engine").help("Durable steps"),
            Self::Remote => {
                PossibleValue::new("remote").help("Durable steps that another process does")
            }
            Self::Queue => PossibleValue::new("queue").help("Jobs on PostgreSQL"),
            Self::Models => PossibleValue::new("models").help("Models through the gateway"),
        })
    }
}

/// Measures one thing.
pub(crate) fn run(name: Name, rounds: Option<usize>) -> Result<()> {
    let workspace = Workspace::read()?;
    match name {
        Name::Sandbox => sandbox(&workspace),
        Name::Verify => verify::run(&workspace, rounds.unwrap_or(50)),
        Name::Cli => cli::run(&workspace, rounds.unwrap_or(100)),
        Name::Change => change::run(&workspace, rounds.unwrap_or(5)),
        Name::Serve => serve::run(&workspace, rounds.unwrap_or(10)),
        Name::Engine => engine::run(&workspace, rounds.unwrap_or(5)),
        Name::Remote => remote::run(&workspace, rounds.unwrap_or(5)),
        Name::Queue => queue::run(&workspace, rounds.unwrap_or(5)),
        Name::Models => models::run(&workspace, rounds.unwrap_or(3)),
    }
}

/// The sandbox's own program measures it, because only it can start one without a whole change.
fn sandbox(workspace: &Workspace) -> Result<()> {
    let launcher = workspace.build("quick")?;
    process::run(
        workspace
            .cargo()
            .args(["run", "--quiet", "--profile", "quick", "--locked"])
            .args([
                "--package",
                "matrix-sandbox",
                "--example",
                "start_cost",
                "--",
            ])
            .arg(launcher),
    )
}
