//! What the statements say: evidence, approvals, verdict, artifacts.

use std::collections::BTreeSet;

use matrix_core::{Principal, PrincipalKind};

use crate::keys::KeyId;
use crate::predicate::change::{
    Approval, Bindings, Change, EvidenceEntry, RiskLevel, evidence_root,
};
use crate::predicate::summary::Verdict;
use crate::predicate::test_result::Outcome;
use crate::record::{Kind, Status};
use crate::statement::Resource;

use super::statements::Checked;
use super::{Approver, Artifact, Matched, Skipped, Verified, VerifyError};

pub(super) fn check(
    checked: Checked,
    keys: Vec<KeyId>,
    artifacts: &[Artifact],
) -> Result<Verified, Vec<VerifyError>> {
    let mut errors = Vec::new();
    let change = &checked.change;
    check_subjects(change, &checked.subjects, &mut errors);
    check_evidence(change, &mut errors);
    check_approvals(change, &mut errors);
    check_agreement(&checked, &mut errors);
    if change.sandbox.escaped > 0 {
        errors.push(VerifyError::SandboxEscaped {
            escaped: change.sandbox.escaped,
        });
    }
    let matched = match_artifacts(&checked.subjects, artifacts, &mut errors);
    if errors.is_empty() {
        Ok(report(checked, keys, matched))
    } else {
        Err(errors)
    }
}

/// What the change says it made must be what it is about.
fn check_subjects(change: &Change, subjects: &[Resource], errors: &mut Vec<VerifyError>) {
    let mut need = |what: String, thing: &Resource| {
        if !subjects.iter().any(|subject| subject.same_as(thing)) {
            errors.push(VerifyError::NotASubject { what });
        }
    };
    need(
        format!("tree {}", change.source.tree),
        &Resource::git_tree("", &change.source.tree),
    );
    if let Some(commit) = &change.source.commit {
        need(
            format!("commit {commit}"),
            &Resource::git_commit("", commit),
        );
    }
    for artifact in &change.artifacts {
        need(format!("artifact `{}`", artifact.name), artifact);
    }
    if change.bindings.tree != change.source.tree {
        errors.push(VerifyError::Contradiction {
            what: "the tree that was approved is not the tree that was published".into(),
        });
    }
}

fn check_evidence(change: &Change, errors: &mut Vec<VerifyError>) {
    let mut seen = BTreeSet::new();
    for entry in &change.evidence {
        let kind = entry.kind;
        if !seen.insert(kind) {
            errors.push(VerifyError::Contradiction {
                what: format!("{kind} is listed twice"),
            });
        }
        let reason = entry.reason.clone().unwrap_or_default();
        match entry.status {
            Status::Failed => errors.push(VerifyError::Failed { kind, reason }),
            Status::Skipped if change.gate.required.contains(&kind) => {
                errors.push(VerifyError::RequiredSkipped { kind, reason });
            }
            Status::Skipped if reason.is_empty() => {
                errors.push(VerifyError::SkippedSilently { kind });
            }
            Status::Skipped | Status::Passed => {}
        }
    }
    for kind in &change.gate.required {
        if !seen.contains(kind) {
            errors.push(VerifyError::RequiredMissing { kind: *kind });
        }
    }
    if evidence_root(&change.evidence).ok() != Some(change.bindings.evidence) {
        errors.push(VerifyError::Contradiction {
            what: "the evidence is not the evidence that the gate saw".into(),
        });
    }
}

fn check_approvals(change: &Change, errors: &mut Vec<VerifyError>) {
    let mut people: BTreeSet<&str> = BTreeSet::new();
    for approval in &change.approvals {
        let who = approval.principal.to_string();
        let before = errors.len();
        let stale = differences(&approval.bound, &change.bindings);
        if !stale.is_empty() {
            errors.push(VerifyError::StaleApproval {
                who: who.clone(),
                what: stale.join(", "),
            });
        }
        if let Some(why) = refusal(approval, change) {
            errors.push(VerifyError::InvalidApproval {
                who: who.clone(),
                why,
            });
        }
        if errors.len() == before && !people.insert(&approval.principal.name) {
            errors.push(VerifyError::InvalidApproval {
                who,
                why: "the same person approved twice",
            });
        }
    }
    let automatic = u32::from(change.risk.level == RiskLevel::Critical);
    let needed = change.gate.approvals.max(automatic);
    if people.len() < usize::try_from(needed).unwrap_or(usize::MAX) {
        errors.push(VerifyError::TooFewApprovals {
            needed,
            given: people.len(),
        });
    }
}

/// Why an approval may not count, whatever it was given for.
fn refusal(approval: &Approval, change: &Change) -> Option<&'static str> {
    let own = is_own(&approval.principal, change);
    if approval.principal.kind != PrincipalKind::User {
        Some("only people approve")
    } else if own && !approval.self_approval {
        Some("the submitter may not approve their own change")
    } else if !own && approval.self_approval {
        Some("it is recorded as the submitter's own, but is not")
    } else if own && change.risk.level == RiskLevel::Critical {
        Some("a critical change cannot be approved by its submitter")
    } else {
        None
    }
}

fn is_own(principal: &Principal, change: &Change) -> bool {
    *principal == change.submitter || change.on_behalf_of.contains(principal)
}

