//! In-toto statements (`Statement/v1`): something said, of a known type, about bytes named by
//! digest.
//!
//! A statement's subjects are matched by digest alone; names are for people. The predicate types
//! that this project writes are in [`crate::predicate`].

use std::collections::BTreeMap;
use std::fmt;

use matrix_core::{Digest, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::record::ArtifactRef;

/// The `_type` of every statement.
pub const STATEMENT_TYPE: &str = "https://in-toto.io/Statement/v1";

/// A predicate: what a statement says, with the URI that names its form.
pub trait Predicate: Serialize {
    /// The `predicateType`.
    const TYPE: &'static str;
}

/// A point in time as the attestation formats want it: RFC 3339, UTC, whole seconds.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Time(String);

impl From<Timestamp> for Time {
    fn from(time: Timestamp) -> Self {
        Self(time.to_rfc3339_seconds())
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Digests of one thing by algorithm, such as `sha256` or `gitTree`, in lower-case hexadecimal.
pub type DigestSet = BTreeMap<String, String>;

/// In-toto's `ResourceDescriptor`: something named by its digests.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resource {
    /// A name for people; never used for matching.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// Where it can be found or what it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub uri: String,
    /// Its digests.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub digest: DigestSet,
    /// Media type.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub media_type: String,
    /// Anything else, such as `size`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, Value>,
}

impl Resource {
    /// Bytes by their SHA-256.
    pub fn sha256(name: impl Into<String>, digest: Digest) -> Self {
        Self::with_digest(name, "sha256", digest.to_string())
    }

    /// A git commit by its object id.
    pub fn git_commit(name: impl Into<String>, id: &str) -> Self {
        Self::with_digest(name, "gitCommit", id.to_owned())
    }

    /// A git tree by its object id.
    pub fn git_tree(name: impl Into<String>, id: &str) -> Self {
        Self::with_digest(name, "gitTree", id.to_owned())
    }

    /// Adds where it can be found.
    #[must_use]
    pub fn at(mut self, uri: impl Into<String>) -> Self {
        self.uri = uri.into();
        self
    }

    /// The SHA-256, if it has a well-formed one.
    pub fn sha256_digest(&self) -> Option<Digest> {
        self.digest.get("sha256")?.parse().ok()
    }

    /// Whether the two name the same thing: they share an algorithm and agree on every algorithm
    /// that they share.
    pub fn same_as(&self, other: &Self) -> bool {
        let mut shared = 0_usize;
        for (algorithm, value) in &self.digest {
            match other.digest.get(algorithm) {
                Some(theirs) if theirs == value => shared += 1,
                Some(_) => return false,
                None => {}
            }
        }
        shared > 0
    }

    fn with_digest(name: impl Into<String>, algorithm: &str, value: String) -> Self {
        Self {
            name: name.into(),
            digest: DigestSet::from([(algorithm.to_owned(), value)]),
            ..Self::default()
        }
    }
}

impl From<&ArtifactRef> for Resource {
    fn from(artifact: &ArtifactRef) -> Self {
        let mut resource = Self::sha256(artifact.name.clone(), artifact.digest);
        resource.media_type.clone_from(&artifact.media_type);
        resource
            .annotations
            .insert("size".into(), artifact.size.into());
        resource
    }
}

/// A statement about its subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Statement<P> {
    /// Always [`STATEMENT_TYPE`].
    #[serde(rename = "_type")]
    pub statement_type: String,
    /// What it is about.
    pub subject: Vec<Resource>,
    /// The URI of the predicate's form.
    pub predicate_type: String,
    /// What it says.
    pub predicate: P,
}

impl<P: Predicate> Statement<P> {
    /// A statement of the predicate's own type.
    pub fn new(subject: Vec<Resource>, predicate: P) -> Self {
        Self {
            statement_type: STATEMENT_TYPE.to_owned(),
            subject,
            predicate_type: P::TYPE.to_owned(),
            predicate,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn things_are_matched_by_digest_alone() {
        let a = Resource::sha256("a", Digest::of("x"));
        let renamed = Resource::sha256("b", Digest::of("x"));
        let other = Resource::sha256("a", Digest::of("y"));
        assert!(a.same_as(&renamed));
        assert!(!a.same_as(&other));
        assert!(!a.same_as(&Resource::git_tree("a", "00")), "nothing shared");
        assert!(!Resource::default().same_as(&Resource::default()));
        let mut both = a.clone();
        both.digest.insert("sha512".into(), "1".into());
        let mut differs = a.clone();
        differs.digest.insert("sha512".into(), "2".into());
        assert!(!both.same_as(&differs), "one shared digest differs");
    }
}
