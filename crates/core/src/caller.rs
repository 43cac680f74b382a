//! Who acts, for whom, and where.

use serde::{Deserialize, Serialize};

/// The border of isolation: an organisation and a workspace in it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Scope {
    /// The tenant.
    pub organisation: String,
    /// A team's space within the tenant.
    pub workspace: String,
}

impl Scope {
    /// The one scope of a data directory that has not been divided.
    pub fn local() -> Self {
        Self {
            organisation: "local".into(),
            workspace: "default".into(),
        }
    }
}

/// What sort of actor a principal is; only people approve.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PrincipalKind {
    /// A person.
    User,
    /// A program with a token of its own.
    ServiceAccount,
    /// An agent acting for someone.
    Agent,
    /// A machine of the compute network.
    Node,
}

/// Somebody or something that can be named in a policy and in the journal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Principal {
    /// What sort of actor.
    pub kind: PrincipalKind,
    /// The name, unique within its kind.
    pub name: String,
}

impl std::fmt::Display for Principal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = match self.kind {
            PrincipalKind::User => "user",
            PrincipalKind::ServiceAccount => "service",
            PrincipalKind::Agent => "agent",
            PrincipalKind::Node => "node",
        };
        write!(f, "{kind}:{}", self.name)
    }
}

/// An authenticated principal with its scope and those it acts for, nearest last.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Caller {
    /// Who acts.
    pub principal: Principal,
    /// Where.
    pub scope: Scope,
    /// The chain of principals this one acts for; its rights are the intersection of theirs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_behalf_of: Vec<Principal>,
}
