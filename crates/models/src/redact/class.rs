//! What is looked for in texts, by class.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A class of what is looked for. Their order is that of their weight: where two are found in one
/// place, the first one has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// A private key in PEM.
    PrivateKey,
    /// A key of a provider that marks its keys: `AKIA…`, `ghp_…`, `sk-…`.
    ProviderKey,
    /// A JSON web token, or a token of ours.
    Token,
    /// What stands where a password stands: `password = …`, `scheme://user:…@host`.
    Credential,
    /// The number of a payment card.
    Card,
    /// The number of a bank account.
    Iban,
    /// A social security number of the United States.
    Ssn,
    /// An e-mail address.
    Email,
    /// A telephone number in its international form.
    Phone,
    /// An address of the internet protocol.
    Ip,
}

impl Class {
    /// Every class.
    pub const ALL: [Self; 10] = [
        Self::PrivateKey,
        Self::ProviderKey,
        Self::Token,
        Self::Credential,
        Self::Card,
        Self::Iban,
        Self::Ssn,
        Self::Email,
        Self::Phone,
        Self::Ip,
    ];

    /// Its word.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PrivateKey => "private_key",
            Self::ProviderKey => "provider_key",
            Self::Token => "token",
            Self::Credential => "credential",
            Self::Card => "card",
            Self::Iban => "iban",
            Self::Ssn => "ssn",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Ip => "ip",
        }
    }

    /// Whether it opens something, other than telling of somebody.
    pub const fn is_secret(self) -> bool {
        matches!(
            self,
            Self::PrivateKey | Self::ProviderKey | Self::Token | Self::Credential
        )
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How many of each class were found. It holds no value.
pub type Counts = BTreeMap<Class, u64>;

/// For what a rule is: one class, or a group of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum Topic {
    /// This class.
    One(Class),
    /// All that open something.
    Secrets,
    /// All that tell of somebody.
    Personal,
}

/// A word that is no class and no group of them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is none of secrets, personal, {all}", all = Class::ALL.map(Class::as_str).join(", "))]
pub struct UnknownTopic(String);

impl TryFrom<String> for Topic {
    type Error = UnknownTopic;

    fn try_from(word: String) -> Result<Self, UnknownTopic> {
        match word.as_str() {
            "secrets" => Ok(Self::Secrets),
            "personal" => Ok(Self::Personal),
            other => {
                let found = Class::ALL.into_iter().find(|class| class.as_str() == other);
                found.map(Self::One).ok_or(UnknownTopic(word))
            }
        }
    }
}

impl From<Topic> for &'static str {
    fn from(topic: Topic) -> Self {
        match topic {
            Topic::One(class) => class.as_str(),
            Topic::Secrets => "secrets",
            Topic::Personal => "personal",
        }
    }
}
