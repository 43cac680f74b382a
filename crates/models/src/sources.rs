//! Which secrets of the server may be sent to models' providers.
//!
//! A reference is written by whoever adds a model, and the address it is sent to, too. Without a list
//! that person could have every secret that the server can read sent to an address of theirs.

use std::fmt;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::secret::SecretRef;

/// What holds where the operator says nothing: how model providers and their clients name their keys,
/// and what is named after us. Files are those that container hosts mount as secrets.
const DEFAULT: [&str; 5] = [
    "env:*_API_KEY",
    "env:MATRIX_MODEL_*",
    "env:AWS_BEARER_TOKEN_BEDROCK",
    "env:HF_TOKEN",
    "file:/run/secrets/",
];

/// Which references may be read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct KeySources(Vec<Source>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Source {
    /// This variable.
    Name(String),
    /// Variables whose names begin so.
    Begins(String),
    /// Variables whose names end so.
    Ends(String),
    /// Files directly in this directory.
    Directory(PathBuf),
}

/// A text that is no source.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is none of `env:NAME`, `env:BEGINNING*`, `env:*END` and `file:/directory/` (its files, not those below)"
)]
pub struct InvalidSource(String);

/// A secret that models may not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "may not be read for models here; whoever operates the server may add `{add}` to `keys_from` under [models] of its configuration"
)]
pub struct NotAllowed {
    /// What would allow it.
    add: String,
}

impl Default for KeySources {
    fn default() -> Self {
        let known = DEFAULT.iter().filter_map(|text| source(text));
        Self(known.collect())
    }
}

impl TryFrom<Vec<String>> for KeySources {
    type Error = InvalidSource;

    fn try_from(texts: Vec<String>) -> Result<Self, InvalidSource> {
        let sources = texts.into_iter();
        let sources = sources.map(|text| source(&text).ok_or(InvalidSource(text)));
        Ok(Self(sources.collect::<Result<_, _>>()?))
    }
}

impl From<KeySources> for Vec<String> {
    fn from(sources: KeySources) -> Self {
        sources.0.iter().map(Source::to_string).collect()
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(f, "env:{name}"),
            Self::Begins(begin) => write!(f, "env:{begin}*"),
            Self::Ends(end) => write!(f, "env:*{end}"),
            Self::Directory(path) => write!(f, "file:{}/", path.display()),
        }
    }
}

fn source(text: &str) -> Option<Source> {
    let (kind, rest) = text.split_once(':')?;
    if kind == "file" {
        let path = Path::new(rest.strip_suffix('/')?);
        // A root, or a path that goes up again, would be every file.
        return (path.is_absolute() && is_plain(path)).then(|| Source::Directory(path.into()));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let name = |name: &str| (!name.is_empty() && name.bytes().all(plain)).then(|| name.to_owned());
    match (kind, rest.strip_prefix('*'), rest.strip_suffix('*')) {
        ("env", Some(end), _) => name(end).map(Source::Ends),
        ("env", _, Some(begin)) => name(begin).map(Source::Begins),
        ("env", None, None) => name(rest).map(Source::Name),
        _ => None,
    }
}

/// Whether a path says where it leads.
fn is_plain(path: &Path) -> bool {
    let mut parts = path.components();
    parts.next() == Some(Component::RootDir) && parts.all(|it| matches!(it, Component::Normal(_)))
}

impl KeySources {
    /// Refuses a reference that is not among them. Where a link leads is looked at when it is read.
    pub fn check(&self, reference: &SecretRef) -> Result<(), NotAllowed> {
        let add = match reference {
            SecretRef::Env(name) => {
                let known = |source: &Source| match source {
                    Source::Name(known) => known == name,
                    Source::Begins(begin) => name.starts_with(begin.as_str()),
                    Source::Ends(end) => name.ends_with(end.as_str()),
                    Source::Directory(_) => false,
                };
                if self.0.iter().any(known) {
                    return Ok(());
                }
                format!("env:{name}")
            }
            SecretRef::File(path) => {
                if self.directory(path).is_some() {
                    return Ok(());
                }
                let parent = path.parent().filter(|_| is_plain(path));
                format!(
                    "file:{}/",
                    parent.unwrap_or(Path::new("/directory")).display()
                )
            }
        };
        Err(NotAllowed { add })
    }

    /// The directory by which a file may be read.
    pub(crate) fn directory(&self, path: &Path) -> Option<&Path> {
        if !is_plain(path) {
            return None;
        }
        self.0.iter().find_map(|source| match source {
            Source::Directory(directory) => {
                (path.parent() == Some(directory)).then_some(directory.as_path())
            }
            _ => None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(texts: &[&str]) -> KeySources {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        KeySources::try_from(texts).unwrap()
    }

    #[test]
    fn keys_of_providers_may_be_read_and_other_secrets_may_not() {
        let usual = KeySources::default();
        for (reference, may) in [
            ("env:OPENAI_API_KEY", true),
            ("env:MATRIX_MODEL_BEDROCK", true),
            ("env:HF_TOKEN", true),
            ("env:PGPASSWORD", false),
            ("env:AWS_SECRET_ACCESS_KEY", false),
            ("env:GITHUB_TOKEN", false),
            ("env:OPENAI_API_KEY_OLD", false),
            ("file:/run/secrets/anthropic", true),
            (
                "file:/run/secrets/kubernetes.io/serviceaccount/token",
                false,
            ),
            ("file:/run/secrets/../../etc/shadow", false),
            ("file:/etc/shadow", false),
        ] {
            let parsed = reference.parse().unwrap();
            assert_eq!(usual.check(&parsed).is_ok(), may, "{reference}");
        }
        let wanted = |reference: &str| {
            let refused = usual.check(&reference.parse().unwrap());
            refused.unwrap_err().to_string()
        };
        assert!(wanted("env:PGPASSWORD").contains("`env:PGPASSWORD`"));
        assert!(wanted("file:/srv/keys/one").contains("`file:/srv/keys/`"));
    }

    #[test]
    fn what_the_operator_says_counts_alone() {
        let said = sources(&["env:ONE", "env:TWO_*", "file:/srv/keys/"]);
        for (reference, may) in [
            ("env:ONE", true),
            ("env:TWO_X", true),
            ("env:OPENAI_API_KEY", false),
            ("file:/srv/keys/one", true),
            ("file:/srv/keys", false),
            ("file:/run/secrets/one", false),
        ] {
            let parsed = reference.parse().unwrap();
            assert_eq!(said.check(&parsed).is_ok(), may, "{reference}");
        }
        let texts: Vec<String> = said.into();
        assert_eq!(texts, ["env:ONE", "env:TWO_*", "file:/srv/keys/"]);
        for wrong in [
            "ONE",
            "env:*",
            "env:A*B",
            "file:/",
            "file:keys/",
            "file:/a/../b/",
            "file:/a",
        ] {
            assert!(
                KeySources::try_from(vec![wrong.to_owned()]).is_err(),
                "{wrong}"
            );
        }
    }
}
