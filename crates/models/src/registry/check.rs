//! What cannot be right in what is said of a model or a route.

use std::net::IpAddr;
use std::path::Path;

use super::kind::ProviderKind;
use super::spec::{InvalidSpec, ModelSpec, ProviderSpec, RouteSpec};

/// The most characters of a name.
const NAME_MAX: usize = 128;

/// The longest that an answer is kept.
const CACHE_SECONDS_MAX: u64 = 86_400;

/// The least likeness of questions that get the same answer.
const SIMILAR_MIN: f64 = 0.7;

/// The most targets of a route.
const TARGETS_MAX: usize = 64;

/// Headers that say who asks, and prove it.
const OURS: [&str; 10] = [
    "authorization",
    "api-key",
    "x-api-key",
    "x-goog-api-key",
    "proxy-authorization",
    "x-auth-token",
    "x-amz-date",
    "x-amz-security-token",
    "host",
    "cookie",
];

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
        check_files(provider)?;
        check_place(provider)?;
        for name in provider.headers.keys() {
            if OURS.contains(&name.to_ascii_lowercase().as_str()) {
                let why = format!("must not hold `{name}`; give the key as a reference");
                return Err(InvalidSpec::new("headers", why));
            }
        }
        Ok(())
    }
}

/// Refuses a file that is missing, or is another provider's. It is not opened: the server that reads it
/// may be another one.
fn check_files(provider: &ProviderSpec) -> Result<(), InvalidSpec> {
    let refuse = |field: &str, why: &str| Err(InvalidSpec::new(field, why));
    match (provider.kind, &provider.script) {
        (ProviderKind::Scripted, None) => {
            let why = "must name the file with the conversation that is played";
            return refuse("script", why);
        }
        (ProviderKind::Scripted, Some(_)) | (_, None) => {}
        (_, Some(_)) => return refuse("script", "is for `scripted` only"),
    }
    match (provider.kind, &provider.path) {
        (ProviderKind::Local, Some(path)) if Path::new(path).is_absolute() => Ok(()),
        (ProviderKind::Local, _) => {
            let why = "must say where the model is on the server, from the root";
            refuse("path", why)
        }
        (_, None) => Ok(()),
        (_, Some(_)) => refuse("path", "is for `local` only"),
    }
}

/// Where a provider is: at an address, or in a region of which the address is known.
fn check_place(provider: &ProviderSpec) -> Result<(), InvalidSpec> {
    let kind = provider.kind;
    let placeless = matches!(
        kind,
        ProviderKind::Vertex | ProviderKind::Bedrock | ProviderKind::Local | ProviderKind::Scripted
    );
    if let Some(url) = &provider.base_url {
        check_url("base_url", url, provider.private)?;
    } else if kind.home().is_none() && !placeless {
        let why = format!("must say where {kind} is");
        return Err(InvalidSpec::new("base_url", why));
    }
    if kind == ProviderKind::Vertex && (provider.project.is_none() || provider.region.is_none()) {
        return Err(InvalidSpec::new(
            "project",
            "and region are needed for vertex",
        ));
    }
    if kind == ProviderKind::Bedrock && provider.region.is_none() {
        return Err(InvalidSpec::new("region", "is needed for bedrock"));
    }
    for (field, word) in [("project", &provider.project), ("region", &provider.region)] {
        // They become part of an address; projects of a domain have its name in theirs.
        let more = if field == "project" { "-.:" } else { "-" };
        let plain = |letter: char| letter.is_ascii_alphanumeric() || more.contains(letter);
        let fine = |word: &String| !word.is_empty() && word.chars().all(plain);
        if !word.as_ref().is_none_or(fine) {
            return Err(InvalidSpec::new(field, "must be letters, digits and `-`"));
        }
    }
    Ok(())
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
        if self.cache_seconds.is_none() && (self.cache_tools || self.cache_similar.is_some()) {
            let why = "must say for how long answers are kept";
            return Err(InvalidSpec::new("cache_seconds", why));
        }
        if let Some(similar) = &self.cache_similar {
            check_name("cache_similar.model", &similar.model)?;
            if !(SIMILAR_MIN..=1.0).contains(&similar.at_least) {
                let why = format!("must be {SIMILAR_MIN} to 1");
                return Err(InvalidSpec::new("cache_similar.at_least", why));
            }
        }
        if self.targets.iter().all(|target| target.weight == 0) {
            return Err(InvalidSpec::new("targets.weight", "must not be 0 for all"));
        }
        Ok(())
    }
}

/// Whether an address can be asked; one that is a number in a private network only where that was
/// allowed. Names are looked at again whenever they are resolved.
pub(crate) fn check_url(field: &str, url: &str, private: bool) -> Result<(), InvalidSpec> {
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
        Ok(address) if url.scheme() == "http" && crate::provider::may_reach(address, false) => {
            refuse("is not encrypted, and no address of your own network; begin it with https://")
        }
        Ok(address) if !crate::provider::may_reach(address, private) => {
            refuse("is an address of this machine or a private network; allow it with `private`")
        }
        _ => Ok(()),
    }
}
