//! From the results of both sides to evidence: a pure decision.
//!
//! Evidence is relative to the base revision. A change is not blamed for what was there before,
//! and it is blamed for everything that was not: a red test that base did not have, a finding
//! that base did not have, a check that base could run and it cannot. What did not run is
//! skipped, with the reason, and never counts as passed.

mod findings;
mod tests_kind;

use std::collections::{BTreeMap, BTreeSet};

use matrix_evidence::{ArtifactRef, Evidence, Kind, Status};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::facts::Facts;
use super::result::{CheckResult, Report, Side, State};

pub use tests_kind::{base_needs_second_attempt, needs_second_attempt};

/// How many names one list of the details holds.
const MAX_NAMES: usize = 200;

/// The evidence of one kind with the facts it gives the gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// The evidence.
    pub evidence: Evidence,
    /// The facts.
    pub facts: Facts,
    /// What the build gave that is to be published.
    pub outputs: Vec<ArtifactRef>,
}

/// Judges one kind from all its results. `base` and `head` hold every attempt of every check of
/// that kind; `moved` gives the new path of each file the change moved.
pub fn judge(
    kind: Kind,
    base: &[CheckResult],
    head: &[CheckResult],
    moved: &BTreeMap<String, String>,
) -> Judged {
    let pairs = pairs(kind, base, head);
    let mut opinion = match kind {
        Kind::TestResults => tests_kind::judge(&pairs),
        Kind::Lint | Kind::SecurityScan | Kind::DependencyAudit => {
            findings::judge(kind, &pairs, moved)
        }
        Kind::BuildLog => build(&pairs),
        Kind::Sbom => bill(&pairs),
    };
    let all = || base.iter().chain(head).filter(|result| result.kind == kind);
    let notes: BTreeSet<&String> = all().flat_map(|result| &result.notes).collect();
    if !notes.is_empty() {
        let notes: Vec<_> = notes.into_iter().take(MAX_NAMES).collect();
        opinion.detail("notes", json!(notes));
    }
    opinion.detail("commands", commands(&pairs));
    opinion.facts.sandbox_denials = all().map(|result| result.denials.len() as u64).sum();
    let mechanisms: BTreeSet<&str> = all()
        .map(|result| result.mechanism.as_str())
        .filter(|mechanism| !mechanism.is_empty())
        .collect();
    if !mechanisms.is_empty() {
        opinion.detail("limits_enforced_by", json!(mechanisms));
    }
    Judged {
        evidence: Evidence {
            kind,
            status: opinion.status,
            reason: opinion.reason,
            summary: opinion.summary,
            details: opinion.details,
            artifacts: all().flat_map(|result| result.files.clone()).collect(),
            duration_ms: all().map(|result| result.duration_ms).sum(),
        },
        facts: opinion.facts,
        outputs: head
            .iter()
            .filter(|result| result.kind == kind)
            .flat_map(|result| result.artifacts.clone())
            .collect(),
    }
}

/// One check's results on both sides.
pub(crate) struct Pair<'a> {
    pub(crate) job: &'a str,
    /// The first attempt on base.
    pub(crate) base: Option<&'a CheckResult>,
    /// The second attempt on base, where one was made.
    pub(crate) base_again: Option<&'a CheckResult>,
    /// Every attempt, in order.
    pub(crate) head: Vec<&'a CheckResult>,
}

impl Pair<'_> {
    /// The first attempt on the change.
    fn first(&self) -> Option<&CheckResult> {
        self.head.first().copied()
    }
}

fn pairs<'a>(kind: Kind, base: &'a [CheckResult], head: &'a [CheckResult]) -> Vec<Pair<'a>> {
    let mut pairs: BTreeMap<&str, Pair<'a>> = BTreeMap::new();
    for result in base.iter().chain(head).filter(|result| result.kind == kind) {
        let pair = pairs.entry(&result.job).or_insert_with(|| Pair {
            job: &result.job,
            base: None,
            base_again: None,
            head: Vec::new(),
        });
        match result.side {
            Side::Base if result.attempt == 1 => pair.base = Some(result),
            Side::Base => pair.base_again = Some(result),
            Side::Head => pair.head.push(result),
        }
    }
    let mut pairs: Vec<_> = pairs.into_values().collect();
    for pair in &mut pairs {
        pair.head.sort_by_key(|result| result.attempt);
    }
    pairs
}

