//! How long the gate and one authorisation take under the built-in policy.
//!
//! `cargo run --release -p matrix-identity --example decision_cost`

#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a measuring program speaks to its terminal and may stop at once"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use matrix_core::system::SystemClock;
use matrix_core::{Authorizer, Caller, Clock, Principal, PrincipalKind, Scope};
use matrix_identity::policy::{Access, EVIDENCE_KINDS, Roster, Source, Tests};
use matrix_identity::{EvidenceStatus, GateFacts, PolicyEngine, Risk, Role, Tally};

struct Everyone;

impl Roster for Everyone {
    fn roles_of(&self, _: &Principal) -> Option<BTreeSet<Role>> {
        Some(Role::ALL.into())
    }
}

fn measure(clock: &dyn Clock, what: &str, rounds: usize, mut work: impl FnMut()) {
    let mut times: Vec<Duration> = (0..rounds)
        .map(|_| {
            let start = clock.monotonic();
            work();
            clock.monotonic().saturating_sub(start)
        })
        .collect();
    times.sort();
    let at = |share: usize| times[(times.len() - 1) * share / 100];
    println!(
        "{what:<34} min {:>9.1?}  median {:>9.1?}  p95 {:>9.1?}  p99 {:>9.1?}",
        at(0),
        at(50),
        at(95),
        at(99)
    );
}

fn facts(risk: Risk, ada: &Principal) -> GateFacts {
    GateFacts {
        change: "run_x".into(),
        submitter: ada.clone(),
        submitter_roles: Role::ALL.into(),
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
        single_user: true,
        touched: (0..20).map(|class| format!("class-{class}")).collect(),
        observed: BTreeSet::new(),
        changed_files: 3,
        changed_lines: 90,
    }
}

fn main() {
    let clock = SystemClock::start();
    let ada = Principal {
        kind: PrincipalKind::User,
        name: "ada".into(),
    };
    let load = || PolicyEngine::from_sources(&[Source::built_in()]).expect("built in");
    measure(
        &clock,
        "read and validate the policies",
        50,
        || drop(load()),
    );
    let engine = Arc::new(load());
    for (what, risk) in [
        ("gate, passes (1 question)", Risk::Low),
        ("gate, needs two (4 questions)", Risk::High),
        ("gate, denied (7 questions)", Risk::Critical),
    ] {
        let facts = facts(risk, &ada);
        measure(&clock, what, 2_000, || drop(engine.gate(&facts)));
    }
    let low = facts(Risk::Low, &ada);
    measure(&clock, "kinds the policies require", 500, || {
        drop(engine.required_kinds(&low));
    });
    let access = Access::new(Arc::clone(&engine), Arc::new(Everyone));
    let caller = Caller {
        principal: ada,
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    };
    let run = serde_json::json!({"run": "run_x", "submitter": "user:ada"});
    measure(&clock, "authorise one function", 2_000, || {
        access.decide(&caller, "run_read", &run).unwrap();
    });
}
