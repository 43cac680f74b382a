//! The built-in policy against a small model of it, and the gate's answers under other policies.

#![expect(
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::{Principal, PrincipalKind};
use matrix_identity::policy::{EVIDENCE_KINDS, Layer, Observation, Source, Tests};
use matrix_identity::{EvidenceStatus, GateFacts, GateVerdict, PolicyEngine, Risk, Tally};
use proptest::prelude::*;

fn facts(risk: Risk) -> GateFacts {
    GateFacts {
        change: "run_x".into(),
        submitter: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        submitter_roles: BTreeSet::new(),
        delegated: false,
        risk,
        evidence: EVIDENCE_KINDS
            .iter()
            .map(|kind| ((*kind).to_owned(), EvidenceStatus::Passed))
            .collect(),
        tests: Tests::Ran,
        has_build: true,
        target: "local".into(),
        environment: "development".into(),
        votes: Tally::default(),
        single_user: false,
        touched: BTreeSet::new(),
        observed: BTreeSet::new(),
        changed_files: 1,
        changed_lines: 2,
    }
}

fn built_in() -> PolicyEngine {
    PolicyEngine::from_sources(&[Source::built_in()]).expect("the built-in policy is valid")
}

/// The built-in policy beside more text of a layer.
fn with(layer: Layer, text: &str) -> PolicyEngine {
    let more = Source {
        layer,
        name: "more.cedar".into(),
        text: text.into(),
    };
    PolicyEngine::from_sources(&[Source::built_in(), more]).expect("the added policy is valid")
}