/// The names of what two bindings do not agree on.
fn differences(bound: &Bindings, actual: &Bindings) -> Vec<&'static str> {
    let parts = [
        ("plan", bound.plan == actual.plan),
        ("patch", bound.patch == actual.patch),
        ("tree", bound.tree == actual.tree),
        ("evidence", bound.evidence == actual.evidence),
        ("policy", bound.policy == actual.policy),
        ("dry run", bound.dry_run == actual.dry_run),
    ];
    parts
        .into_iter()
        .filter_map(|(name, same)| (!same).then_some(name))
        .collect()
}

/// What the published predicates say must be what the change says.
fn check_agreement(checked: &Checked, errors: &mut Vec<VerifyError>) {
    let change = &checked.change;
    let contradiction = |what: &str| VerifyError::Contradiction { what: what.into() };
    let tests = change.evidence.iter().find(|e| e.kind == Kind::TestResults);
    for result in &checked.tests {
        if result.result == Outcome::Failed || !result.failed_tests.is_empty() {
            errors.push(VerifyError::Failed {
                kind: Kind::TestResults,
                reason: format!("failed tests: {}", first_names(&result.failed_tests)),
            });
        }
        if tests.is_none_or(|entry| entry.status == Status::Skipped) {
            errors.push(contradiction(
                "there is a test result, but the change says that no test ran",
            ));
        }
    }
    for provenance in &checked.provenances {
        if provenance.run_details.metadata.invocation_id != change.run.id {
            errors.push(contradiction("the provenance is of another run"));
        }
    }
    for summary in &checked.summaries {
        if summary.verification_result != Verdict::Passed {
            errors.push(contradiction("the gate's verdict is that it failed"));
        }
        if summary.policy.digest.get("sha256") != Some(&change.bindings.policy.to_string()) {
            errors.push(contradiction("the verdict is of another policy"));
        }
        let named: BTreeSet<String> = checked
            .references
            .iter()
            .map(|reference| reference.digest.to_string())
            .collect();
        let inputs_known = summary.input_attestations.iter().all(|input| {
            input
                .digest
                .get("sha256")
                .is_some_and(|digest| named.contains(digest))
        });
        if !inputs_known {
            errors.push(contradiction(
                "the verdict rests on a statement that is not here",
            ));
        }
    }
}

fn first_names(names: &[String]) -> String {
    let shown: Vec<String> = names
        .iter()
        .take(5)
        .map(|name| name.chars().take(200).collect())
        .collect();
    match names.len().saturating_sub(5) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn match_artifacts(
    subjects: &[Resource],
    artifacts: &[Artifact],
    errors: &mut Vec<VerifyError>,
) -> Vec<Matched> {
    let mut matched = Vec::new();
    for artifact in artifacts {
        let subject = subjects
            .iter()
            .find(|subject| subject.sha256_digest() == Some(artifact.digest));
        match subject {
            Some(subject) => matched.push(Matched {
                name: artifact.name.clone(),
                subject: subject.name.clone(),
                digest: artifact.digest,
            }),
            None => errors.push(VerifyError::Artifact {
                name: artifact.name.clone(),
                digest: artifact.digest,
            }),
        }
    }
    matched
}

fn report(checked: Checked, keys: Vec<KeyId>, artifacts: Vec<Matched>) -> Verified {
    let Checked {
        change, references, ..
    } = checked;
    let with_status = |status| move |entry: &&EvidenceEntry| entry.status == status;
    let passed: Vec<Kind> = change
        .evidence
        .iter()
        .filter(with_status(Status::Passed))
        .map(|entry| entry.kind)
        .collect();
    let skipped: Vec<Skipped> = change
        .evidence
        .iter()
        .filter(with_status(Status::Skipped))
        .map(|entry| Skipped {
            kind: entry.kind,
            reason: entry.reason.clone().unwrap_or_default(),
        })
        .collect();
    let approvals: Vec<Approver> = change
        .approvals
        .iter()
        .map(|approval| Approver {
            principal: approval.principal.clone(),
            at: approval.at.clone(),
            self_approval: approval.self_approval,
        })
        .collect();
    let checks = checks(
        &change,
        references.len(),
        passed.len(),
        approvals.len(),
        artifacts.len(),
    );
    Verified {
        run: change.run.id,
        title: change.title,
        submitter: change.submitter,
        base_commit: change.source.base_commit,
        tree: change.source.tree,
        risk: change.risk.level,
        keys,
        statements: references,
        passed,
        skipped,
        approvals,
        artifacts,
        checks,
    }
}

/// What was looked at, a line each.
fn checks(
    change: &Change,
    references: usize,
    passed: usize,
    approvals: usize,
    artifacts: usize,
) -> Vec<String> {
    vec![
        match references {
            1 => "1 statement, signed by a given key".to_owned(),
            count => format!("{count} statements, each signed by a given key"),
        },
        "no statement missing, added, doubled or about something else".to_owned(),
        format!(
            "{} of evidence passed, none failed",
            plural(passed, "kind", "kinds")
        ),
        format!(
            "{} passed: {}",
            plural(
                change.gate.required.len(),
                "required kind",
                "required kinds"
            ),
            join(&change.gate.required)
        ),
        format!(
            "{} of {} needed, none stale",
            plural(approvals, "approval", "approvals"),
            change.gate.approvals
        ),
        format!(
            "the sandbox held all {} escape attempts",
            change.sandbox.held
        ),
        match artifacts {
            1 => "1 file at hand is what it speaks about".to_owned(),
            count => format!("{count} files at hand are what it speaks about"),
        },
    ]
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

fn join(kinds: &[Kind]) -> String {
    if kinds.is_empty() {
        return "none".to_owned();
    }
    kinds
        .iter()
        .map(|kind| kind.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}
