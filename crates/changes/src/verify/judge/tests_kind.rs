//! Judging tests.

use matrix_evidence::junit::{Comparison, Outcome, TestReport, compare, merge_rerun};
use serde_json::json;

use super::{Opinion, Pair, plural};
use crate::verify::counted::{Counted, gone, with_asked};
use crate::verify::result::{CheckResult, State};

/// Whether a red result deserves a second run: only where it would make the change fail.
pub fn needs_second_attempt(base: Option<&CheckResult>, head: &CheckResult) -> bool {
    if head.attempt != 1 || head.state != State::Completed {
        return false;
    }
    let (base, head) = told_apart(base, Some(head));
    compare(&base, &head).is_worse()
}

/// Whether a red result of base deserves a second run: only where the change would be said to have
/// fixed a test.
pub fn base_needs_second_attempt(base: &CheckResult, head: &CheckResult) -> bool {
    if base.attempt != 1 || base.state != State::Completed {
        return false;
    }
    let (base, head) = told_apart(Some(base), Some(head));
    !compare(&base, &head).fixed.is_empty()
}

fn report(result: Option<&CheckResult>) -> TestReport {
    TestReport {
        cases: result
            .map(|result| result.cases().to_vec())
            .unwrap_or_default(),
    }
}

/// The reports of two results; what one names and the other only counts is named in both.
fn told_apart(one: Option<&CheckResult>, other: Option<&CheckResult>) -> (TestReport, TestReport) {
    (asked(one, &[other]), asked(other, &[one]))
}

/// The report of a result in which everything that the others name is named.
fn asked(one: Option<&CheckResult>, others: &[Option<&CheckResult>]) -> TestReport {
    let named = others
        .iter()
        .flatten()
        .flat_map(|other| other.cases().iter());
    match one.and_then(CheckResult::counted) {
        Some(counted) => with_asked(report(one), counted, named),
        None => report(one),
    }
}

#[derive(Default)]
struct Totals {
    comparison: Comparison,
    passed: usize,
    passed_names: Vec<String>,
    red: usize,
    errors: usize,
    skipped: usize,
    broken: Vec<String>,
    not_run: Vec<String>,
}

