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

/// The detail that names what was executed of base's builds, where the change's did not run.
pub(crate) const BASE_COMMANDS: &str = "base_commands";

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
    if opinion.status == Status::Failed {
        opinion.facts.failed_kinds = vec![kind.as_str().to_owned()];
    }
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
    let results = pairs
        .iter()
        .filter_map(|pair| Some((pair.job, pair.first().or(pair.base)?)));
    json!(executed(results))
}

/// The commands that ran, by check.
fn executed<'a>(
    results: impl Iterator<Item = (&'a str, &'a CheckResult)>,
) -> BTreeMap<&'a str, String> {
    results
        .filter(|(_, result)| !matches!(result.state, State::NotRun { .. }))
        .filter(|(_, result)| !result.command.is_empty())
        .map(|(job, result)| (job, result.command.join(" ")))
        .collect()
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

/// `1 file`, `2 files`.
pub(crate) fn plural<N>(count: N, one: &str, many: &str) -> String
where
    N: Copy + std::fmt::Display + PartialEq + From<u8>,
{
    let word = if count == N::from(1) { one } else { many };
    format!("{count} {word}")
}

/// Whether base's build is to be asked too: only where the change's build does not stand for
/// itself, because it failed or because it did not run.
pub fn base_build_is_asked(head: &CheckResult) -> bool {
    head.report != Report::Build { success: true }
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
        let before = if pair.base.is_some() && !built_before(pair) {
            " (so did the base's)"
        } else {
            ""
        };
        match &head.state {
            // Whether it was tried or could not even begin: this machine can make it of base.
            State::NotRun { reason } if built_before(pair) => {
                failed.push(format!("{}: {reason}; the base could be built", pair.job));
            }
            // A new build that was tried has no base that would excuse it.
            State::NotRun { reason } if !head.command.is_empty() && pair.base.is_none() => {
                failed.push(format!("{}: {reason}", pair.job));
            }
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
        let mut opinion = Opinion::skipped(reason.clone());
        // A repository whose base has a build has one, whatever keeps the change's from running.
        let of_base = pairs.iter().filter_map(|pair| Some((pair.job, pair.base?)));
        let before = executed(of_base);
        if !before.is_empty() {
            opinion.detail(BASE_COMMANDS, json!(before));
        }
        return opinion;
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

fn built_before(pair: &Pair<'_>) -> bool {
    let success = Report::Build { success: true };
    pair.base.is_some_and(|base| base.report == success)
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
                "{}, {} new, {} gone",
                plural(*components, "component", "components"),
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
mod tests;
