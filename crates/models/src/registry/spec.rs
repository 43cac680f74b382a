//! What is said of a model and of a route when they are added.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::kind::ProviderKind;
use crate::price::Price;
use crate::secret::SecretRef;

/// The most characters of a name.
const NAME_MAX: usize = 128;

/// The longest that an answer is kept.
const CACHE_SECONDS_MAX: u64 = 86_400;

/// The most targets of a route.
const TARGETS_MAX: usize = 64;

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

impl ProviderSpec {
    /// Refuses a file that is missing, or is another provider's. It is not opened: the server that
    /// reads it may be another one.
    fn check_files(&self) -> Result<(), InvalidSpec> {
        let refuse = |field: &str, why: &str| Err(InvalidSpec::new(field, why));
        match (self.kind, &self.script) {
            (ProviderKind::Scripted, None) => {
                return refuse(
                    "script",
                    "must name the file with the conversation that is played",
                );
            }
            (ProviderKind::Scripted, Some(_)) | (_, None) => {}
            (_, Some(_)) => return refuse("script", "is for `scripted` only"),
        }
        match (self.kind, &self.path) {
            (ProviderKind::Local, Some(path)) if Path::new(path).is_absolute() => Ok(()),
            (ProviderKind::Local, _) => refuse(
                "path",
                "must say where the model is on the server, from the root",
            ),
            (_, None) => Ok(()),
            (_, Some(_)) => refuse("path", "is for `local` only"),
        }
    }
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

/// Whether a text can name a model, a version or a route.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), InvalidSpec> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-/:".contains(&byte);
    if name.is_empty() || name.len() > NAME_MAX || !name.bytes().all(plain) {
        let why = format!("must be 1 to {NAME_MAX} letters, digits, `.`, `_`, `-`, `/` or `:`");
        return Err(InvalidSpec::new(field, why));
    }
    Ok(())
}

impl ModelSpec {
    /// Refuses what cannot be right.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        let provider = &self.provider;
        if self.model.is_empty() || self.model.chars().any(char::is_control) {
            return Err(InvalidSpec::new(
                "model",
                "must be the provider's name of it",
            ));
        }
        if self.model.len() > NAME_MAX * 2 {
            return Err(InvalidSpec::new("model", "is too long"));
        }
        provider.check_files()?;
        if let Some(url) = &provider.base_url {
            check_url("base_url", url, provider.private)?;
        } else if provider.kind.home().is_none()
            && !matches!(
                provider.kind,
                ProviderKind::Local | ProviderKind::Scripted | ProviderKind::Vertex
            )
        {
            let why = format!("must say where {} is", provider.kind);
            return Err(InvalidSpec::new("base_url", why));
        }
        if provider.kind == ProviderKind::Vertex
            && (provider.project.is_none() || provider.region.is_none())
        {
            return Err(InvalidSpec::new(
                "project",
                "and region are needed for vertex",
            ));
        }
        for name in provider.headers.keys() {
            let secret = [
                "authorization",
                "api-key",
                "x-api-key",
                "x-goog-api-key",
                "proxy-authorization",
                "x-auth-token",
                "host",
                "cookie",
            ];
            if secret.contains(&name.to_ascii_lowercase().as_str()) {
                let why = format!("must not hold `{name}`; give the key as a reference");
                return Err(InvalidSpec::new("headers", why));
            }
        }
        Ok(())
    }

    /// Where it is asked.
    pub fn base_url(&self) -> Option<String> {
        let given = self.provider.base_url.clone();
        given
            .or_else(|| self.provider.kind.home().map(str::to_owned))
            .map(|url| url.trim_end_matches('/').to_owned())
    }

    /// Whether its provider may be at a private address: it was said, or it is `Ollama` at home.
    pub fn is_private(&self) -> bool {
        let at_home =
            self.provider.kind == ProviderKind::Ollama && self.provider.base_url.is_none();
        self.provider.private || at_home
    }
}

impl RouteSpec {
    /// Refuses what cannot be right.
    pub fn check(&self) -> Result<(), InvalidSpec> {
        if self.targets.is_empty() || self.targets.len() > TARGETS_MAX {
            let why = format!("must be 1 to {TARGETS_MAX} models");
            return Err(InvalidSpec::new("targets", why));
        }
        for target in &self.targets {
            check_name("targets.model", &target.model)?;
        }
        if self
            .cache_seconds
            .is_some_and(|seconds| seconds > CACHE_SECONDS_MAX)
        {
            let why = format!("must be {CACHE_SECONDS_MAX} at most, which is a day");
            return Err(InvalidSpec::new("cache_seconds", why));
        }
        if self.targets.iter().all(|target| target.weight == 0) {
            return Err(InvalidSpec::new("targets.weight", "must not be 0 for all"));
        }
        Ok(())
    }
}

/// Whether an address can be asked; one that is a number in a private network only where that was
/// allowed. Names are looked at again whenever they are resolved.
fn check_url(field: &str, url: &str, private: bool) -> Result<(), InvalidSpec> {
    let refuse = |why: &str| Err(InvalidSpec::new(field, why));
    let Ok(url) = reqwest::Url::parse(url) else {
        return refuse("is no address");
    };
    if !matches!(url.scheme(), "https" | "http") {
        return refuse("must begin with https:// or http://");
    }
    if url.password().is_some() || !url.username().is_empty() {
        return refuse("must not hold a name or a password; give the key as a reference");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return refuse("must end with its path");
    }
    if url.scheme() == "http" && !private {
        return refuse("is not encrypted; allow it with `private` where it is your own network");
    }
    let host = url.host_str().unwrap_or_default();
    let number = host.trim_matches(['[', ']']).parse::<IpAddr>();
    match number {
        Ok(address) if !crate::provider::may_reach(address, private) => {
            refuse("is an address of this machine or a private network; allow it with `private`")
        }
        _ => Ok(()),
    }
}
