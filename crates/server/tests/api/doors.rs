//! Who is let in, from where, and what every answer carries.

use std::time::Duration;

use matrix_server::{Exposure, Limits, bind};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::site::Site;

#[tokio::test]
async fn health_needs_no_token_and_says_little_and_everything_else_needs_one() {
    let site = Site::open().await;
    for open in ["/livez", "/readyz", "/health"] {
        let body = site.ask("GET", open).send().await.ok(200);
        assert_eq!(body.as_object().unwrap().len(), 1, "{open}: {body}");
    }
    for closed in [
        "/health/detailed",
        "/metrics",
        "/api/v1/runs",
        "/livez/",
        "//livez",
        "/nothing",
    ] {
        let refused = site.ask("GET", closed).send().await;
        refused.problem(401, "AUTH-0002");
        assert!(refused.header("www-authenticate").starts_with("Bearer"));
        let wrong = site.ask("GET", closed).token("mtx_nonsense").send().await;
        wrong.problem(401, "AUTH-0002");
    }
    let details = site.get("/health/detailed").send().await.ok(200);
    assert_eq!(details["parts"]["storage"]["state"], "ok", "{details}");
    site.close().await;
}

#[tokio::test]
async fn a_failed_part_makes_health_fail_but_not_life() {
    let site = Site::open().await;
    let report = |state| {
        site.server
            .health()
            .report("sandbox", state, "a probe escaped");
    };
    report(matrix_server::health::HealthState::Pending);
    assert_eq!(
        site.ask("GET", "/health").send().await.ok(200)["status"],
        "pending"
    );
    report(matrix_server::health::HealthState::Failed);
    assert_eq!(
        site.ask("GET", "/health").send().await.ok(503)["status"],
        "failed"
    );
    site.ask("GET", "/livez").send().await.ok(200);
    site.ask("GET", "/readyz").send().await.ok(200);
    let details = site.get("/health/detailed").send().await.ok(503);
    assert_eq!(details["parts"]["sandbox"]["detail"], "a probe escaped");
    site.close().await;
}

#[tokio::test]
async fn foreign_names_and_pages_are_refused_even_with_a_token() {
    let site = Site::open().await;
    let port = site.address.port();
    for host in [
        "evil.example",
        "localhost",
        &format!("evil.example:{port}"),
        "127.0.0.1:1",
    ] {
        let refused = site.get("/api/v1/runs").header("host", host).send().await;
        refused.problem(421, "HTTP-0002");
        let health = site.ask("GET", "/livez").header("host", host).send().await;
        health.problem(421, "HTTP-0002");
    }
    for origin in ["null", "https://evil.example", "http://localhost:1"] {
        let refused = site
            .get("/api/v1/runs")
            .header("origin", origin)
            .send()
            .await;
        refused.problem(403, "HTTP-0003");
    }
    let own = format!("http://localhost:{port}");
    site.get("/api/v1/runs")
        .header("origin", &own)
        .send()
        .await
        .ok(200);
    let name = format!("localhost:{port}");
    site.get("/api/v1/runs")
        .header("host", &name)
        .send()
        .await
        .ok(200);
    site.close().await;
}

#[tokio::test]
async fn every_answer_is_framed_and_every_failure_is_a_problem() {
    let site = Site::open().await;
    let answers = [
        site.ask("GET", "/livez").send().await,
        site.get("/api/v1/runs").send().await,
        site.get("/api/v1/nothing").send().await,
        site.ask("DELETE", "/api/v1/runs")
            .token(&site.user)
            .send()
            .await,
    ];
    for answer in &answers {
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("cache-control"), "no-store");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert!(
            answer
                .header("content-security-policy")
                .contains("default-src 'none'")
        );
        assert_eq!(answer.header("x-request-id").len(), 32);
    }
    answers[2].problem(404, "HTTP-0004");
    answers[3].problem(405, "HTTP-0005");
    assert!(
        answers[3].header("allow").contains("GET"),
        "{:?}",
        answers[3].headers
    );
    let named = site
        .get("/api/v1/nothing")
        .header("x-request-id", "trace-7")
        .send()
        .await;
    assert_eq!(named.problem(404, "HTTP-0004")["request_id"], "trace-7");
    let unsafe_id = site
        .get("/api/v1/nothing")
        .header("x-request-id", "a b")
        .send()
        .await;
    assert_eq!(unsafe_id.header("x-request-id").len(), 32);
    site.close().await;
}

