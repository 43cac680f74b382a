//! Test reports: what runners write is read, what we write is read back, and a change's effect on
//! the tests is told right.

use matrix_evidence::junit::Outcome::{self, Error, Failed, Passed, Skipped};
use matrix_evidence::junit::{JunitError, TestCase, TestReport, compare, merge_rerun};
use proptest::prelude::*;

fn report(cases: &[(&str, Outcome)]) -> TestReport {
    TestReport {
        cases: cases
            .iter()
            .map(|(name, outcome)| TestCase::new("t", *name, *outcome))
            .collect(),
    }
}

const PYTEST: &str = r#"<?xml version="1.0" encoding="utf-8"?><testsuites><testsuite name="pytest" errors="1" failures="1" skipped="1" tests="4" time="0.031" timestamp="2026-01-01T00:00:00" hostname="h"><testcase classname="tests.test_a.TestA" name="test_ok" time="0.001" /><testcase classname="tests.test_a" name="test_bad[1-&lt;x&gt;]" time="1,000.25"><failure message="assert 1 == 2&#10;  more">def test_bad():
&gt;       assert 1 == 2
E       assert 1 == 2</failure><system-out>noise</system-out></testcase><testcase classname="tests.test_a" name="test_skip" time="0"><skipped type="pytest.skip" message="later">a.py:3: later</skipped></testcase><testcase classname="tests.test_b" name="test_err" time="x"><error message="failed on setup"><![CDATA[boom & <bang>]]></error></testcase></testsuite></testsuites>"#;

#[test]
fn a_pytest_report_is_read() {
    let report = TestReport::from_junit(PYTEST.as_bytes()).unwrap();
    let ids: Vec<String> = report.cases.iter().map(TestCase::id).collect();
    assert_eq!(
        ids,
        [
            "tests.test_a.TestA::test_ok",
            "tests.test_a::test_bad[1-<x>]",
            "tests.test_a::test_skip",
            "tests.test_b::test_err"
        ]
    );
    let outcomes: Vec<Outcome> = report.cases.iter().map(|case| case.outcome).collect();
    assert_eq!(outcomes, [Passed, Failed, Skipped, Error]);
    assert_eq!(report.cases[1].time_ms, Some(1_000_250));
    assert_eq!(report.cases[3].time_ms, None);
    let message = report.cases[1].message.as_deref().unwrap();
    assert!(
        message.starts_with("assert 1 == 2\n  more\ndef test_bad"),
        "{message}"
    );
    assert!(
        message.contains("> "),
        "entities in text are resolved: {message}"
    );
    assert_eq!(
        report.cases[3].message.as_deref(),
        Some("failed on setup\nboom & <bang>")
    );
}

#[test]
fn nested_suites_give_cases_without_a_class_their_name() {
    let xml = r#"<testsuite name="outer"><properties><property name="a"/></properties>
        <testsuite name="inner"><testcase name="one"/></testsuite>
        <testcase name="two" status="skipped"/><testsuite><testcase name="three"/></testsuite>
        </testsuite>"#;
    let report = TestReport::from_junit(xml.as_bytes()).unwrap();
    let ids: Vec<String> = report.cases.iter().map(TestCase::id).collect();
    assert_eq!(ids, ["inner::one", "outer::two", "outer::three"]);
    assert_eq!(report.cases[1].outcome, Outcome::Skipped);
}

#[test]
fn several_outcomes_of_one_case_count_as_the_worst() {
    let xml = r#"<testsuites><testcase name="a"><skipped/><failure message="f"/></testcase>
        <testcase name="b"><failure message="f"/><error message="e"/></testcase>
        <testcase name="c"><error message="e"/><failure message="f"/></testcase>
        <testcase name="d"><flakyFailure message="once"/></testcase>
        <testcase name="e"><failure message="f"/><skipped/></testcase></testsuites>"#;
    let report = TestReport::from_junit(xml.as_bytes()).unwrap();
    let outcomes: Vec<Outcome> = report.cases.iter().map(|case| case.outcome).collect();
    assert_eq!(outcomes, [Failed, Error, Error, Passed, Failed]);
    assert_eq!(report.cases[1].message.as_deref(), Some("e"));
    assert!(report.cases[3].flaky);
}

#[test]
fn cut_off_and_foreign_files_are_errors() {
    let cut = &PYTEST[..PYTEST.len() - 20];
    assert!(matches!(
        TestReport::from_junit(cut.as_bytes()),
        Err(JunitError::Xml { .. })
    ));
    assert_eq!(
        TestReport::from_junit(b"<html></html>"),
        Err(JunitError::NotJunit("html".into()))
    );
    assert_eq!(TestReport::from_junit(b"  "), Err(JunitError::Empty));
    let deep = "<testsuite>".repeat(100_000);
    assert!(matches!(
        TestReport::from_junit(deep.as_bytes()),
        Err(JunitError::TooLarge(_))
    ));
}

