//! Secrets by reference: what is stored and shown is where a secret is, never the secret.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::sources::{KeySources, NotAllowed};

/// The most bytes of a file with a secret.
const FILE_MAX: u64 = 64 * 1024;

/// Where a secret is: `env:NAME` or `file:/path`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum SecretRef {
    /// In a variable of the process's environment.
    Env(String),
    /// In a file, without the white space at its end.
    File(PathBuf),
}

/// A text that is no reference. It is not repeated: it may be the secret itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a key is given as `env:NAME` or `file:/absolute/path`, never as the key itself")]
pub struct InvalidRef;

/// A secret that cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the secret `{reference}` {why}")]
pub struct NoSecret {
    /// Where it should be.
    pub reference: String,
    /// Why it is not.
    pub why: String,
}

impl FromStr for SecretRef {
    type Err = InvalidRef;

    fn from_str(text: &str) -> Result<Self, InvalidRef> {
        let name = |name: &str| {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
            !name.is_empty() && name.len() <= 200 && name.bytes().all(plain)
        };
        match text.split_once(':') {
            Some(("env", variable)) if name(variable) => Ok(Self::Env(variable.to_owned())),
            Some(("file", path)) if path.starts_with('/') => Ok(Self::File(path.into())),
            _ => Err(InvalidRef),
        }
    }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "env:{name}"),
            Self::File(path) => write!(f, "file:{}", path.display()),
        }
    }
}

impl TryFrom<String> for SecretRef {
    type Error = InvalidRef;

    fn try_from(text: String) -> Result<Self, InvalidRef> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> Self {
        reference.to_string()
    }
}

/// A secret in memory; it is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// From a text that nobody else may see.
    pub(crate) fn new(text: String) -> Self {
        Self(text)
    }

    /// The secret itself, for the one place that sends it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

/// Where this process finds secrets.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    environment: Arc<BTreeMap<String, String>>,
    sources: Arc<KeySources>,
}

impl Secrets {
    /// With the process's environment, as whoever composes it hands it over, and which of all secrets
    /// may be read.
    pub fn new(environment: BTreeMap<String, String>, sources: KeySources) -> Self {
        Self {
            environment: Arc::new(environment),
            sources: Arc::new(sources),
        }
    }

    /// The secret behind a reference, as it is now.
    pub async fn resolve(&self, reference: &SecretRef) -> Result<Secret, NoSecret> {
        let missing = |why: String| NoSecret {
            reference: reference.to_string(),
            why,
        };
        let refused = |error: NotAllowed| missing(error.to_string());
        self.sources.check(reference).map_err(refused)?;
        let text = match reference {
            SecretRef::Env(name) => {
                let found = self.environment.get(name).cloned();
                found.ok_or_else(|| missing("is not set in the server's environment".into()))?
            }
            SecretRef::File(path) => {
                let unreadable = |error| missing(format!("cannot be read: {error}"));
                let real = tokio::fs::canonicalize(path).await.map_err(unreadable)?;
                let directory = self.sources.directory(path).unwrap_or(path);
                let within = tokio::fs::canonicalize(directory)
                    .await
                    .map_err(unreadable)?;
                if !real.starts_with(&within) {
                    return Err(missing("is a link that leads out of its directory".into()));
                }
                let data = tokio::fs::metadata(&real).await.map_err(unreadable)?;
                if !data.is_file() || data.len() > FILE_MAX {
                    return Err(missing("is no file that holds a key".into()));
                }
                let text = tokio::fs::read_to_string(&real).await;
                text.map_err(unreadable)?
            }
        };
        let text = text.trim();
        // Keys that are objects of JSON come with their lines as they were downloaded.
        let object = text.starts_with('{');
        let plain = |letter: char| !letter.is_control() || (object && "\n\r\t".contains(letter));
        if text.is_empty() || !text.chars().all(plain) {
            return Err(missing("holds no key".into()));
        }
        Ok(Secret(text.to_owned()))
    }
}