#[tokio::test]
async fn addresses_that_other_machines_reach_are_refused_unless_said_otherwise() {
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let refused = bind(address.parse().unwrap(), Exposure::Loopback).await;
        assert!(
            refused.unwrap_err().to_string().contains("other machines"),
            "{address}"
        );
    }
    bind("0.0.0.0:0".parse().unwrap(), Exposure::Network)
        .await
        .unwrap();
}

/// What a connection that says only this much is answered before it is hung up on.
async fn hung_up(site: &Site, text: &str) -> String {
    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    // A reset is a hang-up too.
    drop(read.expect("the connection stays open"));
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_client_that_dawdles_is_hung_up_on() {
    let limits = Limits {
        head: Duration::from_millis(200),
        answer: Duration::from_millis(400),
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    let host = site.address;
    let silent = hung_up(&site, "").await;
    assert!(!silent.contains("200 OK"), "{silent}");
    let half = hung_up(
        &site,
        &format!("GET /livez HTTP/1.1\r\nHost: {host}\r\nX-Slow: "),
    )
    .await;
    assert!(!half.contains("200 OK"), "{half}");
    let token = &site.user;
    let body = hung_up(
        &site,
        &format!(
            "POST /api/v1/plan HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {token}\r\n\
             Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{{\"plan\":"
        ),
    )
    .await;
    assert!(body.starts_with("HTTP/1.1 408"), "{body}");
    assert!(body.contains("HTTP-0009"), "{body}");
    let huge = hung_up(
        &site,
        &format!(
            "GET /livez HTTP/1.1\r\nHost: {host}\r\nX-Big: {}\r\n\r\n",
            "x".repeat(100_000)
        ),
    )
    .await;
    assert!(
        huge.starts_with("HTTP/1.1 431") || huge.is_empty(),
        "{huge}"
    );
    site.close().await;
}

#[tokio::test]
async fn metrics_count_what_was_answered() {
    let site = Site::open().await;
    site.settled(serde_json::json!("signal")).await;
    site.settled(serde_json::json!("done")).await;
    site.get("/api/v1/runs").send().await.ok(200);
    let answer = site.get("/metrics").send().await;
    assert!(answer.header("content-type").starts_with("text/plain"));
    let text = answer.text();
    for wanted in [
        r#"http_requests_total{method="GET",route="/api/v1/runs",status="200"} 1"#,
        r#"runs_created_total{kind="test"} 2"#,
        r#"run_duration_seconds_count{kind="test",status="succeeded"} 1"#,
        r#"run_duration_seconds_bucket{kind="test",status="succeeded",le="604800"} 1"#,
        r#"jobs_total{status="submitted"} 0"#,
        r#"queue_depth{priority="5"} 0"#,
        "worker_utilization 0",
        "lease_takeovers_total 0",
        r#"replay_entries_bucket{le="1"} 2"#,
        "commit_failures_total 0",
    ] {
        assert!(
            text.lines().any(|line| line == wanted),
            "{wanted} is missing:\n{text}"
        );
    }
    for wanted in [
        "commits_total ",
        "commit_batch_size_bucket{le=\"512\"} ",
        "commit_seconds_sum ",
        "uptime_seconds ",
        "# TYPE job_duration_seconds histogram",
        "# TYPE subscription_lag gauge",
    ] {
        assert!(
            text.lines().any(|line| line.starts_with(wanted)),
            "{wanted}:\n{text}"
        );
    }
    site.close().await;
}