fn deny(verdict: &GateVerdict) -> &[String] {
    match verdict {
        GateVerdict::Deny { reasons } => reasons,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn need(verdict: &GateVerdict) -> (u32, bool) {
    match verdict {
        GateVerdict::NeedsApproval {
            approvals,
            self_approval_allowed,
            ..
        } => (*approvals, *self_approval_allowed),
        other => panic!("expected a need for approval, got {other:?}"),
    }
}

// ---- The model: what the built-in policy is meant to say -----------------------------------

#[derive(Debug, PartialEq, Eq)]
enum Model {
    Pass,
    Need(u32, bool),
    Deny,
}

fn model(facts: &GateFacts) -> Model {
    let status = |kind: &str| facts.evidence[kind];
    let has_tests = facts.tests != Tests::None;
    let refused = facts.votes.rejected
        || status("security_scan") != EvidenceStatus::Passed
        || (has_tests && status("test_results") != EvidenceStatus::Passed)
        || facts.tests == Tests::CouldNotRun
        || (facts.has_build && status("build_log") != EvidenceStatus::Passed)
        || facts
            .evidence
            .values()
            .any(|status| *status == EvidenceStatus::Failed)
        || (facts.single_user && facts.risk == Risk::Critical);
    if refused {
        return Model::Deny;
    }
    let people = match facts.risk {
        Risk::Low => 0,
        Risk::Medium => 1,
        Risk::High | Risk::Critical => 2,
    };
    let alone = facts.single_user && matches!(facts.risk, Risk::Medium | Risk::High);
    if facts.votes.human_approvals >= people || (alone && facts.votes.self_approval) {
        Model::Pass
    } else {
        Model::Need(people, alone)
    }
}

fn observe(verdict: &GateVerdict) -> Model {
    match verdict {
        GateVerdict::Pass { .. } => Model::Pass,
        GateVerdict::NeedsApproval {
            approvals,
            self_approval_allowed,
            ..
        } => Model::Need(*approvals, *self_approval_allowed),
        GateVerdict::Deny { .. } => Model::Deny,
    }
}

fn any_status() -> impl Strategy<Value = EvidenceStatus> {
    prop_oneof![
        8 => Just(EvidenceStatus::Passed),
        1 => Just(EvidenceStatus::Failed),
        2 => Just(EvidenceStatus::Skipped),
    ]
}

prop_compose! {
    fn any_facts()(
        risk in proptest::sample::select(Risk::ALL.to_vec()),
        statuses in proptest::collection::vec(any_status(), EVIDENCE_KINDS.len()),
        tests in prop_oneof![
            6 => Just(Tests::Ran), 3 => Just(Tests::None), 1 => Just(Tests::CouldNotRun)
        ],
        (has_build, single_user, self_approval, delegated) in any::<(bool, bool, bool, bool)>(),
        rejected in proptest::bool::weighted(0.1),
        human_approvals in 0_u32..4,
        kind in proptest::sample::select(vec![
            PrincipalKind::User, PrincipalKind::ServiceAccount, PrincipalKind::Agent
        ]),
        observed in proptest::sample::subsequence(Observation::ALL.to_vec(), 0..=9),
        name in "\\PC{1,12}",
        touched in proptest::collection::btree_set("[a-z_]{1,9}", 0..4),
        (changed_files, changed_lines) in any::<(u32, u32)>(),
    ) -> GateFacts {
        let mut facts = facts(risk);
        for (kind, status) in EVIDENCE_KINDS.iter().zip(statuses) {
            facts.evidence.insert((*kind).to_owned(), status);
        }
        facts.submitter = Principal { kind, name };
        facts.tests = tests;
        facts.has_build = has_build;
        facts.single_user = single_user;
        facts.delegated = delegated;
        facts.votes = Tally { human_approvals, self_approval, rejected };
        facts.observed = observed.into_iter().collect();
        facts.touched = touched;
        facts.changed_files = changed_files;
        facts.changed_lines = changed_lines;
        facts
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn the_built_in_policy_is_the_model(facts in any_facts()) {
        static ENGINE: std::sync::OnceLock<PolicyEngine> = std::sync::OnceLock::new();
        let verdict = ENGINE.get_or_init(built_in).gate(&facts);
        prop_assert_eq!(observe(&verdict), model(&facts), "{:?}", verdict);
        prop_assert!(!verdict.reasons().is_empty(), "a verdict must have a reason");
    }

    #[test]
    fn a_kind_is_required_where_its_absence_is_a_refusal(facts in any_facts()) {
        static ENGINE: std::sync::OnceLock<PolicyEngine> = std::sync::OnceLock::new();
        let required = ENGINE.get_or_init(built_in).required_kinds(&facts);
        if facts.single_user && facts.risk == Risk::Critical {
            // Nobody could release it here; the answer is for a directory with more users.
            prop_assert!(required.contains(&"security_scan".to_owned()));
            return Ok(());
        }
        let mut expected = vec!["security_scan".to_owned()];
        if facts.has_build {
            expected.push("build_log".to_owned());
        }
        if facts.tests != Tests::None {
            expected.push("test_results".to_owned());
        }
        expected.sort();
        prop_assert_eq!(required, expected);
    }
}

// ---- What the issue's sentences come to ----------------------------------------------------

#[test]
fn risk_decides_who_is_asked() {
    let engine = built_in();
    assert!(matches!(
        engine.gate(&facts(Risk::Low)),
        GateVerdict::Pass { .. }
    ));
    assert_eq!(need(&engine.gate(&facts(Risk::Medium))), (1, false));
    assert_eq!(need(&engine.gate(&facts(Risk::High))), (2, false));
    assert_eq!(need(&engine.gate(&facts(Risk::Critical))), (2, false));
    let mut halfway = facts(Risk::High);
    halfway.votes.human_approvals = 1;
    assert_eq!(
        need(&engine.gate(&halfway)),
        (2, false),
        "approvals are counted in all"
    );
}

#[test]
fn a_single_user_approves_alone_but_never_something_critical() {
    let engine = built_in();
    for risk in [Risk::Medium, Risk::High] {
        let mut alone = facts(risk);
        alone.single_user = true;
        assert!(
            need(&engine.gate(&alone)).1,
            "{risk} must allow a self-approval"
        );
        alone.votes.self_approval = true;
        assert!(matches!(engine.gate(&alone), GateVerdict::Pass { .. }));
        alone.single_user = false;
        assert!(
            !need(&engine.gate(&alone)).1,
            "with a second user it must not serve"
        );
    }
    let mut critical = facts(Risk::Critical);
    critical.single_user = true;
    critical.votes.self_approval = true;
    assert_eq!(
        deny(&engine.gate(&critical)),
        ["critical risk is refused where there is a single user"]
    );
}

#[test]
fn refusals_name_every_reason() {
    let mut bad = facts(Risk::Low);
    bad.evidence
        .insert("security_scan".into(), EvidenceStatus::Skipped);
    bad.evidence.insert("lint".into(), EvidenceStatus::Failed);
    let verdict = built_in().gate(&bad);
    assert_eq!(deny(&verdict), ["security_scan must pass", "lint failed"]);
}

#[test]
fn evidence_that_is_missing_or_unknown_is_a_refusal() {
    let engine = built_in();
    let mut missing = facts(Risk::Low);
    missing.evidence.remove("lint");
    let mut unknown = facts(Risk::Low);
    unknown
        .evidence
        .insert("horoscope".into(), EvidenceStatus::Passed);
    for (facts, word) in [(missing, "lint"), (unknown, "horoscope")] {
        let verdict = engine.gate(&facts);
        let reasons = deny(&verdict).join(" ");
        assert!(reasons.contains(word), "{word} is not named in: {reasons}");
    }
}

#[test]
fn a_node_submits_nothing() {
    let mut facts = facts(Risk::Low);
    facts.submitter.kind = PrincipalKind::Node;
    deny(&built_in().gate(&facts));
}

#[test]
fn every_observation_and_touched_class_reaches_the_policies() {
    for observation in Observation::ALL {
        let engine = with(
            Layer::Local,
            &format!(
                r#"@reason("seen") forbid (principal, action == Action::"release", resource)
                   when {{ context.observed.contains(Observation::"{}") }};"#,
                observation.as_str()
            ),
        );
        let mut facts = facts(Risk::Low);
        assert_eq!(observe(&engine.gate(&facts)), Model::Pass);
        facts.observed.insert(observation);
        assert_eq!(deny(&engine.gate(&facts)), ["seen"]);
    }
    let engine = with(
        Layer::Local,
        r#"forbid (principal is Agent, action == Action::"release", resource)
           when { context.touched.contains("ci") && context.environment == "production" };"#,
    );
    let mut facts = facts(Risk::Low);
    facts.submitter.kind = PrincipalKind::Agent;
    facts.touched.insert("ci".into());
    assert_eq!(observe(&engine.gate(&facts)), Model::Pass);
    facts.environment = "production".into();
    deny(&engine.gate(&facts));
}

// ---- Other policies ------------------------------------------------------------------------

#[test]
fn a_directory_may_ask_for_more_people_and_more_evidence() {
    let engine = with(
        Layer::Local,
        r#"@reason("production needs three")
           forbid (principal, action == Action::"release", resource)
           when { context.environment == "production" && context.human_approvals < 3 };
           forbid (principal, action == Action::"release", resource)
           when { context.evidence.sbom != Status::"passed" };"#,
    );
    let mut facts = facts(Risk::Low);
    facts.environment = "production".into();
    let verdict = engine.gate(&facts);
    assert_eq!(need(&verdict), (3, false));
    assert!(
        verdict
            .reasons()
            .contains(&"production needs three".to_owned())
    );
    assert!(engine.required_kinds(&facts).contains(&"sbom".to_owned()));
    assert!(
        !built_in()
            .required_kinds(&facts)
            .contains(&"sbom".to_owned())
    );
}

#[test]
fn more_approvals_than_the_limit_are_a_refusal() {
    let engine = with(
        Layer::Local,
        r#"forbid (principal, action == Action::"release", resource)
           when { context.human_approvals < 6 };"#,
    );
    deny(&engine.gate(&facts(Risk::Medium)));
}

#[test]
fn an_error_while_evaluating_is_a_refusal_even_in_a_forbid() {
    // Valid by its types; the sum overflows when it is evaluated.
    for layer in [Layer::Managed, Layer::Local] {
        let engine = with(
            layer,
            r#"@id("sum") forbid (principal, action == Action::"release", resource)
               when { context.changed_files + 9223372036854775807 < 0 };"#,
        );
        let facts = facts(Risk::Low);
        let verdict = engine.gate(&facts);
        assert!(
            deny(&verdict)[0].contains("`sum`"),
            "the failing policy is not named: {verdict:?}"
        );
        let mut none = facts.clone();
        none.changed_files = 0;
        assert_eq!(observe(&engine.gate(&none)), Model::Pass);
    }
}

#[test]
fn an_error_is_not_hidden_by_more_approvals() {
    let engine = with(
        Layer::Local,
        r#"forbid (principal, action == Action::"release", resource)
           when { context.human_approvals == 0 && context.changed_files + 9223372036854775807 < 0 };"#,
    );
    deny(&engine.gate(&facts(Risk::Medium)));
}

#[test]
fn managed_forbids_are_final_and_local_forbids_bind_managed_permits() {
    let engine = with(
        Layer::Managed,
        r#"@reason("not today") forbid (principal, action == Action::"release", resource);"#,
    );
    assert_eq!(deny(&engine.gate(&facts(Risk::Low))), ["not today"]);
    let engine = with(
        Layer::Managed,
        r#"permit (principal, action == Action::"release", resource);"#,
    );
    let mut failing = facts(Risk::High);
    assert_eq!(observe(&engine.gate(&failing)), Model::Pass);
    failing
        .evidence
        .insert("lint".into(), EvidenceStatus::Failed);
    assert_eq!(deny(&engine.gate(&failing)), ["lint failed"]);
}

#[test]
fn the_verdict_names_the_policies_behind_it() {
    let explanation = built_in().explain_gate(&facts(Risk::Low));
    let policy = &explanation.answer.policies[0];
    assert_eq!(policy.id, "low-passes");
    assert_eq!(policy.file, "default.cedar (built in)");
    let text = matrix_identity::policy::DEFAULT_POLICY;
    let line = text
        .lines()
        .position(|line| line.contains("low-passes"))
        .unwrap()
        + 1;
    assert_eq!(policy.line.unwrap() as usize, line);
}

#[test]
fn facts_survive_json_and_refuse_unknown_members() {
    let facts = facts(Risk::High);
    let mut json = serde_json::to_value(&facts).unwrap();
    assert_eq!(
        serde_json::from_value::<GateFacts>(json.clone()).unwrap(),
        facts
    );
    json["riks"] = "low".into();
    assert!(serde_json::from_value::<GateFacts>(json).is_err());
    let verdict = built_in().gate(&facts);
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["verdict"], "needs_approval");
    assert_eq!(
        serde_json::from_value::<GateVerdict>(json).unwrap(),
        verdict
    );
}

#[test]
fn an_empty_policy_file_allows_nothing() {
    let empty = Source {
        layer: Layer::Local,
        name: "policy/empty.cedar".into(),
        text: String::new(),
    };
    let engine = PolicyEngine::from_sources(&[empty]).unwrap();
    assert_eq!(
        deny(&engine.gate(&facts(Risk::Low))),
        ["no policy allows it"]
    );
    let kinds: BTreeMap<_, _> = facts(Risk::Low).evidence;
    assert_eq!(engine.required_kinds(&facts(Risk::Low)).len(), kinds.len());
}
