//! Evidence: what one kind of check says about a change.

use std::collections::BTreeMap;

use matrix_core::Digest;
use serde::{Deserialize, Serialize};

/// What was checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Style and correctness findings of the language's own linter (SARIF 2.1.0).
    Lint,
    /// The repository's tests (`JUnit` XML).
    TestResults,
    /// The build, where the repository has one (plain text).
    BuildLog,
    /// Secret patterns and dangerous constructs in the diff (SARIF 2.1.0).
    SecurityScan,
    /// Lock files against an OSV database (SARIF-like JSON).
    DependencyAudit,
    /// The bill of materials (`CycloneDX` 1.6 and SPDX 2.3).
    Sbom,
}

impl Kind {
    /// Every kind, in the order people read them.
    pub const ALL: [Self; 6] = [
        Self::Lint,
        Self::TestResults,
        Self::BuildLog,
        Self::SecurityScan,
        Self::DependencyAudit,
        Self::Sbom,
    ];

    /// The name used in plans, policies and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Lint => "lint",
            Self::TestResults => "test_results",
            Self::BuildLog => "build_log",
            Self::SecurityScan => "security_scan",
            Self::DependencyAudit => "dependency_audit",
            Self::Sbom => "sbom",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// How a check ended. There is no "unknown": what could not run is skipped, with the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ran and the change is no worse than its base.
    Passed,
    /// It ran and the change is worse than its base.
    Failed,
    /// It did not run; [`Evidence::reason`] says why.
    Skipped,
}

/// Bytes that stand behind a piece of evidence, by name and digest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ArtifactRef {
    /// File name, such as `lint.sarif`.
    pub name: String,
    /// Media type, such as `application/sarif+json`.
    pub media_type: String,
    /// The SHA-256 of the bytes.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
}

/// The result of one kind of check on one change, relative to its base revision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// What was checked.
    pub kind: Kind,
    /// How it ended.
    pub status: Status,
    /// Why it was skipped or failed; empty when passed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// One line for people: `12 passed, 1 fixed`.
    pub summary: String,
    /// Facts for policies and readers, such as counts and test names.
    #[serde(default)]
    pub details: BTreeMap<String, serde_json::Value>,
    /// The files behind it.
    #[serde(default)]
    pub artifacts: Vec<ArtifactRef>,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}
