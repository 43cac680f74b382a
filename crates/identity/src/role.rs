//! What a principal is in a data directory.

use serde::{Deserialize, Serialize};

/// A role; policies say what it may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The operating-system user to whom the data directory belongs.
    Owner,
    /// May approve and reject changes.
    Approver,
    /// May submit changes.
    Submitter,
    /// Does steps of runs from outside, and nothing else.
    Worker,
    /// Asks models, and nothing else.
    Client,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [
        Self::Owner,
        Self::Approver,
        Self::Submitter,
        Self::Worker,
        Self::Client,
    ];

    /// What the owner of a data directory is: everything that a person can be.
    pub const OWNERS: [Self; 3] = [Self::Owner, Self::Approver, Self::Submitter];

    /// The name used in policies, on the command line and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Owner => "owner",
            Self::Approver => "approver",
            Self::Submitter => "submitter",
            Self::Worker => "worker",
            Self::Client => "client",
        }
    }
}

impl std::fmt::Display for Role {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A word that is no role.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a role; roles are owner, approver, submitter, worker and client")]
pub struct UnknownRole(String);

impl std::str::FromStr for Role {
    type Err = UnknownRole;

    fn from_str(text: &str) -> Result<Self, UnknownRole> {
        Self::ALL
            .into_iter()
            .find(|role| role.as_str() == text)
            .ok_or_else(|| UnknownRole(text.chars().take(80).collect()))
    }
}