#[test]
fn entities_of_ones_own_do_not_grow() {
    let xml = r#"<!DOCTYPE t [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;">]>
        <testsuites><testcase name="&b;x"><failure>&b;</failure></testcase></testsuites>"#;
    let report = TestReport::from_junit(xml.as_bytes()).unwrap();
    assert_eq!(report.cases[0].message.as_deref(), Some("&b;"));
}

#[test]
fn bytes_that_are_not_text_do_not_hide_a_failure() {
    let mut xml = b"<testsuite><testcase name='a'><failure>\xff\xfe".to_vec();
    xml.extend_from_slice(b"</failure></testcase></testsuite>");
    let report = TestReport::from_junit(&xml).unwrap();
    assert_eq!(report.cases[0].outcome, Outcome::Failed);
}

#[test]
fn a_change_is_compared_test_by_test() {
    let base = report(&[
        ("fixed", Failed),
        ("broken", Passed),
        ("red", Error),
        ("gone", Passed),
        ("muted", Passed),
        ("woken", Skipped),
        ("same", Passed),
    ]);
    let head = report(&[
        ("fixed", Passed),
        ("broken", Error),
        ("red", Failed),
        ("muted", Skipped),
        ("woken", Failed),
        ("same", Passed),
        ("new", Passed),
    ]);
    let comparison = compare(&base, &head);
    assert_eq!(comparison.fixed, ["t::fixed"]);
    assert_eq!(comparison.broken, ["t::broken"]);
    assert_eq!(comparison.red_on_both, ["t::red"]);
    assert_eq!(comparison.removed, ["t::gone"]);
    assert_eq!(comparison.newly_skipped, ["t::muted"]);
    assert_eq!(comparison.new_failing, ["t::woken"]);
    assert_eq!(comparison.new_passing, ["t::new"]);
    assert_eq!(comparison.unchanged, 1);
    assert!(comparison.is_worse());
    assert!(!compare(&base, &base).is_worse());
}

#[test]
fn a_red_parameter_makes_the_test_red() {
    let head = report(&[("p", Outcome::Failed), ("p", Outcome::Passed)]);
    let base = report(&[("p", Outcome::Passed)]);
    assert_eq!(compare(&base, &head).broken, ["t::p"]);
}

#[test]
fn a_second_run_shows_flaky_tests_and_hides_nothing() {
    let first = report(&[("a", Failed), ("b", Error), ("c", Passed), ("d", Failed)]);
    let second = report(&[("a", Passed), ("b", Failed), ("c", Failed)]);
    let merged = merge_rerun(&first, &second);
    let outcomes: Vec<Outcome> = merged.cases.iter().map(|case| case.outcome).collect();
    assert_eq!(outcomes, [Passed, Error, Passed, Failed]);
    assert_eq!(compare(&TestReport::default(), &merged).flaky, ["t::a"]);
    let both = report(&[("a", Failed), ("a", Passed)]);
    assert_eq!(
        merge_rerun(&first, &both).cases[0].outcome,
        Failed,
        "one of the second run's cases is still red"
    );
}

fn case() -> impl Strategy<Value = TestCase> {
    let text = "[ -~é\u{1F600}\n\r\t]{0,30}";
    let outcome = prop::sample::select(vec![Passed, Failed, Error, Skipped]);
    (
        text,
        text,
        outcome,
        any::<bool>(),
        prop::option::of(0_u64..1 << 40),
        text,
    )
        .prop_map(|(class, name, outcome, flaky, time_ms, message)| TestCase {
            class,
            name,
            outcome,
            flaky,
            time_ms,
            message: (outcome != Passed && !message.trim().is_empty())
                .then(|| message.trim().to_owned()),
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(cases in prop::collection::vec(case(), 0..12)) {
        let mut report = TestReport { cases };
        for case in &mut report.cases {
            if case.class.is_empty() {
                case.class = "c".into();
            }
        }
        report.cases.sort_by(|a, b| a.class.cmp(&b.class));
        let read = TestReport::from_junit(report.to_junit("all").as_bytes()).unwrap();
        prop_assert_eq!(read, report);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, text in "[<>/&;!\\[\\]a-z\"= ]{0,200}") {
        let _ = TestReport::from_junit(&bytes);
        let _ = TestReport::from_junit(text.as_bytes());
        let _ = TestReport::from_junit(format!("<testsuite>{text}</testsuite>").as_bytes());
    }

    #[test]
    fn control_characters_do_not_break_the_file(name in any::<String>()) {
        let report = TestReport { cases: vec![TestCase::new("c", name, Outcome::Passed)] };
        prop_assert!(TestReport::from_junit(report.to_junit("all").as_bytes()).is_ok());
    }

    #[test]
    fn every_test_is_in_the_comparison(
        base in prop::collection::vec(case(), 0..12), head in prop::collection::vec(case(), 0..12)
    ) {
        let comparison = compare(&TestReport { cases: base }, &TestReport { cases: head.clone() });
        let red = head.iter().filter(|case| case.outcome.is_red());
        for case in red {
            let id = case.id();
            let lists = [&comparison.broken, &comparison.new_failing, &comparison.red_on_both];
            prop_assert!(lists.iter().any(|list| list.contains(&id)), "{} is lost", id);
        }
    }
}
