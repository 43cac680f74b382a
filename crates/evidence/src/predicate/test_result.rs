//! In-toto's test result v0.1: which tests passed and which failed.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::junit::{Comparison, TestReport};
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

impl TestResult {
    /// The result of a change's tests beside those of its base. A test that the change broke, or
    /// that is new and red, failed; one that is flaky, or was red before the change too, is to be
    /// looked at. `configuration` names what was run, at least the report's file.
    pub fn of(report: &TestReport, comparison: &Comparison, configuration: Vec<Resource>) -> Self {
        let sorted = |lists: [&[String]; 2]| -> BTreeSet<String> {
            lists.into_iter().flatten().cloned().collect()
        };
        let failed = sorted([&comparison.broken, &comparison.new_failing]);
        let warned = sorted([&comparison.flaky, &comparison.red_on_both]);
        let passed: BTreeSet<String> = report
            .cases
            .iter()
            .filter(|case| case.outcome == crate::junit::Outcome::Passed)
            .map(crate::junit::TestCase::id)
            .filter(|id| !failed.contains(id) && !warned.contains(id))
            .collect();
        let result = if !failed.is_empty() {
            Outcome::Failed
        } else if warned.is_empty() {
            Outcome::Passed
        } else {
            Outcome::Warned
        };
        Self {
            result,
            configuration,
            passed_tests: passed.into_iter().collect(),
            warned_tests: warned.into_iter().collect(),
            failed_tests: failed.into_iter().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::junit::{Outcome as Ended, TestCase, compare};

    fn report(cases: &[(&str, Ended)]) -> TestReport {
        TestReport {
            cases: cases
                .iter()
                .map(|(name, outcome)| TestCase::new("", *name, *outcome))
                .collect(),
        }
    }

    fn result(base: &TestReport, head: &TestReport) -> TestResult {
        TestResult::of(head, &compare(base, head), Vec::new())
    }

    #[test]
    fn what_was_red_before_warns_and_what_the_change_broke_fails() {
        let base = report(&[("a", Ended::Passed), ("b", Ended::Failed)]);
        let same = result(&base, &base);
        assert_eq!(same.result, Outcome::Warned);
        assert_eq!(
            (same.passed_tests, same.warned_tests),
            (vec!["a".into()], vec!["b".into()])
        );
        assert_eq!(same.failed_tests, Vec::<String>::new());
        let broken = result(&base, &report(&[("a", Ended::Error), ("b", Ended::Passed)]));
        assert_eq!(broken.result, Outcome::Failed);
        assert_eq!(broken.failed_tests, ["a"]);
        let fixed = result(
            &base,
            &report(&[("a", Ended::Passed), ("b", Ended::Passed)]),
        );
        assert_eq!(fixed.result, Outcome::Passed);
    }
}
