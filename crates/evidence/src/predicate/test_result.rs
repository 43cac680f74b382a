//! In-toto's test result v0.1: which tests passed and which failed.

use serde::{Deserialize, Serialize};

use crate::statement::{Predicate, Resource};

/// How a test run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Outcome {
    /// Every test passed.
    Passed,
    /// None that counts failed, but something is to be looked at.
    Warned,
    /// A test failed.
    Failed,
}

/// The predicate of `https://in-toto.io/attestation/test-result/v0.1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TestResult {
    /// The outcome in all.
    pub result: Outcome,
    /// What was run: the configuration and report files by digest.
    pub configuration: Vec<Resource>,
    /// Names of tests that passed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub passed_tests: Vec<String>,
    /// Names of tests to be looked at, such as flaky ones and those red before the change too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warned_tests: Vec<String>,
    /// Names of tests that failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub failed_tests: Vec<String>,
}

impl Predicate for TestResult {
    const TYPE: &'static str = "https://in-toto.io/attestation/test-result/v0.1";
}
