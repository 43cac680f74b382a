//! No network, but for the one declared door.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::io::{Read, Write};
use std::net::TcpListener;

use common::Harness;
use matrix_sandbox::egress::{Destination, Egress, Rules, Upstream};
use matrix_sandbox::spec::{Network, Profile, SandboxSpec};

/// A server that answers every connection with one fixed text and remembers what it was asked.
fn server(answer: &'static str) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (says, hears) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = stream;
            let mut request = Vec::new();
            let mut byte = [0];
            while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
                request.push(byte[0]);
            }
            drop(stream.write_all(answer.as_bytes()));
            drop(says.send(String::from_utf8_lossy(&request).into_owned()));
        }
    });
    (port, hears)
}

const ANSWER: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello";

/// Speaks to the proxy inside with nothing but a shell.
fn ask(request: &str) -> String {
    format!("exec 3<>/dev/tcp/127.0.0.1/3128; printf '{request}' >&3; cat <&3")
}

fn through(harness: &Harness, egress: &Egress, script: &str) -> SandboxSpec {
    let mut spec = harness.spec("");
    spec.profile = Profile::Prepare;
    spec.command = vec!["bash".into(), "-c".into(), script.into()];
    spec.network = Network::Egress {
        socket: egress.socket().into(),
        port: 3128,
    };
    spec
}

fn proxy(harness: &Harness, rules: Rules) -> Egress {
    Egress::start(&harness.root.path().join("egress"), rules).unwrap()
}

#[tokio::test]
async fn nothing_is_reached_without_a_door() {
    let (port, _) = server(ANSWER);
    let harness = Harness::new();
    let mut spec = harness.spec("");
    let script = format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo reached; true");
    spec.command = vec!["bash".into(), "-c".into(), script.into()];
    assert_eq!(harness.run(spec).await.unwrap().out, "");
}

#[tokio::test]
async fn a_listed_destination_is_reached_by_tunnel_and_by_plain_request() {
    let (port, asked) = server(ANSWER);
    let harness = Harness::new();
    let egress = proxy(
        &harness,
        Rules::allow([Destination::new("127.0.0.1", port)]),
    );
    let tunnel = format!("CONNECT 127.0.0.1:{port} HTTP/1.1\\r\\n\\r\\nGET / HTTP/1.1\\r\\n\\r\\n");
    let ran = harness
        .run(through(&harness, &egress, &ask(&tunnel)))
        .await
        .unwrap();
    assert!(
        ran.out.starts_with("HTTP/1.1 200 Connection established") && ran.out.ends_with("hello"),
        "{ran:?}"
    );
    let plain = format!(
        "GET http://127.0.0.1:{port}/file HTTP/1.1\\r\\nAccept: x/y\\r\\nProxy-Authorization: z\\r\\n\\r\\n"
    );
    let ran = harness
        .run(through(&harness, &egress, &ask(&plain)))
        .await
        .unwrap();
    assert_eq!(ran.out, ANSWER);
    asked.recv().unwrap();
    let request = asked.recv().unwrap();
    assert!(
        request.starts_with("GET /file HTTP/1.1\r\n") && request.contains("Accept: x/y"),
        "{request}"
    );
    assert!(!request.contains("Proxy-Authorization"), "{request}");
    assert_eq!(egress.take_denials(), []);
}

#[tokio::test]
async fn what_is_not_listed_is_denied_with_a_reason() {
    let (port, asked) = server(ANSWER);
    let harness = Harness::new();
    let egress = proxy(
        &harness,
        Rules::allow([Destination::new("files.example.org", 443)]),
    );
    let target = format!("127.0.0.1:{port}");
    let request = format!("CONNECT {target} HTTP/1.1\\r\\n\\r\\n");
    let ran = harness
        .run(through(&harness, &egress, &ask(&request)))
        .await
        .unwrap();
    assert!(
        ran.out.starts_with("HTTP/1.1 403 ") && ran.out.contains("files.example.org:443"),
        "{}",
        ran.out
    );
    let denials = egress.take_denials();
    assert_eq!(denials.len(), 1);
    assert_eq!(denials[0].what, "network");
    assert!(
        denials[0].reason.contains(&target)
            && denials[0]
                .reason
                .contains("allowed are files.example.org:443")
    );
    assert!(asked.try_recv().is_err(), "the server was reached");
}

