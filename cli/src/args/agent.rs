//! The command line of agents.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use matrix_core::RunId;

use crate::placing::PlacingArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentCommand {
    /// Give an agent a goal, and follow its work.
    Run(Box<AgentRunArgs>),
    /// Which agents there are.
    List,
    /// What an agent is: its definition, which a file may hold.
    Show {
        /// Its name, or its name and version: coder, coder@3.
        name: String,
    },
    /// Add an agent, or a new version of one.
    Add {
        /// A file with its definition, in YAML or JSON.
        file: PathBuf,
    },
    /// Let an agent begin nothing more; what it has begun goes on.
    Stop {
        /// Its name.
        name: String,
    },
    /// Let an agent that was stopped begin again.
    Start {
        /// Its name.
        name: String,
    },
    /// Remove an agent with all its versions; its runs stay.
    Remove {
        /// Its name.
        name: String,
    },
    /// Say something to an agent while it works; it reads it before its next answer.
    Tell {
        /// Its run.
        run: RunId,
        /// What to say.
        text: String,
    },
    /// Print what an agent's run changed, as a diff.
    Patch {
        /// The run.
        run: RunId,
        /// Print the operations of a plan, as JSON, in place of the diff.
        #[arg(long)]
        operations: bool,
    },
    /// Which tools agents may be given.
    Tools,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct AgentRunArgs {
    /// The agent: its name, or its name and version.
    pub(crate) name: String,
    /// What is to be reached, in words.
    #[arg(long, value_name = "TEXT")]
    pub(crate) goal: String,
    /// The repository to work on; the agent works on a copy.
    #[arg(long, value_name = "PATH")]
    pub(crate) repo: Option<PathBuf>,
    /// The revision to begin with.
    #[arg(long, value_name = "REVISION", requires = "repo")]
    pub(crate) revision: Option<String>,
    /// The model to ask in place of the agent's own.
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<String>,
    /// The project whose budget it counts to.
    #[arg(long, value_name = "NAME")]
    pub(crate) project: Option<String>,
    /// Return at once; a host in the background goes on.
    #[arg(long)]
    pub(crate) detach: bool,
    #[command(flatten)]
    pub(crate) placing: PlacingArgs,
}
