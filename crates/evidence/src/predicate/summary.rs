//! SLSA verification summary v1: the gate's verdict, with everything it looked at by digest.

use serde::{Deserialize, Serialize};

use crate::statement::{DigestSet, Predicate, Time};

/// The predicate of `https://slsa.dev/verification_summary/v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerificationSummary {
    /// Who decided.
    pub verifier: Verifier,
    /// When.
    pub time_verified: Time,
    /// What was asked for: the release.
    pub resource_uri: String,
    /// The policy that decided.
    pub policy: Policy,
    /// Every other statement that the verdict rests on; [`crate::bundle::Builder`] fills it.
    #[serde(default)]
    pub input_attestations: Vec<Input>,
    /// The verdict.
    pub verification_result: Verdict,
    /// SLSA levels and our own properties that hold.
    pub verified_levels: Vec<String>,
    /// The SLSA version the levels are of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slsa_version: Option<String>,
}

impl Predicate for VerificationSummary {
    const TYPE: &'static str = "https://slsa.dev/verification_summary/v1";
}

/// Who decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verifier {
    /// A URI for the gate.
    pub id: String,
}

/// The policy that decided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Its name as a URI.
    pub uri: String,
    /// Its bytes.
    pub digest: DigestSet,
}

/// A statement that the verdict rests on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Input {
    /// Its predicate type.
    pub uri: String,
    /// The SHA-256 of its payload bytes.
    pub digest: DigestSet,
}

/// Whether the release may be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Verdict {
    /// Yes.
    Passed,
    /// No.
    Failed,
}
