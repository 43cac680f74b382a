//! Whatever a client sends is refused with a reason, or understood.

use serde_json::json;

use crate::site::Site;

#[tokio::test]
async fn bodies_are_json_of_a_known_form_and_size() {
    let site = Site::open().await;
    let post = || site.ask("POST", "/api/v1/plan").token(&site.user);
    let json = "application/json";
    let cases = [
        (post().raw("{"), json, 400, "HTTP-0008"),
        (post().raw("[]"), json, 400, "HTTP-0008"),
        (
            post().raw(r#"{"plan":"x","surprise":1}"#),
            json,
            400,
            "HTTP-0008",
        ),
        (post().raw(r#"{"plan":1}"#), json, 400, "HTTP-0008"),
        (
            post().raw(r#"{"plan":"a","plan":"b"}"#),
            json,
            400,
            "HTTP-0008",
        ),
        (
            post().raw(&b"{\"plan\":\"\xff\"}"[..]),
            json,
            400,
            "HTTP-0008",
        ),
        (post().raw("[".repeat(100_000)), json, 400, "HTTP-0008"),
        (post(), json, 400, "HTTP-0008"),
        (
            post().raw(r#"{"plan":"x"}"#),
            "text/plain",
            415,
            "HTTP-0007",
        ),
        (post().raw(r#"{"plan":"x"}"#), "", 415, "HTTP-0007"),
        (post().raw("x".repeat(3 << 20)), json, 413, "HTTP-0006"),
    ];
    for (ask, media_type, status, code) in cases {
        ask.header("content-type", media_type)
            .send()
            .await
            .problem(status, code);
    }
    site.close().await;
}

#[tokio::test]
async fn paths_and_queries_that_mean_nothing_are_refused() {
    let site = Site::open().await;
    for address in [
        "/api/v1/runs/nonsense",
        "/api/v1/runs/dep_00000000000000000000000000",
        "/api/v1/runs/%FF",
        "/api/v1/runs?limit=x",
        "/api/v1/runs?surprise=1",
        "/api/v1/runs?cursor=nonsense",
        "/api/v1/runs?state=done",
        "/api/v1/jobs?since=yesterday",
        "/api/v1/approvals?state=lost",
    ] {
        site.get(address).send().await.problem(400, "HTTP-0008");
    }
    site.close().await;
}

#[tokio::test]
async fn a_verb_needs_no_body_but_takes_no_unknown_one_and_no_endless_reason() {
    let site = Site::open().await;
    let client = site.client().await;
    let run = site.settled(json!("signal")).await;
    let pause = format!("/api/v1/runs/{run}/pause");
    let reason = json!({ "reason": "x".repeat(5_000) });
    for body in [reason, json!({ "why": "x" })] {
        let refused = client.post::<_, serde_json::Value>(&pause, &body).await;
        let error = refused.unwrap_err();
        assert!(error.to_string().contains("HTTP-0008"), "{error}");
    }
    let accepted: serde_json::Value = client.post(&pause, &json!({})).await.unwrap();
    assert_eq!(accepted["run"], run.to_string());
    site.close().await;
}

#[tokio::test]
async fn a_plan_is_given_back_with_its_digest_or_with_everything_that_is_wrong() {
    let site = Site::open().await;
    let plan = "version: 1\ntitle: A title\ngoal: A goal\nauthor: { name: Ada, email: ada@example.org }\n\
                base: main\noperations:\n  - create: { path: a.txt, content: hello }\n";
    let post = |plan: &str| {
        site.ask("POST", "/api/v1/plan")
            .token(&site.service)
            .json(&json!({ "plan": plan }))
    };
    let checked = post(plan).send().await.ok(200);
    assert_eq!(checked["plan"]["title"], "A title");
    assert_eq!(checked["digest"].as_str().unwrap().len(), 64);
    let wrong = post("version: 7\n").send().await;
    assert!((400..500).contains(&wrong.status), "{}", wrong.text());
    assert_eq!(wrong.header("content-type"), "application/problem+json");
    site.close().await;
}
