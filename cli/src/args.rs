//! The command line.

mod agent;
mod event;
mod filter;
mod model;
mod run;
mod schedule;
mod task;

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args as ClapArgs, Parser, Subcommand};
use matrix_changes::service::Asked;
use matrix_core::id::DeploymentId;
use matrix_core::{RunId, Timestamp};
use matrix_identity::Role;
use matrix_server::{HostName, Origin};

pub(crate) use self::agent::{AgentCommand, AgentRunArgs};
pub(crate) use self::event::{EventCommand, EventFilterArgs, SubscribeArgs};
pub(crate) use self::filter::{ManyArgs, RunListArgs, WhichArgs, body as filter_body, filter};
pub(crate) use self::model::{BudgetCommand, ModelAddArgs, ModelCommand, PriceArgs, RouteArgs};
pub(crate) use self::run::RunCommand;
pub(crate) use self::schedule::{ScheduleAddArgs, ScheduleCommand};
pub(crate) use self::task::{TaskCommand, TaskRunArgs};
use crate::config::LogFormat;
use crate::placing::PlacingArgs;

/// Takes a change from a plan to a signed release, and keeps the proof.
#[derive(Debug, Parser)]
#[command(name = "matrix", version, max_term_width = 100)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) global: Global,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The heading of the options that every command has.
const EVERYWHERE: &str = "Options of every command";

/// What holds for every command.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct Global {
    /// Where everything is kept.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "PATH")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Keep the state in this PostgreSQL database instead, which several processes may use.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "ADDRESS")]
    pub(crate) database: Option<String>,
    /// Keep blobs in this bucket instead, as `s3://BUCKET/PREFIX` or `gs://BUCKET/PREFIX`.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "ADDRESS")]
    pub(crate) blobs: Option<String>,
    /// The configuration file.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The result as JSON; the last line of standard output is one object.
    #[arg(long, global = true, help_heading = EVERYWHERE)]
    pub(crate) json: bool,
    /// Which log lines there are, such as `info` or `matrix_engine=debug`.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FILTER")]
    pub(crate) log: Option<String>,
    /// How log lines look.
    #[arg(long, global = true, help_heading = EVERYWHERE, value_name = "FORMAT")]
    pub(crate) log_format: Option<LogFormat>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Take an example with a real defect from a plan to a signed release.
    ///
    /// It has a data directory of its own in a new temporary directory, or in the one that --keep
    /// names. With --data-dir it uses that data directory, and puts the example beside it.
    Demo {
        /// Keep everything in this directory instead of a new temporary one.
        #[arg(long, value_name = "PATH")]
        keep: Option<PathBuf>,
    },
    /// Changes: submit, look at, decide.
    #[command(subcommand)]
    Change(ChangeCommand),
    /// Runs: look at, steer, resume.
    #[command(subcommand)]
    Run(RunCommand),
    /// Steps that workers outside do.
    #[command(subcommand)]
    Task(TaskCommand),
    /// The queue: who waits for a slot, and who has one.
    #[command(subcommand)]
    Queue(QueueCommand),
    /// Runs that are started at times.
    #[command(subcommand)]
    Schedule(ScheduleCommand),
    /// Agents: give one a goal, look at what it did.
    #[command(subcommand)]
    Agent(AgentCommand),
    /// Models: add, ask, route, and what they cost.
    #[command(subcommand)]
    Model(ModelCommand),
    /// Check a bundle offline.
    Verify(VerifyArgs),
    /// The journal.
    #[command(subcommand)]
    Journal(JournalCommand),
    /// What happened to runs, and who is told of it.
    #[command(subcommand)]
    Event(EventCommand),
    /// What changes published.
    #[command(subcommand)]
    Artifact(ArtifactCommand),
    /// What is deployed.
    #[command(subcommand)]
    Deployment(DeploymentCommand),
    /// The keys that bundles are signed with.
    #[command(subcommand)]
    SigningKey(SigningKeyCommand),
    /// People and their tokens.
    #[command(subcommand)]
    User(UserCommand),
    /// The rules that decide.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Stay, and answer HTTP on loopback.
    Serve(ServeArgs),
    /// Drive runs of the configured database beside other processes, and answer nobody.
    Worker(WorkerArgs),
    /// The PostgreSQL database.
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// What this machine can do.
    Doctor {
        /// Try every way out of the sandbox.
        #[arg(long)]
        sandbox: bool,
    },
    /// The configuration as it is used.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// A completion script for a shell.
    Completions {
        /// The shell.
        shell: clap_complete::Shell,
    },
    /// The background host; started by `--detach`.
    #[command(name = "__host", hide = true)]
    Host,
}