pub(super) fn judge(pairs: &[Pair<'_>]) -> Opinion {
    let mut totals = Totals::default();
    for pair in pairs {
        totals.add(pair, pairs.len() > 1);
    }
    let mut opinion = totals.opinion();
    let Totals {
        comparison,
        passed,
        passed_names,
        red,
        skipped,
        ..
    } = totals;
    opinion.names("passed_tests", &passed_names);
    opinion.names("fixed", &comparison.fixed);
    opinion.names("broken", &comparison.broken);
    opinion.names("new_failing", &comparison.new_failing);
    opinion.names("new_passing", &comparison.new_passing);
    opinion.names("removed", &comparison.removed);
    opinion.names("newly_skipped", &comparison.newly_skipped);
    opinion.names("red_on_both", &comparison.red_on_both);
    opinion.names("flaky", &comparison.flaky);
    opinion.detail("passed", json!(passed));
    opinion.detail("failed", json!(red));
    opinion.detail("skipped", json!(skipped));
    let facts = &mut opinion.facts;
    facts.fixes_failing_test = comparison.fixed;
    facts.breaks_passing_test = comparison.broken;
    facts.fails_new_test = comparison.new_failing;
    facts.removes_test = comparison.removed;
    facts.skips_test = comparison.newly_skipped;
    facts.red_on_both = comparison.red_on_both;
    facts.flaky = comparison.flaky;
    opinion
}

impl Totals {
    fn add(&mut self, pair: &Pair<'_>, several: bool) {
        let all: Vec<_> = [pair.base, pair.base_again]
            .into_iter()
            .chain(pair.head.iter().copied().map(Some))
            .collect();
        let report = |one| asked(one, &all);
        let mut before = report(pair.base);
        if let Some(again) = pair.base_again
            && again.state == State::Completed
        {
            before = merge_rerun(&before, &report(Some(again)));
        }
        let mut now = TestReport::default();
        if let Some(first) = pair.first() {
            match &first.state {
                State::NotRun { reason } => {
                    // What could not run was not removed.
                    self.not_run.push(reason.clone());
                    return;
                }
                State::Broken { reason } => self.broken.push(format!("{}: {reason}", pair.job)),
                State::Completed => {}
            }
            now = report(Some(first));
        }
        let again = pair.head.iter().skip(1);
        for again in again.filter(|again| again.state == State::Completed) {
            now = merge_rerun(&now, &report(Some(again)));
        }
        for case in &now.cases {
            match case.outcome {
                Outcome::Passed => {
                    self.passed += 1;
                    self.passed_names.push(case.id());
                }
                Outcome::Failed => self.red += 1,
                Outcome::Error => {
                    self.red += 1;
                    self.errors += 1;
                }
                Outcome::Skipped => self.skipped += 1,
            }
        }
        let mut compared = compare(&before, &now);
        self.count_unnamed(pair, &now, &mut compared);
        let told = |names: Vec<String>| -> Vec<String> {
            let name = |name: String| {
                if several {
                    format!("{}: {name}", pair.job)
                } else {
                    name
                }
            };
            names.into_iter().map(name).collect()
        };
        let mine = &mut self.comparison;
        mine.fixed.extend(told(compared.fixed));
        mine.broken.extend(told(compared.broken));
        mine.new_failing.extend(told(compared.new_failing));
        mine.new_passing.extend(told(compared.new_passing));
        mine.newly_skipped.extend(told(compared.newly_skipped));
        mine.red_on_both.extend(told(compared.red_on_both));
        mine.flaky.extend(told(compared.flaky));
        mine.unchanged += compared.unchanged;
        // A run that broke down says nothing about the tests it did not reach.
        let complete = pair
            .first()
            .is_none_or(|first| first.state == State::Completed);
        if complete {
            mine.removed.extend(told(compared.removed));
        }
    }

    /// Tests that passed and are named on neither side.
    fn count_unnamed(&mut self, pair: &Pair<'_>, now: &TestReport, compared: &mut Comparison) {
        let counted = |one: Option<&CheckResult>| {
            let counted = one.and_then(CheckResult::counted);
            counted.cloned().unwrap_or_default()
        };
        let (before, after) = (counted(pair.base), counted(pair.first()));
        if before.is_empty() && after.is_empty() {
            return;
        }
        let named = after.marks();
        let asked = now.cases.iter().filter(|case| {
            case.outcome == Outcome::Passed && named.contains(&Counted::mark(&case.id()))
        });
        self.passed += after.len().saturating_sub(asked.count());
        let ids = now.cases.iter().map(matrix_evidence::junit::TestCase::id);
        let (gone, unchanged) = gone(&before, &after, ids);
        compared.unchanged += unchanged;
        if gone > 0 {
            let tests = plural(gone, "test", "tests");
            compared
                .removed
                .push(format!("{tests} that passed and are only counted"));
        }
    }

    fn opinion(&self) -> Opinion {
        let summary = self.summary();
        let comparison = &self.comparison;
        if !self.broken.is_empty() {
            let reason = format!(
                "the tests did not run to their end: {}",
                self.broken.join("; ")
            );
            return Opinion::failed(reason, summary);
        }
        if comparison.is_worse() {
            let mut parts = Vec::new();
            for (names, one, many) in [
                (
                    &comparison.broken,
                    "test that passed fails",
                    "tests that passed fail",
                ),
                (&comparison.new_failing, "new test fails", "new tests fail"),
            ] {
                if let Some(first) = names.first() {
                    parts.push(format!("{} (`{first}`…)", plural(names.len(), one, many)));
                }
            }
            return Opinion::failed(parts.join(", "), summary);
        }
        if let Some(reason) = self.not_run.first() {
            let mut opinion = Opinion::skipped(reason.clone());
            opinion.facts.tests_could_not_run = Some(reason.clone());
            return opinion;
        }
        if self.passed == 0 && self.errors > 0 && self.errors == self.red {
            // Nothing was asserted: a module that cannot be imported is one error for all its tests.
            let reason = "no test was reached: each ended in an error before it began".to_owned();
            let mut opinion = Opinion::skipped(reason.clone());
            opinion.facts.tests_could_not_run = Some(reason);
            return opinion;
        }
        if self.passed + self.red == 0 {
            let mut opinion = Opinion::skipped("no tests were found");
            opinion.facts.no_tests_found = true;
            return opinion;
        }
        Opinion::passed(summary)
    }

    fn summary(&self) -> String {
        let mut parts = vec![format!("{} passed", self.passed)];
        let comparison = &self.comparison;
        for (count, word) in [
            (self.red, "failed"),
            (self.skipped, "skipped"),
            (comparison.fixed.len(), "fixed"),
            (comparison.broken.len(), "broken"),
            (comparison.new_failing.len(), "new and failing"),
            (comparison.removed.len(), "removed"),
            (comparison.red_on_both.len(), "red before and now"),
            (comparison.flaky.len(), "flaky"),
        ] {
            if count > 0 {
                parts.push(format!("{count} {word}"));
            }
        }
        parts.join(", ")
    }
}
