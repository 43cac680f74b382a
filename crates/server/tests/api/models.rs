//! Conversations with models: what a client does that sends too much or reads nothing.

use std::time::Duration;

use http_body_util::BodyExt;
use matrix_server::Limits;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::site::Site;

const PATIENCE: Duration = Duration::from_secs(30);

/// A provider that talks until nobody listens; tells when that is.
async fn talker() -> (String, oneshot::Receiver<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = oneshot::channel();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        drop(stream.read(&mut [0; 16 * 1024]).await);
        let head = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n";
        stream.write_all(head.as_bytes()).await.unwrap();
        let words = "word ".repeat(10_000);
        let chunk = json!({ "id": "1", "object": "chat.completion.chunk", "model": "m",
            "choices": [{ "index": 0, "delta": { "content": words } }] });
        let event = format!("data: {chunk}\n\n");
        while stream.write_all(event.as_bytes()).await.is_ok() {}
        let _heard = tell.send(());
    });
    (url, told)
}

async fn add(site: &Site, url: &str) {
    let provider = json!({ "kind": "openai_compatible", "base_url": url, "private": true });
    let model =
        json!({ "name": "m", "model": { "provider": provider, "model": "m", "price": "free" } });
    let added = site.client().await;
    let _: Value = added.post("/api/v1/models", &model).await.unwrap();
}

fn question(stream: bool) -> Value {
    json!({ "model": "m", "stream": stream, "messages": [{ "role": "user", "content": "Hi" }] })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_nobody_reads_is_given_up_and_is_no_whole_one() {
    let limits = Limits {
        stall: Duration::from_millis(300),
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    let (url, alone) = talker().await;
    add(&site, &url).await;
    let ask = site.ask("POST", "/v1/chat/completions").token(&site.user);
    let response = ask.json(&question(true)).open().await;
    assert_eq!(response.status(), 200);
    tokio::time::timeout(PATIENCE, alone)
        .await
        .unwrap()
        .unwrap();
    // Whoever reads on after all sees that the rest is missing.
    let rest = tokio::time::timeout(PATIENCE, response.into_body().collect());
    assert!(rest.await.unwrap().is_err(), "it looks like a whole answer");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn conversations_that_are_too_much_together_are_refused_until_others_are_read() {
    let limits = Limits {
        models_bytes: 1024 * 1024,
        ..Limits::default()
    };
    let site = Site::with(limits).await;
    let mut large = question(false);
    large["messages"][0]["content"] = "x".repeat(2 << 20).into();
    let ask = || site.ask("POST", "/v1/chat/completions").token(&site.user);
    let refused = ask().json(&large).send().await;
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!(
        refused.ok(503)["error"]["code"],
        "HTTP-0016",
        "{}",
        refused.text()
    );
    // What a list of numbers takes in memory is more than its text.
    let mut heavy = question(false);
    heavy["metadata"] = vec![0; 100_000].into();
    let refused = ask().json(&heavy).send().await;
    assert_eq!(
        refused.ok(413)["error"]["code"],
        "HTTP-0006",
        "{}",
        refused.text()
    );
    // What was refused holds nothing.
    let unknown = ask().json(&question(false)).send().await.ok(404);
    assert_eq!(unknown["error"]["code"], "model_not_found", "{unknown}");
    site.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_kept_back_is_counted_beside_the_answer_and_in_the_metrics() {
    let site = Site::with(Limits::default()).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let provider = tokio::spawn(async move {
        let mut heard = vec![0; 16 * 1024];
        let (mut stream, _) = listener.accept().await.unwrap();
        let count = stream.read(&mut heard).await.unwrap();
        let body = json!({ "id": "1", "object": "chat.completion", "model": "m", "created": 1,
            "choices": [{ "index": 0, "finish_reason": "stop",
                "message": { "role": "assistant", "content": "To [email_1]." } }] });
        let body = body.to_string();
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close";
        let length = body.len();
        let answer = format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}");
        stream.write_all(answer.as_bytes()).await.unwrap();
        String::from_utf8_lossy(&heard[..count]).into_owned()
    });
    add(&site, &url).await;
    let guard = json!({ "redact": { "email": "restore", "card": "block" } });
    let route = json!({ "name": "r", "route": { "targets": [{ "model": "m" }], "guard": guard } });
    let client = site.client().await;
    let _: Value = client.post("/api/v1/models", &route).await.unwrap();

    let ask = async |text: &str| {
        let messages = json!([{ "role": "user", "content": text }]);
        let body = json!({ "model": "r", "messages": messages });
        let ask = site.ask("POST", "/v1/chat/completions").token(&site.user);
        ask.json(&body).open().await
    };
    let answered = ask("Write to ada@example.org").await;
    assert_eq!(answered.status(), 200);
    assert_eq!(answered.headers()["x-matrix-redacted"], "email=1");
    let body = answered.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body["choices"][0]["message"]["content"],
        "To ada@example.org."
    );
    let heard = provider.await.unwrap();
    assert!(
        heard.contains("[email_1]") && !heard.contains("ada@"),
        "{heard}"
    );

    let refused = ask("Pay with 4111 1111 1111 1111").await;
    assert_eq!(refused.status(), 400);
    let body = refused.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["error"]["code"], "content_blocked");
    assert!(!body.to_string().contains("4111"), "{body}");
    let metrics = site.ask("GET", "/metrics").token(&site.user).open().await;
    let metrics = metrics.into_body().collect().await.unwrap().to_bytes();
    let metrics = String::from_utf8_lossy(&metrics);
    for line in [
        r#"model_redactions_total{class="email",action="restore"} 1"#,
        r#"model_redactions_total{class="card",action="block"} 1"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    site.close().await;
}
