//! The arguments of `matrix schedule`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};

use crate::placing::PlacingArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Make a schedule: a change with --plan, or a run of another kind with --kind and --request.
    Add(Box<ScheduleAddArgs>),
    /// Schedules that have not ended.
    List,
    /// One schedule: when it is due, what it started last.
    Show {
        /// Its name.
        name: String,
    },
    /// When an expression would be due; makes nothing.
    Preview {
        /// Minute, hour, day of month, month, day of week.
        #[arg(long, value_name = "FIELDS")]
        cron: String,
        /// The time zone they are read in.
        #[arg(long, value_name = "ZONE", default_value = "UTC")]
        timezone: String,
        /// How many times, 1 to 100.
        #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=100))]
        count: u32,
    },
    /// Start nothing until it is resumed.
    Pause {
        /// Its name.
        name: String,
        /// Why.
        #[arg(long, default_value = "")]
        reason: String,
    },
    /// Go on after a pause; what passed is made up for as the schedule says.
    Resume {
        /// Its name.
        name: String,
    },
    /// Start a run now.
    Fire {
        /// Its name.
        name: String,
    },
    /// End a schedule; what it started goes on.
    Remove {
        /// Its name.
        name: String,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ScheduleAddArgs {
    /// Its name: letters, digits and `-`, `_`, `.`.
    pub(crate) name: String,
    /// Minute, hour, day of month, month, day of week: '0 3 * * MON-FRI'.
    #[arg(long, value_name = "FIELDS")]
    pub(crate) cron: String,
    /// The time zone they are read in, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) timezone: String,
    /// What happens with times that passed while no host lived.
    #[arg(long, value_name = "RULE", default_value = "one")]
    pub(crate) catch_up: CatchUpRule,
    /// What happens when the run that was started last has not ended.
    #[arg(long, value_name = "RULE", default_value = "skip")]
    pub(crate) overlap: OverlapRule,
    /// Put each start off by a random time below this, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) jitter: u32,
    /// The plan of a change, YAML or JSON.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["kind", "request"])]
    pub(crate) plan: Option<PathBuf>,
    /// The repository of a change.
    #[arg(long, value_name = "PATH", default_value = ".")]
    pub(crate) repo: PathBuf,
    /// Where to deploy; wins over the plan's.
    #[arg(long, value_name = "NAME")]
    pub(crate) target: Option<String>,
    /// The kind of run to start.
    #[arg(
        long,
        value_name = "KIND",
        requires = "request",
        required_unless_present = "plan"
    )]
    pub(crate) kind: Option<String>,
    /// What a run of that kind is asked for, JSON.
    #[arg(long, value_name = "JSON")]
    pub(crate) request: Option<String>,
    /// One line for people, of each run; by default the schedule's name.
    #[arg(long)]
    pub(crate) title: Option<String>,
    #[command(flatten)]
    pub(crate) placing: PlacingArgs,
}

/// What happens with times that passed.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum CatchUpRule {
    /// Nothing.
    Skip,
    /// One run for all of them.
    One,
    /// A run for each, of at most the newest hundred.
    All,
}

/// What happens when the last run has not ended.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum OverlapRule {
    /// Nothing is started.
    Skip,
    /// The next is started when it has ended.
    Wait,
    /// Both go on.
    Allow,
    /// It is cancelled.
    Replace,
}

macro_rules! said {
    ($($rule:ident),*) => {$(
        impl std::fmt::Display for $rule {
            /// As it is said on the command line and over HTTP.
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                write!(f, "{}", format!("{self:?}").to_lowercase())
            }
        }
    )*};
}
said!(CatchUpRule, OverlapRule);