/// Which part of a list, newest first.
#[derive(Debug, ClapArgs)]
pub(crate) struct ListArgs<I>
where
    I: Clone + Send + Sync + FromStr + 'static,
    I::Err: std::error::Error + Send + Sync,
{
    /// How many at most, 1 to 500.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub(crate) limit: u32,
    /// Go on behind this one, the last of a part before.
    #[arg(long, value_name = "ID")]
    pub(crate) after: Option<I>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ServeArgs {
    /// The address to listen on.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<std::net::SocketAddr>,
    /// Listen where other machines can reach it, too; what is sent is not encrypted.
    #[arg(long)]
    pub(crate) expose: bool,
    /// Answer to this name, too, such as `matrix.example.org`; may be given more than once.
    #[arg(long, value_name = "NAME")]
    pub(crate) allow_host: Vec<HostName>,
    /// Let pages of this origin call, such as `https://tools.example.org`; may be given more than
    /// once.
    #[arg(long, value_name = "ORIGIN")]
    pub(crate) allow_origin: Vec<Origin>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct WorkerArgs {
    /// Where to tell supervisors of this machine how it does; port 0 takes a free one.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:0")]
    pub(crate) listen: std::net::SocketAddr,
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Make roles and tables, or bring them to this program's version.
    Migrate {
        /// The database with an administrator's login, which is used for this alone; without one,
        /// that of the variable `MATRIX_DATABASE_OWNER`.
        #[arg(long, value_name = "ADDRESS")]
        owner: Option<String>,
        /// The login to give what the program needs; without one, that of the configured database.
        #[arg(long, value_name = "NAME")]
        login: Option<String>,
    },
    /// Whether the database can be used, and which data directory belongs to it.
    Show,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ChangeCommand {
    /// Check a plan, and tell what would come of it; starts nothing.
    Plan {
        /// The repository.
        #[arg(long, value_name = "PATH", default_value = ".")]
        repo: PathBuf,
        /// The plan, YAML or JSON.
        #[arg(long, value_name = "FILE")]
        plan: PathBuf,
        /// Where to deploy; wins over the plan's.
        #[arg(long, value_name = "NAME")]
        target: Option<String>,
    },
    /// Take a plan through to its release.
    Run(ChangeRunArgs),
    /// One change, with evidence, risk, verdict and release.
    Show {
        /// The change.
        run: RunId,
    },
    /// What the checks of a change printed.
    Logs {
        /// The change.
        run: RunId,
        /// Only checks whose name has this text in it.
        #[arg(long, value_name = "TEXT")]
        check: Option<String>,
    },
    /// Changes, the newest first.
    List(RunListArgs),
    /// Agree to a change as it is now.
    Approve(DecideArgs),
    /// End a change that waits for a person.
    Reject(DecideArgs),
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ChangeRunArgs {
    /// The repository.
    #[arg(long, value_name = "PATH")]
    pub(crate) repo: PathBuf,
    /// The plan, YAML or JSON.
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "goal",
        conflicts_with = "goal"
    )]
    pub(crate) plan: Option<PathBuf>,
    /// What is to be reached, in words: an agent makes the plan.
    #[arg(long, value_name = "TEXT")]
    pub(crate) goal: Option<String>,
    /// The agent that makes the plan of a goal; coder if none is named.
    #[arg(long, value_name = "NAME", requires = "goal")]
    pub(crate) agent: Option<String>,
    /// The model that it asks in place of its own.
    #[arg(long, value_name = "MODEL", requires = "goal")]
    pub(crate) model: Option<String>,
    /// The revision that it begins with.
    #[arg(long, value_name = "REVISION", requires = "goal")]
    pub(crate) revision: Option<String>,
    /// Where to deploy; wins over the plan's.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) placing: PlacingArgs,
    /// Follow it until it ends or waits (this is the default).
    #[arg(long, conflicts_with = "detach")]
    pub(crate) watch: bool,
    /// Leave it to a background host and return at once.
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct DecideArgs {
    /// The change (`run_…`) or its open question (`apr_…`).
    pub(crate) id: Asked,
    /// Why.
    #[arg(long, default_value = "")]
    pub(crate) reason: String,
    /// Leave the rest to a background host and return at once.
    #[arg(long)]
    pub(crate) detach: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum QueueCommand {
    /// The lanes with who waits and who runs, and the keys that are paused.
    Show,
    /// Let no run with a key begin; those that have begun go on.
    Pause {
        /// The key.
        key: String,
        /// Until when: a date (UTC) or a time of RFC 3339; without one, until it is resumed.
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Let runs with a key begin again.
    Resume {
        /// The key.
        key: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct VerifyArgs {
    /// The bundle (`.intoto.jsonl`).
    pub(crate) bundle: PathBuf,
    /// A public key to trust, PEM; without one, this data directory's keys.
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Vec<PathBuf>,
    /// A file that the bundle must speak about.
    #[arg(long, value_name = "FILE")]
    pub(crate) artifact: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum JournalCommand {
    /// Recompute the chain of a run, or of all and compare them with the newest checkpoint.
    Verify {
        /// The run.
        run: Option<RunId>,
        /// Compare with this checkpoint, kept earlier, instead of the newest.
        #[arg(long, value_name = "FILE")]
        checkpoint: Option<PathBuf>,
    },
    /// The newest signed head of the whole journal; keep it somewhere else.
    Checkpoint,
    /// Prove that an entry is in the journal.
    Prove {
        /// The run.
        run: RunId,
        /// The entry's number in the run; without one, its newest.
        seq: Option<i64>,
        /// Where to write the proof.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Check a proof with nothing but public keys.
    Check {
        /// The proof.
        proof: PathBuf,
        /// A trusted public key, PEM; without one, those of the data directory.
        #[arg(long, value_name = "FILE")]
        key: Vec<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ArtifactCommand {
    /// The artifacts of a change.
    List {
        /// The change.
        run: RunId,
    },
    /// The bytes of an artifact.
    Get {
        /// The change.
        run: RunId,
        /// The artifact's name.
        name: String,
        /// The file to write instead of standard output.
        #[arg(long, short, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Remove what is past its time (`keep_artifacts`, `keep_releases`) and what nothing refers to.
    Prune {
        /// Only tell what would go.
        #[arg(long)]
        dry_run: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum DeploymentCommand {
    /// Deployments, the newest first.
    List {
        /// Only those of targets of this name, in whatever repository.
        #[arg(
            long,
            value_name = "NAME",
            default_value = "",
            hide_default_value = true
        )]
        target: String,
        /// Only those of this repository's targets.
        #[arg(long, value_name = "PATH")]
        repo: Option<PathBuf>,
        #[command(flatten)]
        page: ListArgs<DeploymentId>,
    },
    /// What the process of a deployment wrote last.
    Logs {
        /// The deployment.
        deployment: DeploymentId,
    },
    /// Go back to what a deployment replaced.
    Rollback {
        /// The deployment, which must be its target's current one.
        deployment: DeploymentId,
    },
    /// End a deployment's process.
    Stop {
        /// The deployment, which must be its target's current one.
        deployment: DeploymentId,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum SigningKeyCommand {
    /// Every public key, the current one first.
    List,
    /// Sign with a new key from now on.
    Rotate,
}

#[derive(Debug, Subcommand)]
pub(crate) enum UserCommand {
    /// Add a user, a worker or a client of models, and show the token once.
    Add {
        /// The name.
        name: String,
        /// What they may do: `submitter` and `approver`, which may be given both, or
        /// `worker`, or `client`, which asks models and nothing else.
        #[arg(long, value_name = "ROLE", default_values = ["submitter", "approver"])]
        role: Vec<Role>,
    },
    /// Users and service accounts.
    List,
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyCommand {
    /// Which rules decided about a change, and what they ask for.
    Explain {
        /// The change; without one, the policy itself.
        run: Option<RunId>,
        /// The policy of a data directory that has none of its own.
        #[arg(long)]
        built_in: bool,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Every value.
    Show {
        /// Where each value came from.
        #[arg(long)]
        origin: bool,
    },
}
