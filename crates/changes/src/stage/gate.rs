//! GATE: risk by rules, the target's dry run, policy over typed facts, and people where it asks.

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::{Caller, Digest, Principal, PrincipalKind, Scope, Timestamp, canonical};
use matrix_engine::{Decision, Run, RunError, Step, StepError, Verdict};
use matrix_evidence::predicate::change::{Bindings, EvidenceEntry, evidence_root};
use matrix_evidence::{Evidence, Kind, Status};
use matrix_identity::policy::Tests;
use matrix_identity::{
    Ballot, Choice, EvidenceStatus, GateFacts, GateVerdict, PolicyEngine, Risk, Role, Tally, Vote,
};
use serde::{Deserialize, Serialize};

use super::ChangeRequest;
use super::deploy::Delivery;
use super::patch::Patch;
use super::stale::Stale;
use super::verify::Verified;
use crate::error::{ending, later};
use crate::risk::{Assessment, RiskInput, assess};
use crate::target::DryRun;
use crate::verify::judge::BASE_COMMANDS;

/// What the gate decided with, and what an approval is shown and bound to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// The plan's title.
    pub title: String,
    /// Everything an approval is given for.
    pub bindings: Bindings,
    /// The risk with its reasons.
    pub risk: Assessment,
    /// What the target would do.
    pub dry_run: DryRun,
    /// One line for each kind of evidence.
    pub evidence: Vec<String>,
    /// What the policy asks for.
    pub asks: Vec<String>,
    /// How many people must agree.
    pub approvals: u32,
    /// Whether the submitter's own approval serves instead.
    pub self_approval_allowed: bool,
    /// Who submitted it.
    pub submitter: Principal,
    /// Why the question before this one counts no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale: Option<Stale>,
}

/// What the gate looks at that may change while a change waits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Circumstances {
    /// The target's dry run.
    pub dry_run: DryRun,
    /// The policy's digest.
    pub policy: Digest,
    /// What the submitter is here.
    pub roles: BTreeSet<Role>,
    /// Whether the directory has a single active user.
    pub single_user: bool,
}

/// One verdict of the gate, with everything that led to it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct GateDecision {
    /// The verdict.
    pub verdict: GateVerdict,
    /// The risk with its reasons.
    pub risk: Assessment,
    /// Kinds that had to pass.
    pub required: Vec<String>,
    /// How many people must have agreed in all.
    pub approvals: u32,
    /// When.
    pub at: Timestamp,
}

/// What DEPLOY and PUBLISH need of a gate that let the change through.
#[derive(Debug, Clone)]
pub struct Passed {
    /// What was approved.
    pub bindings: Bindings,
    /// The target's dry run, repeated at deployment.
    pub dry_run: DryRun,
    /// The gate's last decision.
    pub decision: GateDecision,
    /// Decisions bound to exactly these digests.
    pub decisions: Vec<Decision>,
}

/// What a run has asked people so far, and what they said.
#[derive(Debug, Default)]
pub struct Asked {
    /// The decisions, by what they are bound to.
    decisions: BTreeMap<Digest, Vec<Decision>>,
    /// The newest question.
    last: Option<Question>,
}

/// Asks until the gate lets the change through or refuses it. Everything that may have changed is
/// looked at anew each time round; decisions bound to other digests do not count.
pub async fn gate(
    delivery: &Delivery<'_>,
    verified: &Verified,
    asked: &mut Asked,
) -> Result<Passed, RunError> {
    let Delivery {
        run,
        request,
        patch,
        ..
    } = *delivery;
    let manifest = delivery.manifest().await?;
    let entries = EvidenceEntry::all(&verified.evidence)?;
    let evidence = evidence_root(&entries)?;
    loop {
        let now = circumstances(delivery, manifest).await?;
        let bindings = Bindings {
            plan: request.plan_digest,
            patch: patch.facts.digest,
            tree: patch.tree.clone(),
            evidence,
            policy: now.policy,
            dry_run: now.dry_run.digest()?,
        };
        let bound_to = canonical::digest(&bindings)?;
        let decisions = asked.decisions.entry(bound_to).or_default();
        let step = Step::read("gate").input(&(&now, &bindings, &*decisions));
        let decision: GateDecision = run
            .step(step, |_| async {
                let votes = votes(decisions, bound_to);
                decide(delivery, verified, &now, &votes, bound_to)
            })
            .await?;
        match &decision.verdict {
            GateVerdict::Pass { .. } => {
                let decisions = decisions.clone();
                return Ok(Passed {
                    bindings,
                    dry_run: now.dry_run,
                    decision,
                    decisions,
                });
            }
            GateVerdict::NeedsApproval {
                approvals,
                self_approval_allowed,
                reasons,
            } => {
                let last = asked.last.as_ref();
                let stale = last.and_then(|last| last.became_stale(&bindings, &now.dry_run));
                let question = Question {
                    stale,
                    bindings,
                    dry_run: now.dry_run,
                    asks: reasons.clone(),
                    approvals: *approvals,
                    self_approval_allowed: *self_approval_allowed,
                    risk: decision.risk.clone(),
                    evidence: verified.evidence.iter().map(line).collect(),
                    title: request.plan.title.clone(),
                    submitter: run.caller().principal.clone(),
                };
                let answer = ask(run, asked.last.insert(question)).await?;
                asked.decisions.entry(bound_to).or_default().push(answer);
            }
            GateVerdict::Deny { reasons } => {
                return Err(StepError::permanent(ending::DENIED, reasons.join("; ")).into());
            }
        }
    }
}

