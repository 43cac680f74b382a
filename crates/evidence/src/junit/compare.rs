//! What a change did to the tests.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Outcome, TestReport};

/// The tests of a change beside those of its base, by id, each list in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Comparison {
    /// Red before, green now.
    pub fixed: Vec<String>,
    /// Green before, red now.
    pub broken: Vec<String>,
    /// Not there or not run before, red now.
    pub new_failing: Vec<String>,
    /// Not there or not run before, green now.
    pub new_passing: Vec<String>,
    /// There before, gone now.
    pub removed: Vec<String>,
    /// Run before, skipped now.
    pub newly_skipped: Vec<String>,
    /// Red before and now.
    pub red_on_both: Vec<String>,
    /// Green now, but here or before the change only when run again.
    pub flaky: Vec<String>,
    /// How many were green before and now.
    pub unchanged: usize,
}

impl Comparison {
    /// Whether the change is worse than its base: a test that passed fails, or a new one fails.
    pub fn is_worse(&self) -> bool {
        !self.broken.is_empty() || !self.new_failing.is_empty()
    }
}

/// Compares by test id. A base without tests makes every test a new one.
pub fn compare(base: &TestReport, head: &TestReport) -> Comparison {
    let mut before = by_id(base);
    let mut comparison = Comparison::default();
    for (id, (now, flaky)) in by_id(head) {
        let (old, wavered) = before.remove(&id).unzip();
        if (flaky || wavered == Some(true)) && now == Outcome::Passed {
            comparison.flaky.push(id.clone());
        }
        let list = match (old, now) {
            (Some(Outcome::Passed), Outcome::Passed) => {
                comparison.unchanged += 1;
                continue;
            }
            (None | Some(Outcome::Skipped), Outcome::Skipped) => continue,
            (Some(_), Outcome::Skipped) => &mut comparison.newly_skipped,
            (None | Some(Outcome::Skipped), Outcome::Passed) => &mut comparison.new_passing,
            (None | Some(Outcome::Skipped), Outcome::Failed | Outcome::Error) => {
                &mut comparison.new_failing
            }
            (Some(Outcome::Passed), Outcome::Failed | Outcome::Error) => &mut comparison.broken,
            (Some(Outcome::Failed | Outcome::Error), Outcome::Passed) => &mut comparison.fixed,
            (Some(Outcome::Failed | Outcome::Error), Outcome::Failed | Outcome::Error) => {
                &mut comparison.red_on_both
            }
        };
        list.push(id);
    }
    comparison.removed = before.into_keys().collect();
    comparison
}

/// The report of a second run laid over the first: what was red at first and green again is green
/// and flaky; everything else is as the first run said. A second run cannot make a test red, and
/// one that it does not mention keeps its outcome.
pub fn merge_rerun(first: &TestReport, second: &TestReport) -> TestReport {
    let again = by_id(second);
    let mut merged = first.clone();
    for case in &mut merged.cases {
        let green = again
            .get(&case.id())
            .is_some_and(|(outcome, _)| *outcome == Outcome::Passed);
        if case.outcome.is_red() && green {
            case.outcome = Outcome::Passed;
            case.flaky = true;
        }
    }
    merged
}

/// Each id once, as bad as its worst case.
fn by_id(report: &TestReport) -> BTreeMap<String, (Outcome, bool)> {
    let mut cases: BTreeMap<String, (Outcome, bool)> = BTreeMap::new();
    for case in &report.cases {
        let entry = cases.entry(case.id()).or_insert((case.outcome, case.flaky));
        entry.0 = entry.0.max(case.outcome);
        entry.1 |= case.flaky;
    }
    cases
}
