//! Suites with more tests than a journal should hold by name.
//!
//! Of such a suite what failed or was skipped stands in the result by name. Of the rest there is a
//! mark each: the first 64 bits of the digest of the test's id. That is enough to count, and to tell
//! whether a test that the other revision names passed here, or is gone.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use matrix_core::Digest;
use matrix_evidence::junit::{Outcome, TestCase, TestReport};
use serde::{Deserialize, Serialize};

use super::judge::plural;

/// How many cases one result names.
pub(crate) const MAX_NAMED: usize = 50_000;

/// Tests that passed and are not named.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Counted {
    /// Marks of 16 hexadecimal digits each, in order, without anything between them.
    marks: String,
}

impl Counted {
    pub(crate) fn mark(id: &str) -> u64 {
        let digest = Digest::of(id).to_string();
        digest
            .get(..16)
            .and_then(|start| u64::from_str_radix(start, 16).ok())
            .unwrap_or_default()
    }

    /// Whether every test is named.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// How many are not named.
    pub fn len(&self) -> usize {
        self.marks.len() / 16
    }

    pub(crate) fn marks(&self) -> BTreeSet<u64> {
        let digits = self.marks.as_bytes().chunks(16);
        let texts = digits.filter_map(|digits| std::str::from_utf8(digits).ok());
        texts
            .filter_map(|text| u64::from_str_radix(text, 16).ok())
            .collect()
    }
}

/// Takes the tests that passed out of a list that is too long, and what a reader should know then.
///
/// # Errors
/// When there are too many even of the others.
pub(crate) fn fold(cases: &mut Vec<TestCase>) -> Result<Option<(Counted, String)>, String> {
    if cases.len() <= MAX_NAMED {
        return Ok(None);
    }
    let all = cases.len();
    let (passed, named): (Vec<TestCase>, Vec<TestCase>) = std::mem::take(cases)
        .into_iter()
        .partition(|case| case.outcome == Outcome::Passed && !case.flaky);
    *cases = named;
    let marks: BTreeSet<u64> = passed
        .iter()
        .map(|case| Counted::mark(&case.id()))
        .collect();
    let mut counted = Counted::default();
    for mark in &marks {
        let _ = write!(counted.marks, "{mark:016x}");
    }
    if cases.len() > MAX_NAMED {
        let count = cases.len();
        cases.truncate(MAX_NAMED);
        return Err(format!(
            "{count} tests failed or were skipped; at most {MAX_NAMED} are named"
        ));
    }
    let note = format!(
        "of {all} tests {} named here, because more than {MAX_NAMED} would be too many; the {} that \
         passed are counted and stand in the JUnit file",
        plural(cases.len(), "is", "are"),
        marks.len()
    );
    Ok(Some((counted, note)))
}

/// A report with the tests of others that passed in it without being named.
pub(crate) fn with_asked<'a>(
    mut report: TestReport,
    counted: &Counted,
    asked: impl Iterator<Item = &'a TestCase>,
) -> TestReport {
    if counted.is_empty() {
        return report;
    }
    let marks = counted.marks();
    let mut known: BTreeSet<String> = report.cases.iter().map(TestCase::id).collect();
    for case in asked {
        let id = case.id();
        if marks.contains(&Counted::mark(&id)) && known.insert(id) {
            let passed = TestCase::new(case.class.clone(), case.name.clone(), Outcome::Passed);
            report.cases.push(passed);
        }
    }
    report
}

/// How many tests passed unnamed before and are gone, and how many passed unnamed on both sides.
pub(crate) fn gone(
    before: &Counted,
    now: &Counted,
    named_now: impl Iterator<Item = String>,
) -> (usize, usize) {
    if before.is_empty() {
        return (0, 0);
    }
    let (before, now) = (before.marks(), now.marks());
    let named: BTreeSet<u64> = named_now.map(|id| Counted::mark(&id)).collect();
    let missing = before.difference(&now).filter(|mark| !named.contains(mark));
    (missing.count(), before.intersection(&now).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suite(count: usize) -> Vec<TestCase> {
        (0..count)
            .map(|number| TestCase::new("s", format!("t{number}"), Outcome::Passed))
            .collect()
    }

    #[test]
    fn only_a_suite_that_is_too_long_is_folded_and_what_failed_stays_by_name() {
        let mut short = suite(MAX_NAMED);
        assert_eq!(fold(&mut short), Ok(None));
        let mut long = suite(MAX_NAMED + 2);
        long[7].outcome = Outcome::Failed;
        let (counted, note) = fold(&mut long).unwrap().unwrap();
        assert_eq!(long.len(), 1);
        assert_eq!(long[0].name, "t7");
        assert_eq!(counted.len(), MAX_NAMED + 1);
        assert!(note.starts_with("of 50002 tests 1 is named here"), "{note}");
        let asked = [
            TestCase::new("s", "t8", Outcome::Failed),
            TestCase::new("s", "t7", Outcome::Passed),
            TestCase::new("s", "new", Outcome::Passed),
        ];
        let report = TestReport { cases: long };
        let found = with_asked(report, &counted, asked.iter());
        let ids: Vec<_> = found.cases.iter().map(TestCase::id).collect();
        assert_eq!(ids, ["s::t7", "s::t8"]);
    }

    #[test]
    fn tests_that_are_gone_are_counted() {
        let mut before = suite(MAX_NAMED + 5);
        let (before, _) = fold(&mut before).unwrap().unwrap();
        let mut now = suite(MAX_NAMED + 2);
        let (now, _) = fold(&mut now).unwrap().unwrap();
        let named = ["s::t50004".to_owned()];
        assert_eq!(gone(&before, &now, named.into_iter()), (2, MAX_NAMED + 2));
        assert_eq!(gone(&Counted::default(), &now, std::iter::empty()), (0, 0));
    }

    #[test]
    fn a_suite_that_is_red_from_end_to_end_has_a_limit() {
        let mut red = suite(MAX_NAMED + 1);
        for case in &mut red {
            case.outcome = Outcome::Failed;
        }
        assert!(fold(&mut red).unwrap_err().contains("at most 50000"));
        assert_eq!(red.len(), MAX_NAMED);
    }
}