/// The next answer of a person; a rejection is about the change, whatever it was bound to.
async fn ask(run: &Run, question: &Question) -> Result<Decision, RunError> {
    let answer = run.approval("gate", question).await?;
    if answer.verdict == Verdict::Reject {
        let text = format!("{} rejected it: {}", answer.actor, answer.reason);
        return Err(StepError::permanent(ending::REJECTED, text).into());
    }
    Ok(answer)
}

fn line(evidence: &Evidence) -> String {
    let status = match evidence.status {
        Status::Passed => "passed",
        Status::Failed => "failed",
        Status::Skipped => "skipped",
    };
    format!("{} {status}: {}", evidence.kind, evidence.summary)
}

async fn circumstances(
    delivery: &Delivery<'_>,
    manifest: Digest,
) -> Result<Circumstances, RunError> {
    let Delivery {
        run,
        workshop,
        request,
        ..
    } = *delivery;
    let step = Step::read("dry_run").input(&(&request.target, manifest));
    run.step(step, |_| async {
        let target = workshop.target(request);
        let payload = delivery.payload().await?;
        let (roles, single_user) = workshop.standing(&run.caller().principal)?;
        Ok(Circumstances {
            dry_run: target.dry_run(&payload).await.map_err(later)?,
            policy: workshop.policy().digest(),
            roles,
            single_user,
        })
    })
    .await
}

/// The decisions as votes. The journal's actor is the authenticated caller's name.
fn votes(decisions: &[Decision], bound_to: Digest) -> Vec<Vote> {
    decisions
        .iter()
        .filter_map(|decision| {
            let name = decision.actor.strip_prefix("user:")?.to_owned();
            let principal = Principal {
                kind: PrincipalKind::User,
                name,
            };
            let by = Caller {
                principal,
                scope: Scope::local(),
                on_behalf_of: Vec::new(),
            };
            let choice = match decision.verdict {
                Verdict::Approve => Choice::Approve,
                Verdict::Reject => Choice::Reject,
            };
            Some(Vote {
                by,
                choice,
                bound_to,
            })
        })
        .collect()
}

fn decide(
    delivery: &Delivery<'_>,
    verified: &Verified,
    now: &Circumstances,
    votes: &[Vote],
    bound_to: Digest,
) -> Result<GateDecision, StepError> {
    let Delivery {
        run,
        workshop,
        request,
        patch,
        ..
    } = *delivery;
    let policy = workshop.policy();
    if policy.digest() != now.policy {
        // Somebody changed the policy this very moment; the next attempt sees the new one whole.
        return Err(later("the policy changed while the gate decided"));
    }
    let raised = request.plan.risk.as_ref();
    let risk = assess(&RiskInput {
        files: &patch.facts.files,
        facts: &verified.facts,
        environment: request.target_config.environment,
        raised: raised.map(|risk| (risk.raise, risk.because.as_str())),
    });
    let ballot = Ballot {
        submitter: run.caller(),
        bound_to,
        single_user: now.single_user,
    };
    let facts = facts(
        run,
        request,
        (patch, verified),
        now,
        &risk,
        ballot.tally(votes),
    );
    let approvals = approvals_asked(&policy, &facts);
    let mut verdict = policy.gate(&facts);
    let mut required = policy.required_kinds(&facts);
    let missing = wanted_by_plan(&request.plan.checks, &verified.evidence, &mut required);
    if !missing.is_empty() {
        verdict = GateVerdict::Deny { reasons: missing };
    }
    Ok(GateDecision {
        verdict,
        risk,
        required,
        approvals,
        at: workshop.clock().now(),
    })
}

