//! `matrix event`.

use clap::{Args as ClapArgs, Subcommand};
use matrix_core::RunId;
use matrix_engine::events::{StartAt, TopicPattern};

/// Which events.
#[derive(Debug, Default, ClapArgs)]
pub(crate) struct EventFilterArgs {
    /// Only those with such a topic, as `run.*`, `deployment.applied` or `*`; may be given more
    /// than once.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) topic: Vec<TopicPattern>,
    /// Only those of this run.
    #[arg(long)]
    pub(crate) run: Option<RunId>,
    /// Only those of runs of this kind, such as `change`.
    #[arg(long)]
    pub(crate) kind: Option<String>,
    /// With their payloads, but for those that hold secrets.
    #[arg(long)]
    pub(crate) payloads: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum EventCommand {
    /// Events, the oldest first.
    List {
        #[command(flatten)]
        filter: EventFilterArgs,
        /// Behind which place: `beginning`, `now`, or one such as `0:17`.
        #[arg(long, value_name = "PLACE", default_value = "beginning")]
        after: StartAt,
        /// How many at most, 1 to 1000.
        #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
        limit: u32,
    },
    /// Events as they happen.
    Watch {
        #[command(flatten)]
        filter: EventFilterArgs,
        /// Behind which place: `beginning`, `now`, or one such as `0:17`.
        #[arg(long, value_name = "PLACE", default_value = "now")]
        after: StartAt,
        /// End after so many.
        #[arg(long, value_name = "NUMBER")]
        count: Option<u64>,
    },
    /// Have events sent to a broker.
    Subscribe(SubscribeArgs),
    /// Who is told of events, and how far it has come.
    Subscriptions,
    /// One subscription, with its lag and its last error.
    Show {
        /// The subscription.
        name: String,
    },
    /// End a subscription.
    Remove {
        /// The subscription.
        name: String,
    },
    /// Set a subscription to another place.
    Reset {
        /// The subscription.
        name: String,
        /// Behind which place it goes on: `beginning`, `now`, or one such as `0:17`.
        #[arg(long, value_name = "PLACE")]
        after: StartAt,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct SubscribeArgs {
    /// The subscription's name.
    pub(crate) name: String,
    #[command(flatten)]
    pub(crate) filter: EventFilterArgs,
    /// Where to: `nats://HOST/SUBJECT`, `redis://HOST/STREAM` or `kafka://HOST/TOPIC`;
    /// `?credentials=NAME` names a file in the data directory's `credentials`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) to: String,
    /// Behind which place: `beginning`, `now`, or one such as `0:17`.
    #[arg(long, value_name = "PLACE", default_value = "now")]
    pub(crate) after: StartAt,
}
