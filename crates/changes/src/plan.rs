//! Plans: what a person or an agent wants changed, and nothing about how it is judged.
//!
//! A plan is a YAML or JSON document of a fixed form. It is read in two steps: [`document`] turns
//! the text into a tree of values that know their line and column, without anchors, tags and other
//! means to make a small text large; [`read`] walks that tree and reports *everything* that is
//! wrong, each with its place and, where a guess is fair, with what was probably meant. What
//! remains is a [`Plan`] whose fields hold only what they may hold. Its digest is that of the typed
//! value, so that spacing, comments and the choice between YAML and JSON do not matter.

mod document;
mod json;
mod problem;
mod read;
mod refused;
mod schema;
mod yaml;

use std::collections::BTreeSet;

use matrix_core::{Digest, canonical};
use matrix_evidence::Kind;
use matrix_identity::Risk;
use matrix_worktree::Operation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use problem::{
    NOT_A_PLAN, PLAN_SYNTAX, PLAN_TOO_LARGE, PLAN_VALUE, Place, PlanErrors, PlanFault,
};
pub use schema::schema;

/// The most bytes a plan may have.
pub const PLAN_BYTES: usize = 1 << 20;
/// The most operations a plan may have.
pub const PLAN_OPERATIONS: usize = 1000;
/// The longest title, in characters.
pub const TITLE_CHARS: usize = 200;
/// The longest goal, in characters.
pub const GOAL_CHARS: usize = 10_000;
/// The longest name of an author, in characters.
pub const NAME_CHARS: usize = 100;
/// The longest address of an author, in characters (RFC 5321).
pub const EMAIL_CHARS: usize = 254;
/// The longest revision, in characters.
pub const BASE_CHARS: usize = 512;
/// The longest name of a target, in characters.
pub const TARGET_CHARS: usize = 64;
/// The longest reason for a risk, in characters.
pub const BECAUSE_CHARS: usize = 500;

/// What is to become of a repository.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// The version of the form: 1.
    #[schemars(schema_with = "schema::version")]
    pub version: u32,
    /// One line, the subject of the commit.
    #[schemars(length(min = 1, max = TITLE_CHARS))]
    pub title: String,
    /// What is true afterwards, in words.
    #[schemars(length(min = 1, max = GOAL_CHARS))]
    pub goal: String,
    /// Whom the commit names. It grants nothing.
    pub author: Author,
    /// Any revision of the repository: a branch, a tag, a commit.
    #[schemars(length(min = 1, max = BASE_CHARS))]
    pub base: String,
    /// What to do. No two operations touch the same path, so their order does not matter.
    #[schemars(length(min = 1, max = PLAN_OPERATIONS))]
    pub operations: Vec<Operation>,
    /// Kinds of evidence that are required besides those of the policy.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    #[schemars(schema_with = "schema::checks")]
    pub checks: BTreeSet<Kind>,
    /// Where to deploy: a target that the repository names, or `local`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::target")]
    pub target: Option<String>,
    /// Raises the risk; nothing in a plan lowers it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "schema::risk")]
    pub risk: Option<RaisedRisk>,
}

/// Whom a commit names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Author {
    /// The name, of a person or a team.
    #[schemars(length(min = 1, max = NAME_CHARS))]
    pub name: String,
    /// The e-mail address.
    #[schemars(length(min = 3, max = EMAIL_CHARS))]
    pub email: String,
}

/// A risk that the plan's author sees beyond what the rules see.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RaisedRisk {
    /// At least this.
    pub raise: Risk,
    /// Why.
    pub because: String,
}

impl Plan {
    /// Reads a plan. The file's name is for messages, and its extension tells JSON from YAML;
    /// without one the text decides.
    pub fn parse(bytes: &[u8], file_name: &str) -> Result<Self, PlanErrors> {
        let named = |faults| PlanErrors::new(file_name, faults);
        let document = document::read(bytes, file_name).map_err(|fault| named(vec![fault]))?;
        read::plan(&document).map_err(named)
    }

    /// The digest of the plan's meaning: SHA-256 of its canonical JSON, all defaults written out.
    pub fn digest(&self) -> Result<Digest, canonical::NotCanonical> {
        canonical::digest(self)
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
