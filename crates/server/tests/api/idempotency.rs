//! A request that is made twice.

use matrix_core::{Caller, Digest, Principal, PrincipalKind, RunId, Scope, Timestamp, canonical};
use matrix_server::rest::Execution;
use matrix_store::StoreError;
use matrix_store::tables::idempotency::{self, KeyRow};
use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn a_refused_request_gives_its_key_back() {
    let site = Site::open().await;
    let missing = site.directory.path().join("missing");
    let body = json!({ "repository": missing, "plan": "version: 7" });
    let other = json!({ "repository": missing, "plan": "version: 8" });
    let post = |body| {
        site.ask("POST", "/api/v1/execute")
            .token(&site.service)
            .header("idempotency-key", "key-1")
            .json(body)
    };
    for body in [&body, &other, &body] {
        let refused = post(body).send().await;
        assert!((400..500).contains(&refused.status), "{}", refused.text());
        let code = refused.text();
        assert!(!code.contains("HTTP-001"), "the key was kept: {code}");
    }
    let bad = post(&body)
        .header("idempotency-key", "two words")
        .send()
        .await;
    bad.problem(400, "HTTP-0008");
    let relative = json!({ "repository": "here", "plan": "version: 1" });
    post(&relative).send().await.problem(400, "HTTP-0008");
    site.close().await;
}

/// Records that the user has used a key before.
async fn used(site: &Site, key: &'static str, request: Digest, run: Option<RunId>) {
    let caller = Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ursula".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    };
    let row = KeyRow {
        request,
        worker: "an-earlier-host".into(),
        run,
        created_at: Timestamp::from_micros(i64::MAX / 2),
    };
    let recorded = site
        .engine
        .database()
        .write::<_, StoreError, _>(move |tx| {
            idempotency::record(tx, &caller, key, &row, Timestamp::default())
        })
        .await;
    assert!(recorded.unwrap());
}

#[tokio::test]
async fn a_used_key_gives_the_same_run_to_its_caller_for_the_same_request() {
    let site = Site::open().await;
    let execution = Execution {
        repository: "/missing".into(),
        plan: Some("version: 1".into()),
        goal: None,
        agent: None,
        model: None,
        revision: None,
        project: None,
        plan_name: "plan.yaml".into(),
        target: None,
        placing: matrix_engine::queue::Placing::default(),
    };
    let asked = canonical::digest(&execution).unwrap();
    let run = site.settled(json!("done")).await;
    used(&site, "done", asked, Some(run)).await;
    used(&site, "runless", asked, None).await;
    let post = |token: &str, key: &str, body: &Execution| {
        site.ask("POST", "/api/v1/execute")
            .token(token)
            .header("idempotency-key", key)
            .json(&serde_json::to_value(body).unwrap())
    };
    let again = post(&site.user, "done", &execution).send().await;
    assert_eq!(again.ok(202)["run"], run.to_string());
    assert_eq!(again.header("location"), format!("/api/v1/jobs/{run}"));
    // A key that never had a run is as good as new: the request is looked at.
    let anew = post(&site.user, "runless", &execution).send().await;
    assert_eq!(anew.status, 422, "{}", anew.text());
    let other = Execution {
        plan: Some("version: 2".into()),
        ..execution.clone()
    };
    let reused = post(&site.user, "done", &other).send().await;
    reused.problem(422, "HTTP-0011");
    let mine = post(&site.service, "done", &execution).send().await;
    assert_ne!(
        mine.status,
        202,
        "another caller's key was honoured: {}",
        mine.text()
    );
    site.close().await;
}