/// How many people the policy asks for: what it would say if nobody had voted yet. An explicit
/// self-approval, where it serves, is one person's.
fn approvals_asked(policy: &PolicyEngine, facts: &GateFacts) -> u32 {
    let unasked = GateFacts {
        votes: Tally::default(),
        ..facts.clone()
    };
    match policy.gate(&unasked) {
        GateVerdict::NeedsApproval {
            self_approval_allowed: true,
            ..
        } if facts.votes.self_approval => 1,
        GateVerdict::NeedsApproval { approvals, .. } => approvals,
        GateVerdict::Pass { .. } | GateVerdict::Deny { .. } => 0,
    }
}

/// A plan may require more than the policy does; what it requires must have passed.
fn wanted_by_plan(
    wanted: &BTreeSet<Kind>,
    evidence: &[Evidence],
    required: &mut Vec<String>,
) -> Vec<String> {
    let mut missing = Vec::new();
    for kind in wanted {
        if !required.iter().any(|known| known == kind.as_str()) {
            required.push(kind.as_str().to_owned());
        }
        let found = evidence.iter().find(|evidence| evidence.kind == *kind);
        if found.is_none_or(|evidence| evidence.status != Status::Passed) {
            let why = found.and_then(|evidence| evidence.reason.clone());
            let why = why.unwrap_or_else(|| "there is none".into());
            missing.push(format!(
                "the plan requires {kind}, which did not pass: {why}"
            ));
        }
    }
    missing
}

fn facts(
    run: &Run,
    request: &ChangeRequest,
    (patch, verified): (&Patch, &Verified),
    now: &Circumstances,
    risk: &Assessment,
    votes: Tally,
) -> GateFacts {
    let evidence: BTreeMap<String, EvidenceStatus> = verified
        .evidence
        .iter()
        .map(|evidence| {
            let status = match evidence.status {
                Status::Passed => EvidenceStatus::Passed,
                Status::Failed => EvidenceStatus::Failed,
                Status::Skipped => EvidenceStatus::Skipped,
            };
            (evidence.kind.as_str().to_owned(), status)
        })
        .collect();
    let tests = if verified.facts.tests_could_not_run.is_some() {
        Tests::CouldNotRun
    } else if verified.facts.no_tests_found {
        Tests::None
    } else {
        Tests::Ran
    };
    let build = verified
        .evidence
        .iter()
        .find(|evidence| evidence.kind == Kind::BuildLog);
    let lines = patch.facts.added_lines() + patch.facts.deleted_lines();
    GateFacts {
        change: run.id().to_string(),
        submitter: run.caller().principal.clone(),
        submitter_roles: now.roles.clone(),
        delegated: !run.caller().on_behalf_of.is_empty(),
        risk: risk.level,
        evidence,
        tests,
        has_build: build.is_some_and(has_build),
        target: request.target.clone(),
        environment: environment(request),
        votes,
        single_user: now.single_user,
        touched: risk.touched.clone(),
        observed: risk.observed.clone(),
        changed_files: u32::try_from(patch.facts.files.len()).unwrap_or(u32::MAX),
        changed_lines: u32::try_from(lines).unwrap_or(u32::MAX),
    }
}

/// A repository has a build unless its build check was skipped and none was executed, of the base
/// revision either.
fn has_build(evidence: &Evidence) -> bool {
    let executed = |detail: &str| {
        let commands = evidence.details.get(detail);
        commands
            .and_then(|value| value.as_object())
            .is_some_and(|commands| !commands.is_empty())
    };
    evidence.status != Status::Skipped || executed("commands") || executed(BASE_COMMANDS)
}

fn environment(request: &ChangeRequest) -> String {
    serde_json::to_value(request.target_config.environment)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}

/// The predicate's word for a level.
pub fn predicate_level(risk: Risk) -> matrix_evidence::predicate::change::RiskLevel {
    use matrix_evidence::predicate::change::RiskLevel;
    match risk {
        Risk::Low => RiskLevel::Low,
        Risk::Medium => RiskLevel::Medium,
        Risk::High => RiskLevel::High,
        Risk::Critical => RiskLevel::Critical,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_repository_has_a_build_where_one_was_executed_on_either_side() {
        let ran = json!({"build_log/cargo": "cargo build"});
        for (status, detail, expected) in [
            (Status::Passed, None, true),
            (Status::Failed, None, true),
            (Status::Skipped, None, false),
            (Status::Skipped, Some(("commands", json!({}))), false),
            (Status::Skipped, Some(("commands", ran.clone())), true),
            (Status::Skipped, Some((BASE_COMMANDS, ran)), true),
        ] {
            let details = detail.clone().map(|(name, value)| (name.to_owned(), value));
            let evidence = Evidence {
                kind: Kind::BuildLog,
                status,
                reason: None,
                summary: String::new(),
                details: details.into_iter().collect(),
                artifacts: Vec::new(),
                duration_ms: 0,
            };
            assert_eq!(has_build(&evidence), expected, "{status:?} {detail:?}");
        }
    }
}