fn commands(pairs: &[Pair<'_>]) -> Value {
    let commands: BTreeMap<&str, String> = pairs
        .iter()
        .filter_map(|pair| {
            let result = pair.first().or(pair.base)?;
            (!result.command.is_empty()).then(|| (pair.job, result.command.join(" ")))
        })
        .collect();
    json!(commands)
}

/// What the judge of a kind says.
pub(crate) struct Opinion {
    pub(crate) status: Status,
    pub(crate) reason: Option<String>,
    pub(crate) summary: String,
    pub(crate) details: BTreeMap<String, Value>,
    pub(crate) facts: Facts,
}

impl Opinion {
    fn new(status: Status, reason: Option<String>, summary: String) -> Self {
        Self {
            status,
            reason,
            summary,
            details: BTreeMap::new(),
            facts: Facts::default(),
        }
    }

    fn passed(summary: impl Into<String>) -> Self {
        Self::new(Status::Passed, None, summary.into())
    }

    fn failed(reason: impl Into<String>, summary: impl Into<String>) -> Self {
        Self::new(Status::Failed, Some(reason.into()), summary.into())
    }

    fn skipped(reason: impl Into<String>) -> Self {
        let reason = reason.into();
        Self::new(Status::Skipped, Some(reason.clone()), reason)
    }

    fn detail(&mut self, key: &str, value: Value) {
        self.details.insert(key.to_owned(), value);
    }

    fn names(&mut self, key: &str, names: &[String]) {
        if names.is_empty() {
            return;
        }
        let shown: Vec<_> = names.iter().take(MAX_NAMES).collect();
        self.detail(key, json!(shown));
        if names.len() > MAX_NAMES {
            self.detail(&format!("{key}_count"), json!(names.len()));
        }
    }
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn build(pairs: &[Pair<'_>]) -> Opinion {
    let heads: Vec<&CheckResult> = pairs
        .iter()
        .filter_map(|pair| pair.head.last().copied())
        .collect();
    let mut failed = Vec::new();
    let mut not_run = Vec::new();
    for pair in pairs {
        let Some(head) = pair.head.last() else {
            continue;
        };
        let base_failed = pair
            .base
            .is_some_and(|base| base.report != Report::Build { success: true });
        let before = if base_failed {
            " (so did the base's)"
        } else {
            ""
        };
        match &head.state {
            State::NotRun { reason } => not_run.push(reason.clone()),
            State::Broken { reason } => failed.push(format!("{}: {reason}", pair.job)),
            State::Completed if head.report == (Report::Build { success: true }) => {}
            State::Completed => {
                let words = head.notes.first().cloned().unwrap_or_default();
                failed.push(format!("{} failed{before}: {words}", pair.job));
            }
        }
    }
    if !failed.is_empty() {
        let summary = plural(failed.len(), "build failed", "builds failed");
        return Opinion::failed(failed.join("; "), summary);
    }
    if let Some(reason) = not_run.first() {
        return Opinion::skipped(reason.clone());
    }
    if heads.is_empty() {
        return Opinion::skipped("no build was found");
    }
    let outputs = heads
        .iter()
        .map(|result| result.artifacts.len())
        .sum::<usize>();
    let mut opinion = Opinion::passed(format!(
        "{}, {}",
        plural(heads.len(), "build", "builds"),
        plural(outputs, "artifact", "artifacts")
    ));
    opinion.detail("builds", json!(heads.len()));
    opinion.detail("outputs", json!(outputs));
    opinion
}

fn bill(pairs: &[Pair<'_>]) -> Opinion {
    let Some(head) = pairs.iter().find_map(|pair| pair.head.last()) else {
        return Opinion::skipped("no bill of materials was made");
    };
    match (&head.state, &head.report) {
        (
            State::Completed,
            Report::Bill {
                components,
                added,
                removed,
                lock_files,
            },
        ) => {
            let mut opinion = Opinion::passed(format!(
                "{components} components, {} new, {} gone",
                added.len(),
                removed.len()
            ));
            opinion.detail("components", json!(components));
            opinion.detail("lock_files", json!(lock_files));
            let names = |list: &[super::result::Dependency]| -> Vec<String> {
                list.iter().map(ToString::to_string).collect()
            };
            opinion.names("new", &names(added));
            opinion.names("gone", &names(removed));
            opinion.facts.new_dependencies.clone_from(added);
            opinion.facts.removed_dependencies.clone_from(removed);
            opinion
        }
        (State::NotRun { reason }, _) => Opinion::skipped(reason.clone()),
        (State::Broken { reason }, _) => {
            Opinion::failed(reason.clone(), "the lock files could not be read")
        }
        _ => Opinion::skipped("no bill of materials was made"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use matrix_evidence::junit::{Outcome, TestCase};
    use matrix_evidence::sarif::Level;

    use crate::verify::result::finding;

    pub(super) fn result(side: Side, attempt: u32, kind: Kind, report: Report) -> CheckResult {
        let mut result =
            CheckResult::not_run(&format!("{kind}/x"), kind, side, attempt, String::new());
        result.state = State::Completed;
        result.report = report;
        result
    }

    fn tests_of(side: Side, attempt: u32, cases: &[(&str, Outcome)]) -> CheckResult {
        let cases = cases
            .iter()
            .map(|(name, outcome)| TestCase::new("s", *name, *outcome));
        let report = Report::Tests {
            cases: cases.collect(),
        };
        result(side, attempt, Kind::TestResults, report)
    }

    fn judged(base: &[CheckResult], head: &[CheckResult]) -> Judged {
        let kind = head.first().or(base.first()).unwrap().kind;
        judge(kind, base, head, &BTreeMap::new())
    }

    use Outcome::{Failed, Passed, Skipped};

    #[test]
    fn a_change_that_fixes_a_test_passes_and_says_so() {
        let base = [tests_of(Side::Base, 1, &[("a", Failed), ("b", Passed)])];
        let head = [tests_of(Side::Head, 1, &[("a", Passed), ("b", Passed)])];
        let judged = judged(&base, &head);
        assert_eq!(judged.evidence.status, Status::Passed);
        assert_eq!(judged.facts.fixes_failing_test, ["s::a"]);
        assert_eq!(judged.evidence.summary, "2 passed, 1 fixed");
    }

    #[test]
    fn a_broken_or_new_red_test_fails() {
        let base = [tests_of(Side::Base, 1, &[("a", Passed), ("c", Failed)])];
        let head = [tests_of(
            Side::Head,
            1,
            &[("a", Failed), ("b", Failed), ("c", Failed)],
        )];
        let judged = judged(&base, &head);
        assert_eq!(judged.evidence.status, Status::Failed);
        assert_eq!(judged.facts.breaks_passing_test, ["s::a"]);
        assert_eq!(judged.facts.fails_new_test, ["s::b"]);
        assert_eq!(judged.facts.red_on_both, ["s::c"]);
    }

    #[test]
    fn red_on_both_sides_passes_and_is_told() {
        let cases = [("a", Failed), ("b", Passed)];
        let base = [tests_of(Side::Base, 1, &cases)];
        let judged = judged(&base, &[tests_of(Side::Head, 1, &cases)]);
        assert_eq!(judged.evidence.status, Status::Passed);
        assert_eq!(judged.facts.red_on_both, ["s::a"]);
    }

    #[test]
    fn red_then_green_is_flaky_and_red_twice_is_not() {
        let base = [tests_of(Side::Base, 1, &[("a", Passed), ("b", Passed)])];
        let first = tests_of(Side::Head, 1, &[("a", Failed), ("b", Passed)]);
        assert!(needs_second_attempt(base.first(), &first));
        let green = tests_of(Side::Head, 2, &[("a", Passed), ("b", Passed)]);
        let flaky = judged(&base, &[first.clone(), green]);
        assert_eq!(flaky.evidence.status, Status::Passed);
        assert_eq!(flaky.facts.flaky, ["s::a"]);
        let red = tests_of(Side::Head, 2, &[("a", Failed), ("b", Passed)]);
        assert_eq!(judged(&base, &[first, red]).evidence.status, Status::Failed);
    }

    #[test]
    fn a_test_that_base_passes_when_asked_again_was_not_fixed() {
        let base = tests_of(
            Side::Base,
            1,
            &[("a", Failed), ("b", Failed), ("c", Passed)],
        );
        let head = [tests_of(
            Side::Head,
            1,
            &[("a", Passed), ("b", Passed), ("c", Passed)],
        )];
        assert!(base_needs_second_attempt(&base, &head[0]));
        let again = tests_of(
            Side::Base,
            2,
            &[("a", Passed), ("b", Failed), ("c", Failed)],
        );
        let judged = judged(&[base.clone(), again], &head);
        assert_eq!(judged.evidence.status, Status::Passed);
        assert_eq!(judged.facts.fixes_failing_test, ["s::b"]);
        assert_eq!(judged.facts.flaky, ["s::a"]);
        assert!(judged.facts.breaks_passing_test.is_empty());

        // Nothing was fixed: base need not be asked again.
        let red = tests_of(
            Side::Head,
            1,
            &[("a", Failed), ("b", Failed), ("c", Passed)],
        );
        assert!(!base_needs_second_attempt(&base, &red));
    }

    #[test]
    fn a_second_attempt_cannot_make_a_test_vanish() {
        let base = [tests_of(Side::Base, 1, &[("a", Passed)])];
        let first = tests_of(Side::Head, 1, &[("a", Failed)]);
        let empty = tests_of(Side::Head, 2, &[]);
        assert_eq!(
            judged(&base, &[first, empty]).evidence.status,
            Status::Failed
        );
    }

    #[test]
    fn removed_and_newly_skipped_tests_are_facts() {
        let base = [tests_of(
            Side::Base,
            1,
            &[("a", Passed), ("b", Failed), ("c", Passed)],
        )];
        let head = [tests_of(Side::Head, 1, &[("a", Skipped), ("c", Passed)])];
        let judged = judged(&base, &head);
        assert_eq!(judged.facts.skips_test, ["s::a"]);
        assert_eq!(judged.facts.removes_test, ["s::b"]);
    }

    #[test]
    fn no_test_and_tests_that_could_not_run_are_skipped_for_different_reasons() {
        let none = judge(Kind::TestResults, &[], &[], &BTreeMap::new());
        assert_eq!(none.evidence.status, Status::Skipped);
        assert!(none.facts.no_tests_found);
        let missing = CheckResult::not_run("t", Kind::TestResults, Side::Head, 1, "no go".into());
        let missing = judged(&[], &[missing]);
        assert_eq!(missing.evidence.status, Status::Skipped);
        assert_eq!(missing.facts.tests_could_not_run.as_deref(), Some("no go"));
        assert!(!missing.facts.no_tests_found);
        let gone = judged(&[tests_of(Side::Base, 1, &[("a", Passed)])], &[]);
        assert_eq!(gone.evidence.status, Status::Skipped);
        assert_eq!(gone.facts.removes_test, ["s::a"]);
        assert!(gone.facts.no_tests_found);
    }

    #[test]
    fn tests_that_broke_down_fail_even_if_they_did_before() {
        let mut base = tests_of(Side::Base, 1, &[]);
        base.state = State::Broken {
            reason: "does not compile".into(),
        };
        let mut head = base.clone();
        head.side = Side::Head;
        let both = judged(std::slice::from_ref(&base), &[head]);
        assert_eq!(both.evidence.status, Status::Failed);
        let repaired = judged(&[base], &[tests_of(Side::Head, 1, &[("a", Passed)])]);
        assert_eq!(repaired.evidence.status, Status::Passed);
    }

    fn lint(side: Side, rules: &[(&str, Level)]) -> CheckResult {
        let findings = rules
            .iter()
            .map(|(rule, level)| finding(rule, *level, "m", Some(("a.rs", 1)), "text"));
        let report = Report::Findings {
            findings: findings.collect(),
        };
        result(side, 1, Kind::Lint, report)
    }

    #[test]
    fn only_findings_that_base_did_not_have_fail() {
        let base = [lint(Side::Base, &[("a", Level::Error)])];
        let same = judged(&base, &[lint(Side::Head, &[("a", Level::Error)])]);
        assert_eq!(same.evidence.status, Status::Passed);
        assert_eq!(same.evidence.details["older"], json!(1));
        let twice = [("a", Level::Error), ("a", Level::Error)];
        assert_eq!(
            judged(&base, &[lint(Side::Head, &twice)]).evidence.status,
            Status::Failed
        );
        let remark = [("b", Level::Note)];
        assert_eq!(
            judged(&base, &[lint(Side::Head, &remark)]).evidence.status,
            Status::Passed
        );
    }

    #[test]
    fn a_build_passes_only_when_every_build_does() {
        let ok = result(
            Side::Head,
            1,
            Kind::BuildLog,
            Report::Build { success: true },
        );
        let mut bad = result(
            Side::Head,
            1,
            Kind::BuildLog,
            Report::Build { success: false },
        );
        bad.job = "build_log/y".into();
        assert_eq!(
            judged(&[], std::slice::from_ref(&ok)).evidence.status,
            Status::Passed
        );
        assert_eq!(judged(&[], &[ok, bad]).evidence.status, Status::Failed);
        let none = judge(Kind::BuildLog, &[], &[], &BTreeMap::new());
        assert_eq!(none.evidence.status, Status::Skipped);
    }
}
