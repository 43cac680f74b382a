//! The built-in policy's table of who may do what, and that nothing gets round it.

#![expect(clippy::unwrap_used, reason = "a test stops at the first surprise")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use matrix_core::{Authorizer, Caller, Principal, PrincipalKind, Scope};
use matrix_identity::policy::{Access, Roster, Source};
use matrix_identity::{PolicyEngine, Role};
use serde_json::{Value, json};

struct People(BTreeMap<String, BTreeSet<Role>>);

impl Roster for People {
    fn roles_of(&self, principal: &Principal) -> Option<BTreeSet<Role>> {
        self.0.get(&principal.to_string()).cloned()
    }
}

fn access() -> Access {
    let people = [
        (
            "user:owner",
            vec![Role::Owner, Role::Approver, Role::Submitter],
        ),
        ("user:approver", vec![Role::Approver]),
        ("user:submitter", vec![Role::Submitter]),
        ("user:nobody", vec![]),
        ("service:api", vec![Role::Submitter]),
        ("service:loud", Role::ALL.to_vec()),
        ("service:hand", vec![Role::Worker]),
        ("user:hand", vec![Role::Worker]),
        ("service:ci", vec![Role::Client]),
    ];
    let people = people
        .into_iter()
        .map(|(name, roles)| (name.to_owned(), roles.into_iter().collect()))
        .collect();
    let engine = PolicyEngine::from_sources(&[Source::built_in()]).unwrap();
    Access::new(Arc::new(engine), Arc::new(People(people)))
}

fn principal(text: &str) -> Principal {
    let (kind, name) = text.split_once(':').unwrap();
    let kind = match kind {
        "user" => PrincipalKind::User,
        "service" => PrincipalKind::ServiceAccount,
        "agent" => PrincipalKind::Agent,
        _ => PrincipalKind::Node,
    };
    Principal {
        kind,
        name: name.into(),
    }
}

fn caller(text: &str, chain: &[&str]) -> Caller {
    Caller {
        principal: principal(text),
        scope: Scope::local(),
        on_behalf_of: chain.iter().map(|text| principal(text)).collect(),
    }
}

fn may(caller: &Caller, action: &'static str, facts: &Value) -> bool {
    access().decide(caller, action, facts).is_ok()
}

const READ: [&str; 11] = [
    "agent_read",
    "change_read",
    "run_read",
    "artifact_read",
    "deployment_read",
    "signing_key_read",
    "user_read",
    "policy_read",
    "event_read",
    "schedule_read",
    "model_read",
];
const OPERATE: [&str; 10] = [
    "run_cancel",
    "run_pause",
    "run_resume",
    "run_signal",
    "run_retry",
    "run_fork",
    "schedule_fire",
    "schedule_remove",
    "queue_pause",
    "queue_resume",
];
const DECIDE: [&str; 2] = ["change_approve", "change_reject"];
const ADMINISTER: [&str; 17] = [
    "agent_add",
    "agent_state",
    "agent_remove",
    "deployment_rollback",
    "deployment_stop",
    "signing_key_rotate",
    "user_add",
    "artifact_prune",
    "run_prune",
    "run_hold",
    "event_subscribe",
    "event_remove",
    "event_reset",
    "model_add",
    "model_remove",
    "budget_set",
    "budget_remove",
];

