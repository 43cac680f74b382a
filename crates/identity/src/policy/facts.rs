//! What the gate knows about a change, as typed facts. Everything is counted, matched and
//! compared in Rust beforehand; policies only weigh.

use std::collections::{BTreeMap, BTreeSet};

use cedar_policy::{Context, Entities, Entity, EntityUid, RestrictedExpression};
use matrix_core::{Principal, PrincipalKind};
use serde::{Deserialize, Serialize};

use super::compile::Compiled;
use super::engine::Question;
use crate::role::Role;
use crate::votes::Tally;

/// How much could go wrong, by the rule table; ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Risk {
    /// Passes by itself under the built-in policy.
    Low,
    /// One person.
    Medium,
    /// Two persons.
    High,
    /// Two persons, and never the submitter alone.
    Critical,
}

impl Risk {
    /// All, rising.
    pub const ALL: [Self; 4] = [Self::Low, Self::Medium, Self::High, Self::Critical];

    /// The name used in plans, policies and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Low => "low",
            Self::Medium => "medium",
            Self::High => "high",
            Self::Critical => "critical",
        }
    }
}

impl std::fmt::Display for Risk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The kinds of evidence the schema knows, in the order people read them.
pub const EVIDENCE_KINDS: [&str; 6] = [
    "lint",
    "test_results",
    "build_log",
    "security_scan",
    "dependency_audit",
    "sbom",
];

/// How a kind of check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EvidenceStatus {
    /// It ran and the change is no worse than its base.
    Passed,
    /// It ran and the change is worse.
    Failed,
    /// It did not run.
    Skipped,
}

impl EvidenceStatus {
    /// The name used in policies and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// What is known of the repository's tests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Tests {
    /// None were found, at the base or in the change.
    None,
    /// They exist and ran.
    Ran,
    /// They exist and could not be run.
    CouldNotRun,
}

/// Something the checks noticed that a policy may want to weigh.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observation {
    /// A test that passed on the base fails.
    BreaksPassingTest,
    /// The diff adds a construct such as a disabled certificate check.
    DangerousConstruct,
    /// A test that failed on the base passes.
    FixesFailingTest,
    /// A test was red, then green.
    FlakyTest,
    /// A lock file names a package that the base did not have.
    NewDependency,
    /// A test of the base is gone.
    RemovesTest,
    /// The diff adds something that looks like a secret.
    SecretFound,
    /// A test that ran on the base is skipped.
    SkipsTest,
    /// Tests fail on the base and in the change.
    TestsRedOnBothSides,
}

impl Observation {
    /// All, in the order of their names.
    pub const ALL: [Self; 9] = [
        Self::BreaksPassingTest,
        Self::DangerousConstruct,
        Self::FixesFailingTest,
        Self::FlakyTest,
        Self::NewDependency,
        Self::RemovesTest,
        Self::SecretFound,
        Self::SkipsTest,
        Self::TestsRedOnBothSides,
    ];

    /// The name used in policies and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::BreaksPassingTest => "breaks_passing_test",
            Self::DangerousConstruct => "dangerous_construct",
            Self::FixesFailingTest => "fixes_failing_test",
            Self::FlakyTest => "flaky_test",
            Self::NewDependency => "new_dependency",
            Self::RemovesTest => "removes_test",
            Self::SecretFound => "secret_found",
            Self::SkipsTest => "skips_test",
            Self::TestsRedOnBothSides => "tests_red_on_both_sides",
        }
    }
}

/// The facts on which a change is let through, held for people, or refused.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateFacts {
    /// The change's run id.
    pub change: String,
    /// The authenticated submitter.
    pub submitter: Principal,
    /// What the submitter is in this data directory.
    #[serde(default)]
    pub submitter_roles: BTreeSet<Role>,
    /// Whether the submitter acts for somebody else.
    #[serde(default)]
    pub delegated: bool,
    /// From the rule table.
    pub risk: Risk,
    /// How each kind of check ended, by the kind's name. Every one of [`EVIDENCE_KINDS`] must be
    /// there and no other, else the answer is a refusal.
    pub evidence: BTreeMap<String, EvidenceStatus>,
    /// What is known of the tests.
    pub tests: Tests,
    /// Whether the repository has something to build.
    pub has_build: bool,
    /// The target's name.
    pub target: String,
    /// The target's environment: `development`, `staging`, `production`.
    pub environment: String,
    /// The votes that count for exactly these digests.
    #[serde(default)]
    pub votes: Tally,
    /// Whether the data directory has one active user.
    pub single_user: bool,
    /// Classes of touched paths, such as `ci`, `policy`, `matrix_yaml`.
    #[serde(default)]
    pub touched: BTreeSet<String>,
    /// What the checks noticed.
    #[serde(default)]
    pub observed: BTreeSet<Observation>,
    /// Files the change touches.
    #[serde(default)]
    pub changed_files: u32,
    /// Lines added and removed.
    #[serde(default)]
    pub changed_lines: u32,
}

