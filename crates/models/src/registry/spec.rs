//! What is said of a model and of a route when they are added.

use std::collections::BTreeMap;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::kind::ProviderKind;
use crate::price::Price;
use crate::redact::GuardSpec;
use crate::secret::SecretRef;

/// Why a specification is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{field}` {why}")]
pub struct InvalidSpec {
    /// Which part of it.
    pub field: String,
    /// What is wrong.
    pub why: String,
}

impl InvalidSpec {
    pub(crate) fn new(field: impl Into<String>, why: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            why: why.into(),
        }
    }
}

/// A model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelSpec {
    /// Where it is asked.
    pub provider: ProviderSpec,
    /// Its name there.
    pub model: String,
    /// What it is preferred for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<Task>,
    /// Words by which routes and callers choose.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What it can, where the catalogue does not know: `tools`, `vision`, `schema`, `reasoning`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// The most tokens it reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// The most tokens it writes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_output: Option<u64>,
    /// What it costs.
    #[serde(default, skip_serializing_if = "PriceRule::is_catalogue")]
    pub price: PriceRule,
    /// What its key allows.
    #[serde(default, skip_serializing_if = "KeyLimits::is_empty")]
    pub limits: KeyLimits,
    /// Whether the provider's cache is told where a conversation will be read again, where the provider
    /// wants to be told and the asker did not.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub prompt_cache: bool,
    /// How long an answer may take to begin, and each piece of it to follow, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// What a model is preferred for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Task {
    /// Anything.
    General,
    /// Programs.
    Code,
    /// Pictures.
    Vision,
    /// Texts as vectors.
    Embed,
    /// Texts in order of relevance.
    Rerank,
}

/// Where a price comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PriceRule {
    /// From the catalogue; a model that it does not know is not called.
    #[default]
    Catalogue,
    /// It costs nothing.
    Free,
    /// As said here.
    Fixed(Price),
}

impl PriceRule {
    fn is_catalogue(&self) -> bool {
        *self == Self::Catalogue
    }
}

/// What a key allows at its provider.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KeyLimits {
    /// Calls at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrency: Option<u32>,
    /// Calls per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_minute: Option<u32>,
    /// Tokens per minute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens_per_minute: Option<u64>,
}

impl KeyLimits {
    fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Where a model is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProviderSpec {
    /// Who answers, and in which protocol.
    pub kind: ProviderKind,
    /// Which of its protocols, where it has two.
    #[serde(default, skip_serializing_if = "Api::is_chat")]
    pub api: Api,
    /// Where, if not at the provider's own address: up to what every path follows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub base_url: Option<String>,
    /// The key that it wants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<SecretRef>,
    /// Whether the address may be one of this machine or of a private network.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub private: bool,
    /// More headers. None of them is a secret.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Google Cloud's project, for Vertex AI.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project: Option<String>,
    /// The region, for Vertex AI and Bedrock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
    /// The version of the protocol, for Azure.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// The file with the conversation that `scripted` plays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub script: Option<String>,
    /// The file or folder on the server that `local` reads its model from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// Which of a provider's protocols.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// Its usual one.
    #[default]
    Chat,
    /// `OpenAI`'s responses.
    Responses,
}

impl Api {
    #[expect(
        clippy::trivially_copy_pass_by_ref,
        reason = "the signature is the serialiser's"
    )]
    fn is_chat(&self) -> bool {
        *self == Self::Chat
    }
}

/// A choice among models.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RouteSpec {
    /// Among which.
    pub targets: Vec<Target>,
    /// How.
    #[serde(default)]
    pub strategy: Strategy,
    /// How many more targets are tried before the first byte when one fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fallbacks: Option<u32>,
    /// For how long an answer is kept for the same question, in seconds; nothing keeps none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_seconds: Option<u64>,
    /// Whether turns with tools are kept, too: only where tools do not change the world.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cache_tools: bool,
    /// Whether a question that is worded differently gets the same answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_similar: Option<Similar>,
    /// What must not go to its models, and what is noted of its calls.
    #[serde(default, skip_serializing_if = "GuardSpec::is_empty")]
    pub guard: GuardSpec,
}

/// Which questions are as good as the same: all but the last words are the same, and those are alike.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Similar {
    /// The model that turns the words into vectors.
    pub model: String,
    /// The least cosine of their vectors; what it means depends on that model.
    pub at_least: f64,
}

/// A model that a route may choose.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Target {
    /// Its name here.
    pub model: String,
    /// How often it is taken, compared with the others.
    #[serde(default = "one")]
    pub weight: u32,
    /// Only for calls with one of these tags; nothing is for all.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

fn yes() -> bool {
    true
}

fn one() -> u32 {
    1
}

/// How a route chooses.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// The first that can be had, in the order of the list.
    #[default]
    Ordered,
    /// By chance, by weight.
    Weighted,
    /// The faster of two taken by chance.
    Latency,
    /// The cheapest.
    Cost,
}

impl ModelSpec {
    /// By which names a catalogue may know it: Vertex AI says the publisher with the name.
    pub(crate) fn catalogue_names(&self) -> Vec<String> {
        let mut names = vec![self.model.clone()];
        let published = self.model.strip_prefix("publishers/");
        if let Some((publisher, name)) = published.and_then(|rest| rest.split_once("/models/")) {
            names.push(name.to_owned());
            names.push(format!("{publisher}/{name}"));
        }
        names
    }

    /// Where it is asked.
    pub fn base_url(&self) -> Option<String> {
        let given = self.provider.base_url.clone();
        given
            .or_else(|| self.provider.kind.home().map(str::to_owned))
            .map(|url| url.trim_end_matches('/').to_owned())
    }

    /// Whether what it is asked leaves this machine.
    pub fn leaves(&self) -> bool {
        if matches!(
            self.provider.kind,
            ProviderKind::Local | ProviderKind::Scripted
        ) {
            return false;
        }
        let url = self
            .base_url()
            .and_then(|url| reqwest::Url::parse(&url).ok());
        let host = url.as_ref().and_then(reqwest::Url::host_str);
        let host = host.unwrap_or_default().trim_matches(['[', ']']);
        let here = host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback());
        !here && host != "localhost"
    }

    /// Whether its provider may be at a private address: it was said, or it is `Ollama` at home.
    pub fn is_private(&self) -> bool {
        let at_home =
            self.provider.kind == ProviderKind::Ollama && self.provider.base_url.is_none();
        self.provider.private || at_home
    }
}
