//! The command line of models.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use matrix_core::{Money, Timestamp};
use matrix_models::budget::Period;
use matrix_models::ledger::By;
use matrix_models::registry::ProviderKind;

#[derive(Debug, Subcommand)]
pub(crate) enum ModelCommand {
    /// Add a model, or replace one of the same name and version.
    Add(Box<ModelAddArgs>),
    /// Which models and routes there are.
    List,
    /// Remove a model or a route; what was used of it stays known.
    Remove {
        /// Its name.
        name: String,
        /// Which version; every one without it.
        #[arg(long, value_name = "VERSION")]
        version: Option<String>,
    },
    /// Reach a model's provider with its key, without paying for anything.
    Test {
        /// Its name.
        name: String,
    },
    /// Ask a model something, and print its answer.
    Ask {
        /// A model's or a route's name, `auto`, or `task:code` and the like.
        name: String,
        /// What to ask.
        text: String,
        /// The most tokens of the answer.
        #[arg(long, value_name = "N")]
        max_tokens: Option<u64>,
    },
    /// Let a name choose among models, or change how it does.
    Route(RouteArgs),
    /// What was used and what it cost.
    Usage {
        /// From when on: a date (UTC) or a time of RFC 3339, to the hour.
        #[arg(long, value_name = "TIME")]
        from: Option<Timestamp>,
        /// Until when.
        #[arg(long, value_name = "TIME")]
        until: Option<Timestamp>,
        /// By what lines are told apart: model, provider, principal, project, agent.
        #[arg(long, value_name = "WORD", value_delimiter = ',', default_values = ["model"])]
        by: Vec<By>,
    },
    /// What may be spent, and what was.
    #[command(subcommand)]
    Budget(BudgetCommand),
}

#[derive(Debug, Subcommand)]
pub(crate) enum BudgetCommand {
    /// Limit what may be spent.
    Set {
        /// Whose calls count: organisation, workspace, project:NAME, agent:NAME, run:ID,
        /// key:user:NAME or key:service:NAME.
        subject: String,
        /// For how long: total, hour, day or month, which begin in UTC.
        #[arg(long, value_name = "PERIOD", default_value = "month")]
        period: Period,
        /// The most money, in US dollars.
        #[arg(long, value_name = "DOLLARS", required_unless_present = "tokens")]
        money: Option<Money>,
        /// The most tokens, read and written.
        #[arg(long, value_name = "N")]
        tokens: Option<u64>,
    },
    /// Every budget as it stands.
    List,
    /// Limit a subject no more.
    Remove {
        /// Whose.
        subject: String,
        /// Of which period.
        #[arg(long, value_name = "PERIOD", default_value = "month")]
        period: Period,
    },
}

