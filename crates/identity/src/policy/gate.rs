//! The gate: may this change be released now, with whose approval, or not at all?
//!
//! Policies answer yes or no to facts. Who has to be asked is found by asking the same policies
//! again with more approvals in the facts, so that no number of approvers stands anywhere but in
//! the policies.

use matrix_core::Digest;
use serde::{Deserialize, Serialize};

use super::compile::Compiled;
use super::engine::{Answer, PolicyEngine};
use super::facts::{EvidenceStatus, GateFacts, Tests};

/// The most approvals the gate asks for; a policy that wants more refuses.
pub const APPROVALS_MAX: u32 = 5;

/// What the gate says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum GateVerdict {
    /// The change may be released as it is.
    Pass {
        /// The reasons of the policies that allow it.
        reasons: Vec<String>,
    },
    /// It may be released once people approved it.
    NeedsApproval {
        /// How many persons other than the submitter must have approved in all, counting those
        /// who have.
        approvals: u32,
        /// Whether an explicit approval by the submitter, the only user, serves instead.
        self_approval_allowed: bool,
        /// What asks for them.
        reasons: Vec<String>,
    },
    /// No approval would help.
    Deny {
        /// The policies that stand against it, or why none could be asked.
        reasons: Vec<String>,
    },
}

impl GateVerdict {
    /// The name used in JSON: `pass`, `needs_approval`, `deny`.
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Pass { .. } => "pass",
            Self::NeedsApproval { .. } => "needs_approval",
            Self::Deny { .. } => "deny",
        }
    }

    /// The sentences for people.
    pub fn reasons(&self) -> &[String] {
        match self {
            Self::Pass { reasons }
            | Self::NeedsApproval { reasons, .. }
            | Self::Deny { reasons } => reasons,
        }
    }
}

/// The verdict with everything that led to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GateExplanation {
    /// What the gate says.
    #[serde(flatten)]
    pub verdict: GateVerdict,
    /// What the policies say to the facts as they are.
    pub answer: Answer,
    /// The kinds of evidence that may not be skipped.
    pub required_kinds: Vec<String>,
    /// What names the policies.
    pub policy: Digest,
}

impl PolicyEngine {
    /// Whether a change with these facts passes, waits for people, or is refused.
    pub fn gate(&self, facts: &GateFacts) -> GateVerdict {
        match self.compiled() {
            Ok(compiled) => verdict(compiled, facts, &release(compiled, facts)),
            Err(error) => GateVerdict::Deny {
                reasons: vec![error.to_string()],
            },
        }
    }

    /// The kinds of evidence that the policies require of such a change: those whose absence
    /// would be a refusal. Asked on the facts as they are, or, where they are refused anyway, on
    /// the most favourable ones of the same risk (everything passed, all approvals).
    pub fn required_kinds(&self, facts: &GateFacts) -> Vec<String> {
        let Ok(compiled) = self.compiled() else {
            return facts.evidence.keys().cloned().collect();
        };
        let denied = |facts: &GateFacts| {
            let answer = release(compiled, facts);
            matches!(verdict(compiled, facts, &answer), GateVerdict::Deny { .. })
        };
        let mut base = facts.clone();
        if denied(&base) {
            base = favourable(facts);
        }
        let kinds = facts.evidence.keys();
        kinds
            .filter(|kind| {
                let mut without = base.clone();
                without
                    .evidence
                    .insert((*kind).clone(), EvidenceStatus::Skipped);
                denied(&without)
            })
            .cloned()
            .collect()
    }

    /// The verdict, the policies behind it and the kinds they require.
    pub fn explain_gate(&self, facts: &GateFacts) -> GateExplanation {
        let answer = match self.compiled() {
            Ok(compiled) => release(compiled, facts),
            Err(error) => Answer::refused(error.to_string()),
        };
        GateExplanation {
            verdict: self.gate(facts),
            answer,
            required_kinds: self.required_kinds(facts),
            policy: self.digest(),
        }
    }
}

fn release(compiled: &Compiled, facts: &GateFacts) -> Answer {
    match compiled.release_question(facts) {
        Ok(question) => compiled.answer(question),
        Err(reason) => Answer::refused(reason),
    }
}

fn verdict(compiled: &Compiled, facts: &GateFacts, now: &Answer) -> GateVerdict {
    if now.allowed {
        return GateVerdict::Pass {
            reasons: now.reasons(),
        };
    }
    // A policy that cannot be evaluated refuses; more approvals might only hide its error.
    if !now.errors.is_empty() {
        return GateVerdict::Deny {
            reasons: now.reasons(),
        };
    }
    let with_people = (1..=APPROVALS_MAX)
        .filter(|approvals| *approvals > facts.votes.human_approvals)
        .find_map(|approvals| {
            let mut facts = facts.clone();
            facts.votes.human_approvals = approvals;
            let answer = release(compiled, &facts);
            answer.allowed.then_some((approvals, answer))
        });
    let by_oneself = facts.single_user.then(|| {
        let mut facts = facts.clone();
        facts.votes.self_approval = true;
        release(compiled, &facts)
    });
    let by_oneself = by_oneself.filter(|answer| answer.allowed);
    if with_people.is_none() && by_oneself.is_none() {
        return GateVerdict::Deny {
            reasons: now.reasons(),
        };
    }
    let mut reasons = Vec::new();
    let answers = with_people.iter().map(|(_, answer)| answer);
    for policy in (now.policies.iter()).chain(
        answers
            .chain(&by_oneself)
            .flat_map(|answer| &answer.policies),
    ) {
        if !reasons.contains(&policy.reason) {
            reasons.push(policy.reason.clone());
        }
    }
    GateVerdict::NeedsApproval {
        approvals: with_people.map_or(1, |(approvals, _)| approvals),
        self_approval_allowed: by_oneself.is_some(),
        reasons,
    }
}

/// These facts with everything that can vary at its best.
fn favourable(facts: &GateFacts) -> GateFacts {
    let mut best = facts.clone();
    best.single_user = false;
    best.votes.human_approvals = APPROVALS_MAX;
    best.votes.rejected = false;
    if best.tests == Tests::CouldNotRun {
        best.tests = Tests::Ran;
    }
    for status in best.evidence.values_mut() {
        *status = EvidenceStatus::Passed;
    }
    best
}