#[tokio::test]
async fn a_listed_name_that_leads_home_is_denied_unless_the_address_is_listed_too() {
    let (port, _) = server(ANSWER);
    let harness = Harness::new();
    let request =
        format!("CONNECT localhost:{port} HTTP/1.1\\r\\n\\r\\nGET / HTTP/1.1\\r\\n\\r\\n");
    let name = Destination::new("localhost", port);
    let egress = proxy(&harness, Rules::allow([name.clone()]));
    let ran = harness
        .run(through(&harness, &egress, &ask(&request)))
        .await
        .unwrap();
    assert!(
        ran.out.contains("403") && ran.out.contains("this machine"),
        "{}",
        ran.out
    );
    drop(egress);
    let egress = proxy(
        &harness,
        Rules::allow([name, Destination::new("127.0.0.1", port)]),
    );
    let ran = harness
        .run(through(&harness, &egress, &ask(&request)))
        .await
        .unwrap();
    assert!(ran.out.ends_with("hello"), "{}", ran.out);
}

#[tokio::test]
async fn an_upstream_proxy_is_asked_for_listed_names_only() {
    let (port, asked) = server("HTTP/1.1 200 Connection established\r\n\r\n");
    let harness = Harness::new();
    let mut rules = Rules::allow([Destination::new("files.example.org", 443)]);
    rules.upstream = Some(Upstream {
        host: "127.0.0.1".into(),
        port,
        authorization: Some("Basic eA==".into()),
    });
    let egress = proxy(&harness, rules);
    let ran = harness
        .run(through(
            &harness,
            &egress,
            &ask("CONNECT Files.Example.org.:443 HTTP/1.1\\r\\n\\r\\n"),
        ))
        .await
        .unwrap();
    assert!(ran.out.starts_with("HTTP/1.1 200"), "{}", ran.out);
    let request = asked.recv().unwrap();
    assert!(
        request.starts_with("CONNECT files.example.org:443 HTTP/1.1\r\n"),
        "{request}"
    );
    assert!(
        request.contains("Proxy-Authorization: Basic eA==\r\n"),
        "{request}"
    );
    let ran = harness
        .run(through(
            &harness,
            &egress,
            &ask("CONNECT other.example.org:443 HTTP/1.1\\r\\n\\r\\n"),
        ))
        .await
        .unwrap();
    assert!(ran.out.starts_with("HTTP/1.1 403"), "{}", ran.out);
    assert!(
        asked.try_recv().is_err(),
        "the upstream proxy was asked for a denied name"
    );
}

#[tokio::test]
async fn heads_without_end_and_nonsense_end_the_connection() {
    let harness = Harness::new();
    let egress = proxy(&harness, Rules::default());
    let ran = harness
        .run(through(&harness, &egress, &ask("nonsense\\r\\n\\r\\n")))
        .await
        .unwrap();
    assert!(ran.out.starts_with("HTTP/1.1 400"), "{}", ran.out);
    let long = "exec 3<>/dev/tcp/127.0.0.1/3128; head -c 100000 /dev/zero | tr '\\0' a >&3 2>/dev/null; cat <&3; echo closed";
    let ran = harness.run(through(&harness, &egress, long)).await.unwrap();
    assert!(ran.out.ends_with("closed\n"), "{ran:?}");
}

#[tokio::test]
async fn bytes_through_a_connection_are_limited() {
    let (port, _) = server(ANSWER);
    let harness = Harness::new();
    let mut rules = Rules::allow([Destination::new("127.0.0.1", port)]);
    rules.bytes = 20;
    let egress = proxy(&harness, rules);
    let plain = format!("GET http://127.0.0.1:{port}/ HTTP/1.1\\r\\n\\r\\n");
    let ran = harness
        .run(through(&harness, &egress, &ask(&plain)))
        .await
        .unwrap();
    assert_eq!(ran.out.len(), 20);
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_refused_before_anything_runs() {
    let harness = Harness::new();
    let egress = proxy(&harness, Rules::default());
    let spec = through(&harness, &egress, "true");
    drop(egress);
    assert!(harness.run(spec).await.is_err());
}