/// The schema's name for a kind of principal.
pub(crate) const fn principal_type(kind: PrincipalKind) -> &'static str {
    match kind {
        PrincipalKind::User => "User",
        PrincipalKind::ServiceAccount => "ServiceAccount",
        PrincipalKind::Agent => "Agent",
        PrincipalKind::Node => "Node",
    }
}

impl Compiled {
    /// A principal with its roles.
    pub(crate) fn principal(
        &self,
        principal: &Principal,
        roles: &BTreeSet<Role>,
    ) -> Result<Entity, String> {
        let uid = self.named(principal_type(principal.kind), &principal.name)?;
        if principal.kind == PrincipalKind::Node {
            return Ok(Entity::with_uid(uid));
        }
        let roles = roles
            .iter()
            .map(|role| self.known_word("Role", role.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let attributes = [("roles".to_owned(), RestrictedExpression::new_set(roles))];
        Entity::new(uid, attributes.into(), std::collections::HashSet::new())
            .map_err(|error| error.to_string())
    }

    pub(crate) fn named(&self, kind: &str, id: &str) -> Result<EntityUid, String> {
        self.uid(kind, id)
            .ok_or_else(|| format!("the schema has no type {kind}"))
    }

    fn known_word(&self, kind: &str, word: &str) -> Result<RestrictedExpression, String> {
        self.word(kind, word)
            .ok_or_else(|| format!("the schema has no type {kind}"))
    }

    /// The submitter and the change.
    pub(crate) fn release_entities(&self, facts: &GateFacts) -> Result<Entities, String> {
        let submitter = self.principal(&facts.submitter, &facts.submitter_roles)?;
        let change = Entity::with_uid(self.named("Change", &facts.change)?);
        self.entities([submitter, change])
    }

    /// The question whether a change with these facts may be released.
    pub(crate) fn release_question(&self, facts: &GateFacts) -> Result<Question, String> {
        let kind = principal_type(facts.submitter.kind);
        Ok(Question {
            principal: self.named(kind, &facts.submitter.name)?,
            action: self.named("Action", "release")?,
            resource: self.named("Change", &facts.change)?,
            context: self.release_context(facts)?,
        })
    }

    fn release_context(&self, facts: &GateFacts) -> Result<Context, String> {
        let missing = EVIDENCE_KINDS
            .iter()
            .find(|kind| !facts.evidence.contains_key(**kind));
        if let Some(kind) = missing {
            return Err(format!("the evidence lacks {kind}"));
        }
        let known = |kind: &&String| EVIDENCE_KINDS.contains(&kind.as_str());
        if let Some(kind) = facts.evidence.keys().find(|kind| !known(kind)) {
            return Err(format!("the evidence has an unknown kind, {kind}"));
        }
        let evidence = facts
            .evidence
            .iter()
            .map(|(kind, status)| Ok((kind.clone(), self.known_word("Status", status.as_str())?)))
            .collect::<Result<Vec<_>, String>>()?;
        let observed = facts
            .observed
            .iter()
            .map(|observation| self.known_word("Observation", observation.as_str()))
            .collect::<Result<Vec<_>, _>>()?;
        let touched = facts.touched.iter().map(|class| text(class));
        let pairs = [
            ("risk", self.known_word("Risk", facts.risk.as_str())?),
            (
                "evidence",
                RestrictedExpression::new_record(evidence).map_err(|error| error.to_string())?,
            ),
            ("has_tests", truth(facts.tests != Tests::None)),
            (
                "tests_could_not_run",
                truth(facts.tests == Tests::CouldNotRun),
            ),
            ("has_build", truth(facts.has_build)),
            ("target", text(&facts.target)),
            ("environment", text(&facts.environment)),
            ("human_approvals", count(facts.votes.human_approvals)),
            ("self_approval", truth(facts.votes.self_approval)),
            ("rejected", truth(facts.votes.rejected)),
            ("single_user", truth(facts.single_user)),
            ("delegated", truth(facts.delegated)),
            ("touched", RestrictedExpression::new_set(touched)),
            ("observed", RestrictedExpression::new_set(observed)),
            ("changed_files", count(facts.changed_files)),
            ("changed_lines", count(facts.changed_lines)),
        ];
        Context::from_pairs(pairs.map(|(name, value)| (name.to_owned(), value)))
            .map_err(|error| error.to_string())
    }
}

fn text(value: &str) -> RestrictedExpression {
    RestrictedExpression::new_string(value.to_owned())
}

fn truth(value: bool) -> RestrictedExpression {
    RestrictedExpression::new_bool(value)
}

fn count(value: u32) -> RestrictedExpression {
    RestrictedExpression::new_long(i64::from(value))
}