#[derive(Debug, ClapArgs)]
pub(crate) struct ModelAddArgs {
    /// The name by which it is asked for.
    pub(crate) name: String,
    /// Its version.
    #[arg(long, value_name = "VERSION", default_value = "1")]
    pub(crate) version: String,
    /// Everything that is said of it, in a file of JSON.
    #[arg(long, value_name = "FILE", conflicts_with = "provider")]
    pub(crate) file: Option<PathBuf>,
    /// Who answers: `openai`, `openai_compatible`, `azure`, `anthropic`, `gemini`, `vertex`,
    /// `bedrock`, `ollama`, `cohere`, `hugging_face`, `local` or `scripted`.
    #[arg(long, value_name = "KIND", required_unless_present = "file")]
    pub(crate) provider: Option<ProviderKind>,
    /// Its name there; the same without it.
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,
    /// Which of the provider's protocols, where it has two.
    #[arg(long, value_name = "API", value_parser = ["chat", "responses"])]
    pub(crate) api: Option<String>,
    /// Where, if not at the provider's own address.
    #[arg(long, value_name = "URL")]
    pub(crate) base_url: Option<String>,
    /// Where the server finds the key: `env:NAME` or `file:/PATH`, never the key itself.
    #[arg(long, value_name = "REFERENCE")]
    pub(crate) key: Option<String>,
    /// The address may be one of this machine or of a private network.
    #[arg(long)]
    pub(crate) private: bool,
    /// A header that is sent along and is no secret.
    #[arg(long, value_name = "NAME=VALUE")]
    pub(crate) header: Vec<String>,
    /// Google Cloud's project, for vertex.
    #[arg(long, value_name = "PROJECT")]
    pub(crate) project: Option<String>,
    /// The region, for vertex and bedrock.
    #[arg(long, value_name = "REGION")]
    pub(crate) region: Option<String>,
    /// The version of the protocol, for azure.
    #[arg(long, value_name = "VERSION")]
    pub(crate) api_version: Option<String>,
    /// The conversation that scripted plays, in a file of JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) script: Option<PathBuf>,
    /// The file or folder on the server with the model that local runs.
    #[arg(long, value_name = "PATH")]
    pub(crate) path: Option<PathBuf>,
    /// What it is preferred for: general, code, vision, embed, rerank.
    #[arg(long, value_name = "TASK", value_delimiter = ',',
        value_parser = ["general", "code", "vision", "embed", "rerank"])]
    pub(crate) task: Vec<String>,
    /// What it can, where nobody knows it: tools, vision, schema, reasoning.
    #[arg(long, value_name = "WORD", value_delimiter = ',')]
    pub(crate) capability: Vec<String>,
    /// The most tokens it reads.
    #[arg(long, value_name = "N")]
    pub(crate) context: Option<u64>,
    /// The most tokens it writes.
    #[arg(long, value_name = "N")]
    pub(crate) max_output: Option<u64>,
    #[command(flatten)]
    pub(crate) price: PriceArgs,
    /// Calls at once with its key.
    #[arg(long, value_name = "N")]
    pub(crate) concurrency: Option<u32>,
    /// Calls per minute with its key.
    #[arg(long, value_name = "N")]
    pub(crate) requests_per_minute: Option<u32>,
    /// Tokens per minute with its key.
    #[arg(long, value_name = "N")]
    pub(crate) tokens_per_minute: Option<u64>,
    /// How long the provider may be silent.
    #[arg(long, value_name = "MILLISECONDS")]
    pub(crate) timeout_ms: Option<u64>,
}

/// What it costs, where the catalogue does not know or is wrong.
#[derive(Debug, ClapArgs)]
pub(crate) struct PriceArgs {
    /// It costs nothing.
    #[arg(long, conflicts_with = "price_input")]
    pub(crate) free: bool,
    /// What a million tokens that it reads cost, in US dollars.
    #[arg(long, value_name = "DOLLARS", requires = "price_output")]
    pub(crate) price_input: Option<Money>,
    /// What a million tokens that it writes cost.
    #[arg(long, value_name = "DOLLARS", requires = "price_input")]
    pub(crate) price_output: Option<Money>,
    /// What a million tokens cost that it reads from the provider's cache.
    #[arg(long, value_name = "DOLLARS", requires = "price_input")]
    pub(crate) price_cache_read: Option<Money>,
    /// What a million tokens cost that are put there.
    #[arg(long, value_name = "DOLLARS", requires = "price_input")]
    pub(crate) price_cache_write: Option<Money>,
}

#[derive(Debug, ClapArgs)]
pub(crate) struct RouteArgs {
    /// The name by which it is asked for.
    pub(crate) name: String,
    /// A model that it may choose, with its weight: NAME or NAME=WEIGHT.
    #[arg(long, value_name = "MODEL", required = true)]
    pub(crate) to: Vec<String>,
    /// How it chooses: the first that can be had, by weight, the faster, or the cheapest.
    #[arg(long, value_name = "WORD", default_value = "ordered",
        value_parser = ["ordered", "weighted", "latency", "cost"])]
    pub(crate) strategy: String,
    /// How many more are tried when one fails.
    #[arg(long, value_name = "N")]
    pub(crate) fallbacks: Option<u32>,
    /// For how many seconds an answer is kept for the same question.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) cache_seconds: Option<u64>,
    /// What is done with what must not go to its models: CLASS=ACTION, such as email=redact.
    #[arg(long, value_name = "RULE")]
    pub(crate) redact: Vec<String>,
    /// Answers are looked at, too.
    #[arg(long)]
    pub(crate) redact_answers: bool,
    /// Whether what was asked and answered is noted: not at all, redacted, or all but secrets.
    #[arg(long, value_name = "WORD", value_parser = ["none", "redacted", "full"])]
    pub(crate) record: Option<String>,
}
