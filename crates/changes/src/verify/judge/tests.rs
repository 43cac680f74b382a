//! What the judge says of made-up results.

use super::*;
use matrix_evidence::junit::{Outcome, TestCase};
use matrix_evidence::sarif::Level;

use crate::verify::counted::{Counted, fold};
use crate::verify::result::finding;

pub(super) fn result(side: Side, attempt: u32, kind: Kind, report: Report) -> CheckResult {
    let mut result = CheckResult::not_run(&format!("{kind}/x"), kind, side, attempt, String::new());
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
        counted: Counted::default(),
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

#[test]
fn a_build_that_this_machine_cannot_make_is_skipped_unless_it_could_before() {
    let lacking = |side| {
        let mut result = result(side, 1, Kind::BuildLog, Report::Nothing);
        result.state = State::NotRun {
            reason: "the wheel cannot be built here".into(),
        };
        result.command = vec!["python3".into()];
        result
    };
    let both = judged(&[lacking(Side::Base)], &[lacking(Side::Head)]);
    assert_eq!(both.evidence.status, Status::Skipped);
    assert_eq!(both.evidence.details["commands"], json!({}));
    let new = judged(&[], &[lacking(Side::Head)]);
    assert_eq!(new.evidence.status, Status::Failed);
    let built = result(
        Side::Base,
        1,
        Kind::BuildLog,
        Report::Build { success: true },
    );
    let lost = judged(&[built], &[lacking(Side::Head)]);
    assert_eq!(lost.evidence.status, Status::Failed);
    assert!(
        lost.evidence
            .reason
            .unwrap()
            .contains("the base could be built")
    );
}

#[test]
fn a_build_that_cannot_begin_is_skipped_unless_it_could_before() {
    let missing = |side| {
        let reason = "the build requirements could not be fetched".into();
        CheckResult::not_run("build_log/x", Kind::BuildLog, side, 1, reason)
    };
    let built = |success| {
        let mut result = result(Side::Base, 1, Kind::BuildLog, Report::Build { success });
        result.command = vec!["make".into(), "build".into()];
        result
    };
    let head = missing(Side::Head);
    assert!(head.command.is_empty(), "nothing was executed");
    assert!(base_build_is_asked(&head), "base decides");

    let lost = judged(&[built(true)], std::slice::from_ref(&head));
    assert_eq!(lost.evidence.status, Status::Failed);
    assert_eq!(lost.facts.failed_kinds, ["build_log"]);
    let reason = lost.evidence.reason.unwrap();
    assert!(reason.contains("the base could be built"), "{reason}");

    let both = judged(&[missing(Side::Base)], std::slice::from_ref(&head));
    assert_eq!(both.evidence.status, Status::Skipped);
    assert!(!both.evidence.details.contains_key(BASE_COMMANDS));
    let new = judged(&[], std::slice::from_ref(&head));
    assert_eq!(new.evidence.status, Status::Skipped);

    // Base's does not work, but it is there.
    let red = judged(&[built(false)], &[head]);
    assert_eq!(red.evidence.status, Status::Skipped);
    assert_eq!(red.evidence.details["commands"], json!({}));
    let of_base = json!({"build_log/x": "make build"});
    assert_eq!(red.evidence.details[BASE_COMMANDS], of_base);
}

#[test]
fn a_very_long_suite_is_counted_and_what_the_change_did_is_still_told() {
    let suite = |side, attempt, count: usize, red: &[usize]| {
        let mut cases: Vec<TestCase> = (0..count)
            .map(|number| {
                let outcome = if red.contains(&number) {
                    Failed
                } else {
                    Passed
                };
                TestCase::new("s", format!("t{number}"), outcome)
            })
            .collect();
        let (counted, _) = fold(&mut cases).unwrap().unwrap();
        result(
            side,
            attempt,
            Kind::TestResults,
            Report::Tests { cases, counted },
        )
    };
    let base = suite(Side::Base, 1, 60_000, &[1, 2]);
    let better = judged(
        std::slice::from_ref(&base),
        &[suite(Side::Head, 1, 60_000, &[2])],
    );
    assert_eq!(
        better.evidence.status,
        Status::Passed,
        "{:?}",
        better.evidence.reason
    );
    assert_eq!(better.evidence.details["passed"], json!(59_999));
    assert_eq!(better.facts.fixes_failing_test, ["s::t1"]);
    assert_eq!(better.facts.red_on_both, ["s::t2"]);
    assert!(better.facts.removes_test.is_empty());

    let worse = suite(Side::Head, 1, 60_000, &[1, 2, 3]);
    assert!(needs_second_attempt(Some(&base), &worse));
    let again = suite(Side::Head, 2, 60_000, &[1, 2]);
    let flaky = judged(std::slice::from_ref(&base), &[worse.clone(), again]);
    assert_eq!(flaky.facts.flaky, ["s::t3"]);
    assert_eq!(flaky.evidence.status, Status::Passed);
    let red = judged(std::slice::from_ref(&base), &[worse]);
    assert_eq!(red.facts.breaks_passing_test, ["s::t3"]);

    let fewer = judged(&[base], &[suite(Side::Head, 1, 59_990, &[1, 2])]);
    let removed = ["10 tests that passed and are only counted"];
    assert_eq!(fewer.facts.removes_test, removed);
}