#[test]
fn the_table_of_roles() {
    let submit = ["change_submit"];
    let steps = ["task_submit", "agent_run"];
    let (work, ask) = (["task_work"], ["model_use"]);
    let groups: [(&str, &[&'static str]); 8] = [
        ("read", &READ),
        ("submit", &submit),
        ("steps", &steps),
        ("work", &work),
        ("ask", &ask),
        ("operate", &OPERATE),
        ("decide", &DECIDE),
        ("administer", &ADMINISTER),
    ];
    let table: [(&str, &[&str], &[&str]); 12] = [
        (
            "user:owner",
            &[],
            &[
                "read",
                "submit",
                "steps",
                "work",
                "ask",
                "operate",
                "decide",
                "administer",
            ],
        ),
        ("user:approver", &[], &["read", "ask", "decide"]),
        ("user:submitter", &[], &["read", "ask", "submit", "steps"]),
        ("user:nobody", &[], &[]),
        ("user:stranger", &[], &[]),
        ("service:api", &[], &["read", "ask", "submit", "steps"]),
        ("service:hand", &[], &["work"]),
        ("user:hand", &[], &[]),
        ("service:ci", &[], &["ask"]),
        (
            "service:loud",
            &[],
            &["read", "ask", "submit", "steps", "work"],
        ),
        ("agent:coder", &["user:owner"], &["read", "ask", "submit"]),
        ("node:builder", &["user:owner"], &[]),
    ];
    for (who, chain, allowed) in table {
        for (group, actions) in &groups {
            for action in *actions {
                assert_eq!(
                    may(&caller(who, chain), action, &json!({})),
                    allowed.contains(group),
                    "{who} for {chain:?}: {action}"
                );
            }
        }
    }
}

#[test]
fn a_submitter_operates_only_what_it_submitted() {
    let ada = caller("user:submitter", &[]);
    let facts = |submitter: &str| json!({"run": "run_1", "submitter": submitter});
    for action in OPERATE {
        assert!(may(&ada, action, &facts("user:submitter")), "{action}");
        assert!(!may(&ada, action, &facts("user:owner")), "{action}");
        assert!(!may(&ada, action, &facts("service:submitter")), "{action}");
    }
}

#[test]
fn rights_are_the_intersection_of_the_chain() {
    let facts = json!({});
    assert!(may(
        &caller("agent:coder", &["user:submitter"]),
        "change_submit",
        &facts
    ));
    for chain in [
        &["user:approver"][..],
        &["user:owner", "user:approver"],
        &["user:stranger"],
        &[],
    ] {
        let agent = caller("agent:coder", chain);
        assert!(
            !may(&agent, "change_submit", &facts),
            "allowed for {chain:?}"
        );
    }
    let denied = access()
        .decide(
            &caller("agent:coder", &["user:approver"]),
            "change_submit",
            &facts,
        )
        .unwrap_err();
    assert_eq!(
        denied.reason,
        "it acts for user:approver: no policy allows it"
    );
}

#[test]
fn facts_and_actions_outside_the_schema_are_refused() {
    let owner = caller("user:owner", &[]);
    for facts in [
        json!({"colour": "red"}),
        json!({"run": 7}),
        json!({"own": "yes", "run": {"__entity": {"type": "User", "id": "owner"}}}),
        json!([1]),
        json!("text"),
    ] {
        assert!(!may(&owner, "run_read", &facts), "allowed with {facts}");
    }
    // A caller cannot say itself that a run is its own.
    let ada = caller("user:submitter", &[]);
    assert!(!may(
        &ada,
        "run_cancel",
        &json!({"run": "run_1", "own": true})
    ));
    for action in ["release", "service", "read", "teleport", "", "run_teleport"] {
        let denied = access()
            .decide(&owner, action, &json!({}))
            .expect_err(action);
        assert!(!denied.reason.is_empty());
    }
}

#[test]
fn a_name_cannot_reach_out_of_its_quotes() {
    let odd = caller("user:owner\" , resource); permit(principal", &[]);
    assert!(!may(&odd, "run_read", &json!({})));
    let run = json!({"run": "x\"] || true || [\""});
    assert!(may(&caller("user:owner", &[]), "run_read", &run));
}

#[test]
fn an_explanation_names_the_policy() {
    let explanation = access().explain(
        &caller("user:approver", &[]),
        "change_approve",
        &json!({"change": "run_1"}),
    );
    assert!(explanation.allowed);
    assert_eq!(
        explanation.steps[0].answer.policies[0].id,
        "approvers-may-decide"
    );
}
