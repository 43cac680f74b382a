//! In-toto's SCAI attribute report v0.3: properties of the subjects, each with the file that shows
//! it. Lint, security scan and dependency audit are stated this way, their SARIF files by digest.

use serde::{Deserialize, Serialize};

use crate::record::{Evidence, Kind, Status};
use crate::statement::{Predicate, Resource};

/// The predicate of `https://in-toto.io/attestation/scai/v0.3`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AttributeReport {
    /// The properties.
    pub attributes: Vec<Attribute>,
    /// Who looked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub producer: Option<Resource>,
}

/// One property of the subjects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attribute {
    /// `LINT_PASSED`, `SECURITY_SCAN_PASSED`, …
    pub attribute: String,
    /// Under which conditions: always relative to the base revision.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conditions: Option<Conditions>,
    /// The file that shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Resource>,
}

/// What a property is relative to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Conditions {
    /// The commit that findings are compared with.
    pub relative_to_commit: String,
}

impl Predicate for AttributeReport {
    const TYPE: &'static str = "https://in-toto.io/attestation/scai/v0.3";
}

impl AttributeReport {
    /// The attribute that says evidence of this kind passed.
    pub const fn attribute_of(kind: Kind) -> &'static str {
        match kind {
            Kind::Lint => "LINT_PASSED",
            Kind::TestResults => "TEST_RESULTS_PASSED",
            Kind::BuildLog => "BUILD_LOG_PASSED",
            Kind::SecurityScan => "SECURITY_SCAN_PASSED",
            Kind::DependencyAudit => "DEPENDENCY_AUDIT_PASSED",
            Kind::Sbom => "SBOM_PASSED",
        }
    }

    /// One attribute for each artifact of passed evidence of the given kinds; `None` when none of
    /// them passed with an artifact, as there is then nothing to state.
    pub fn of(evidence: &[Evidence], kinds: &[Kind], base_commit: &str) -> Option<Self> {
        let attributes: Vec<Attribute> = evidence
            .iter()
            .filter(|item| item.status == Status::Passed && kinds.contains(&item.kind))
            .flat_map(|item| {
                item.artifacts.iter().map(|artifact| Attribute {
                    attribute: Self::attribute_of(item.kind).to_owned(),
                    conditions: Some(Conditions {
                        relative_to_commit: base_commit.to_owned(),
                    }),
                    evidence: Some(artifact.into()),
                })
            })
            .collect();
        (!attributes.is_empty()).then_some(Self {
            attributes,
            producer: None,
        })
    }
}
