//! Where a new run queues, on the command line.

use clap::Args as ClapArgs;
use matrix_engine::queue::{Again, Placing, Priority, Singleton};

/// Where a new run queues.
#[derive(Debug, ClapArgs)]
pub(crate) struct PlacingArgs {
    /// The lane it queues in, one of the configuration file's.
    #[arg(long, value_name = "NAME")]
    lane: Option<String>,
    /// How urgent it is: 0 to 9, which is the most urgent, or high (8), normal (5), low (2).
    #[arg(long, value_name = "LEVEL", default_value = "normal")]
    priority: Priority,
    /// Its concurrency key: only so many runs with the same one run at once as the configuration
    /// says, by default one.
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// What a worker must have to take it; may be given more than once.
    #[arg(long, value_name = "CAPABILITY")]
    require: Vec<String>,
    /// A name that only one run may have at a time.
    #[arg(long, value_name = "NAME")]
    singleton: Option<String>,
    /// What becomes of a second run of that name: refuse it, join the one that is there, or replace
    /// that one if it has not begun.
    #[arg(
        long,
        value_name = "RULE",
        default_value = "refuse",
        requires = "singleton"
    )]
    again: Again,
    /// With `--again replace`: wait so many milliseconds for a newer run of the name.
    #[arg(long, value_name = "MS", requires = "singleton")]
    debounce: Option<u32>,
}

impl PlacingArgs {
    /// As the engine reads it.
    pub(crate) fn placing(&self) -> Placing {
        Placing {
            lane: self.lane.clone(),
            priority: self.priority,
            key: self.key.clone(),
            capabilities: self.require.iter().cloned().collect(),
            singleton: self.singleton.clone().map(|name| Singleton {
                name,
                again: self.again,
                debounce_ms: self.debounce,
            }),
        }
    }
}
