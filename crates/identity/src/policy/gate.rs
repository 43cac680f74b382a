//! The gate: may this change be released now, with whose approval, or not at all?
//!
//! Policies answer yes or no to facts. Who has to be asked is found by asking the same policies
//! again with more approvals in the facts, so that no number of approvers stands anywhere but in
//! the policies.

use cedar_policy::Entities;
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
        let gate = self.ask(facts);
        gate.verdict(facts, &gate.release(facts))
    }

    /// The kinds of evidence that the policies require of such a change: those whose absence
    /// would be a refusal. Asked on the facts as they are, or, where they are refused anyway, on
    /// the most favourable ones of the same risk (everything passed, all approvals).
    pub fn required_kinds(&self, facts: &GateFacts) -> Vec<String> {
        let gate = self.ask(facts);
        let mut base = facts.clone();
        if gate.denies(&base) {
            base = favourable(facts);
        }
        let kinds = facts.evidence.keys();
        kinds
            .filter(|kind| {
                let mut without = base.clone();
                without
                    .evidence
                    .insert((*kind).clone(), EvidenceStatus::Skipped);
                gate.denies(&without)
            })
            .cloned()
            .collect()
    }

    /// The verdict, the policies behind it and the kinds they require.
    pub fn explain_gate(&self, facts: &GateFacts) -> GateExplanation {
        let gate = self.ask(facts);
        let answer = gate.release(facts);
        GateExplanation {
            verdict: gate.verdict(facts, &answer),
            answer,
            required_kinds: self.required_kinds(facts),
            policy: self.digest(),
        }
    }

    fn ask(&self, facts: &GateFacts) -> Gate<'_> {
        let usable = self.compiled().map_err(ToString::to_string);
        Gate(usable.and_then(|compiled| Ok((compiled, compiled.release_entities(facts)?))))
    }
}

/// The policies with one change's submitter, to be asked about more than one set of facts; or why
/// they cannot be asked.
struct Gate<'a>(Result<(&'a Compiled, Entities), String>);

impl Gate<'_> {
    fn release(&self, facts: &GateFacts) -> Answer {
        let answer = self.0.as_ref().map_err(Clone::clone);
        let answer = answer.and_then(|(compiled, entities)| {
            Ok(compiled.answer(compiled.release_question(facts)?, entities))
        });
        answer.unwrap_or_else(Answer::refused)
    }

    fn denies(&self, facts: &GateFacts) -> bool {
        matches!(
            self.verdict(facts, &self.release(facts)),
            GateVerdict::Deny { .. }
        )
    }

    /// The verdict, given the answer to the facts as they are.
    fn verdict(&self, facts: &GateFacts, now: &Answer) -> GateVerdict {
        let reasons = now.reasons();
        if now.allowed {
            return GateVerdict::Pass { reasons };
        }
        // A policy that cannot be evaluated refuses; more approvals might only hide its error.
        if !now.errors.is_empty() {
            return GateVerdict::Deny { reasons };
        }
        let with_people = self.with_people(facts);
        let by_oneself = self.by_oneself(facts);
        if with_people.is_none() && by_oneself.is_none() {
            return GateVerdict::Deny { reasons };
        }
        let mut reasons = Vec::new();
        let helpful = with_people.iter().map(|(_, answer)| answer);
        for answer in std::iter::once(now).chain(helpful).chain(&by_oneself) {
            for policy in &answer.policies {
                if !reasons.contains(&policy.reason) {
                    reasons.push(policy.reason.clone());
                }
            }
        }
        GateVerdict::NeedsApproval {
            approvals: with_people.map_or(1, |(approvals, _)| approvals),
            self_approval_allowed: by_oneself.is_some(),
            reasons,
        }
    }

    /// The smallest number of approvals that would do.
    fn with_people(&self, facts: &GateFacts) -> Option<(u32, Answer)> {
        let mut facts = facts.clone();
        let more = facts.votes.human_approvals.saturating_add(1)..=APPROVALS_MAX;
        more.into_iter().find_map(|approvals| {
            facts.votes.human_approvals = approvals;
            let answer = self.release(&facts);
            answer.allowed.then_some((approvals, answer))
        })
    }

    /// Whether the only user's own approval would do.
    fn by_oneself(&self, facts: &GateFacts) -> Option<Answer> {
        if !facts.single_user || facts.votes.self_approval {
            return None;
        }
        let mut facts = facts.clone();
        facts.votes.self_approval = true;
        let answer = self.release(&facts);
        answer.allowed.then_some(answer)
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
