//! Our own predicate: a change, from plan to deployment, and the digests of every other statement
//! in its bundle. `docs/reference/change-predicate.md` is its specification.
//!
//! Two digests hold it together. The **evidence root** ([`evidence_root`]) names all evidence that
//! the gate saw; **bindings** ([`Bindings`]) name everything an approval is given for. An approval
//! whose bindings are not those of the change was given for something else: it is stale.
//!
//! The form holds no fractional numbers and unknown members are errors, so that every reader in
//! every language sees the same value.

use matrix_core::{Digest, Principal, canonical};
use serde::{Deserialize, Serialize};

use crate::record::{Evidence, Kind, Status};
use crate::statement::{Predicate, Resource, Time};

/// The predicate type without its version.
pub const TYPE_STEM: &str = "urn:matrix:predicate:change:";

/// A change that was decided, and all that the decision rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Change {
    /// The run that made it.
    pub run: Run,
    /// The plan's title.
    pub title: String,
    /// Who submitted it, as authenticated.
    pub submitter: Principal,
    /// Those the submitter acted for, nearest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub on_behalf_of: Vec<Principal>,
    /// The source before and after.
    pub source: Source,
    /// What an approval must name to count.
    pub bindings: Bindings,
    /// One entry for each kind, in the order of [`Kind::ALL`].
    pub evidence: Vec<EvidenceEntry>,
    /// How dangerous the change is.
    pub risk: Risk,
    /// What the policy asked for.
    pub gate: Gate,
    /// Who agreed.
    pub approvals: Vec<Approval>,
    /// What the sandbox proved about itself before it was used.
    pub sandbox: SelfTest,
    /// Where it was deployed, if it was before signing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deployment: Option<Deployment>,
    /// The release in the registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release: Option<String>,
    /// What was published; each is a subject of the statement.
    pub artifacts: Vec<Resource>,
    /// Every other statement of the bundle, in order of digest; [`crate::bundle::Builder`] fills
    /// it.
    #[serde(default)]
    pub statements: Vec<StatementRef>,
}

impl Predicate for Change {
    const TYPE: &'static str = "urn:matrix:predicate:change:v1";
}

/// The run and how far its journal was when the bundle was signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Run {
    /// The run's id.
    pub id: String,
    /// The last entry of its journal at signing.
    pub seq: u64,
    /// That entry's hash, which covers every entry before it.
    pub head: Digest,
    /// When the bundle was signed.
    pub signed_at: Time,
}

/// The source before and after, as git object ids.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// The commit the plan was applied to.
    pub base_commit: String,
    /// The tree that results; a subject of the statement.
    pub tree: String,
    /// The commit that was published with that tree; a subject too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
}

/// Everything an approval is given for. If any of it changes, the approval is stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bindings {
    /// The plan's canonical bytes.
    pub plan: Digest,
    /// The canonical diff.
    pub patch: Digest,
    /// The resulting git tree's id.
    pub tree: String,
    /// [`evidence_root`] of all evidence.
    pub evidence: Digest,
    /// The policy's bytes.
    pub policy: Digest,
    /// The target's dry run.
    pub dry_run: Digest,
}

/// One kind of evidence as it stands in the predicate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct EvidenceEntry {
    /// What was checked.
    pub kind: Kind,
    /// How it ended.
    pub status: Status,
    /// Why it was skipped or failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One line for people.
    pub summary: String,
    /// The digest of the details' canonical JSON.
    pub details: Digest,
    /// The files behind it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<Resource>,
}

impl EvidenceEntry {
    /// The entry of some evidence. The time it took is left out: it says nothing about the change.
    pub fn of(evidence: &Evidence) -> Result<Self, canonical::NotCanonical> {
        Ok(Self {
            kind: evidence.kind,
            status: evidence.status,
            reason: evidence.reason.clone(),
            summary: evidence.summary.clone(),
            details: canonical::digest(&evidence.details)?,
            artifacts: evidence.artifacts.iter().map(Resource::from).collect(),
        })
    }

    /// The entries of all evidence, in the order of [`Kind::ALL`].
    pub fn all(evidence: &[Evidence]) -> Result<Vec<Self>, canonical::NotCanonical> {
        let mut entries = evidence
            .iter()
            .map(Self::of)
            .collect::<Result<Vec<_>, _>>()?;
        entries.sort_by_key(|entry| entry.kind);
        Ok(entries)
    }
}

/// The one digest that names all evidence: of the entries' canonical JSON (RFC 8785) array, in
/// order of kind.
pub fn evidence_root(entries: &[EvidenceEntry]) -> Result<Digest, canonical::NotCanonical> {
    canonical::digest(&entries)
}

/// How dangerous a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RiskLevel {
    /// Passes by itself where policy agrees.
    Low,
    /// Worth one person's look.
    Medium,
    /// Worth two.
    High,
    /// Never automatic.
    Critical,
}

impl RiskLevel {
    /// The word used in plans, policies and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for RiskLevel {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A level and the rules that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Risk {
    /// The level.
    pub level: RiskLevel,
    /// One sentence for each rule that held.
    pub reasons: Vec<String>,
}

/// What the policy asked for. A bundle exists only for a change that got it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gate {
    /// Kinds that had to pass; skipped was not enough.
    pub required: Vec<Kind>,
    /// How many distinct people had to agree.
    pub approvals: u32,
    /// When it decided.
    pub decided_at: Time,
}

/// One person's agreement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub principal: Principal,
    /// When.
    pub at: Time,
    /// What they were shown and agreed to.
    pub bound: Bindings,
    /// The submitter's own agreement, in a directory with a single user.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub self_approval: bool,
    /// What they said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The sandbox's test of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SelfTest {
    /// The full report.
    pub digest: Digest,
    /// One line for people: mechanisms and counts.
    pub summary: String,
    /// Escape attempts that were held.
    pub held: u32,
    /// Escape attempts that got through; any but zero means that no work may be trusted.
    pub escaped: u32,
}

/// Where the release went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Deployment {
    /// The deployment's id.
    pub id: String,
    /// The target's name.
    pub target: String,
    /// Development, staging, production.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub environment: Option<String>,
}

/// A statement of the same bundle.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StatementRef {
    /// The SHA-256 of its envelope's payload.
    pub digest: Digest,
    /// Its predicate type.
    pub predicate_type: String,
}
