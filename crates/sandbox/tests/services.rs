//! Services: started, reached, asked, stopped; they outlive who started them and nobody else.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod common;

use std::net::TcpListener;
use std::time::Duration;

use common::{Harness, until};
use matrix_sandbox::service::{Process, Record, ServiceSpec, Status};
use matrix_sandbox::spec::Limits;

const SERVER: &str = r#"
import http.server, signal, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
        self.wfile.write(b"well")
signal.signal(signal.SIGTERM, lambda *_: (print("ending", flush=True), sys.exit(0)))
print("listening", flush=True)
http.server.HTTPServer(("127.0.0.1", 8080), Handler).serve_forever()
"#;

/// A port that nobody listens on now.
fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn service(harness: &Harness, command: &[&str]) -> ServiceSpec {
    let mut sandbox = harness.spec("");
    sandbox.command = command.iter().map(Into::into).collect();
    sandbox.limits = Limits {
        memory_bytes: 256 << 20,
        ..Limits::default()
    };
    ServiceSpec {
        sandbox,
        port: 8080,
        host_port: free_port(),
        directory: harness.root.path().join("service"),
        log_bytes: 1 << 20,
        grace: Duration::from_secs(5),
    }
}

fn python(harness: &Harness) -> ServiceSpec {
    std::fs::write(harness.tree().join("server.py"), SERVER).unwrap();
    service(harness, &["/usr/bin/python3", "/work/server.py"])
}

async fn healthy(record: &Record) {
    let patience = Duration::from_secs(5);
    for _ in 0..400 {
        if record
            .http_status("/health", patience)
            .await
            .is_ok_and(|code| code == 200)
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!(
        "the service never became healthy: {:?}",
        std::fs::read_to_string(&record.log)
    );
}

#[tokio::test]
async fn a_service_is_started_reached_and_stopped() {
    let harness = Harness::new();
    let record = harness
        .sandbox
        .start_service(python(&harness))
        .await
        .unwrap();
    assert_eq!(record.status(), Status::Running);
    healthy(&record).await;
    assert_eq!(
        record
            .http_status("/other", Duration::from_secs(5))
            .await
            .unwrap(),
        404
    );
    // It is a process of its own, not a child that ends with us.
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", record.supervisor.pid)).unwrap();
    let parent: u32 = stat
        .rsplit_once(')')
        .unwrap()
        .1
        .split_whitespace()
        .nth(1)
        .unwrap()
        .parse()
        .unwrap();
    assert_ne!(parent, std::process::id());
    record.stop().await.unwrap();
    assert_eq!(record.status(), Status::Stopped);
    let log = std::fs::read_to_string(&record.log).unwrap();
    assert!(log.contains("listening") && log.contains("ending"), "{log}");
    assert!(
        record
            .http_status("/health", Duration::from_secs(1))
            .await
            .is_err()
    );
    record.stop().await.expect("stopping twice is no error");
}

#[tokio::test]
async fn a_health_command_reaches_the_service_and_nothing_else() {
    let harness = Harness::new();
    let record = harness
        .sandbox
        .start_service(python(&harness))
        .await
        .unwrap();
    healthy(&record).await;
    let tree = harness.root.path().join("health");
    std::fs::create_dir(&tree).unwrap();
    let script = "exec 3<>/dev/tcp/127.0.0.1/8080; printf 'GET /health HTTP/1.0\\r\\n\\r\\n' >&3; head -1 <&3";
    let mut spec = harness.spec("");
    spec.command = vec!["bash".into(), "-c".into(), script.into()];
    spec.work_tree = tree;
    spec.network = record.network();
    let ran = harness.run(spec).await.unwrap();
    assert!(ran.out.contains("200"), "{ran:?}");
    record.stop().await.unwrap();
}

#[tokio::test]
async fn a_service_that_ignores_the_request_is_killed() {
    let harness = Harness::new();
    let mut spec = service(
        &harness,
        &[
            "sh",
            "-c",
            "trap '' TERM; echo up; while :; do sleep 0.1; done",
        ],
    );
    spec.grace = Duration::from_millis(200);
    let record = harness.sandbox.start_service(spec).await.unwrap();
    until("the trap is set", || {
        std::fs::read_to_string(&record.log).is_ok_and(|log| log.contains("up"))
    })
    .await;
    record.stop().await.unwrap();
    assert_eq!(record.status(), Status::Stopped);
}

#[tokio::test]
async fn a_killed_supervisor_takes_the_service_with_it() {
    let harness = Harness::new();
    let record = harness
        .sandbox
        .start_service(service(&harness, &["sleep", "1000"]))
        .await
        .unwrap();
    let pid =
        rustix::process::Pid::from_raw(i32::try_from(record.supervisor.pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    until("the service is gone", || record.status() == Status::Stopped).await;
    record.stop().await.unwrap();
}

#[tokio::test]
async fn a_record_of_an_earlier_process_stops_nobody() {
    let harness = Harness::new();
    let record = harness
        .sandbox
        .start_service(service(&harness, &["sleep", "1000"]))
        .await
        .unwrap();
    let earlier = |process: Process| Process {
        started: process.started - 1,
        ..process
    };
    let stale = Record {
        supervisor: earlier(record.supervisor),
        first: earlier(record.first),
        ..record.clone()
    };
    assert_eq!(stale.status(), Status::Stopped);
    stale.stop().await.unwrap();
    assert_eq!(
        record.status(),
        Status::Running,
        "the wrong process was stopped"
    );
    record.stop().await.unwrap();
}

#[tokio::test]
async fn a_program_that_ends_ends_its_service() {
    let harness = Harness::new();
    let record = match harness
        .sandbox
        .start_service(service(&harness, &["sh", "-c", "sleep 0.3"]))
        .await
    {
        Ok(record) => record,
        Err(error) => {
            assert!(error.to_string().contains("ended"), "{error}");
            return;
        }
    };
    until("the supervisor has ended", || {
        record.status() == Status::Stopped
    })
    .await;
}

#[tokio::test]
async fn a_taken_port_and_a_missing_program_are_said() {
    let harness = Harness::new();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let mut spec = service(&harness, &["sleep", "1000"]);
    spec.host_port = taken.local_addr().unwrap().port();
    let error = harness.sandbox.start_service(spec).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen on"), "{error}");
    let error = harness
        .sandbox
        .start_service(service(&harness, &["no-such-program"]))
        .await
        .unwrap_err();
    assert!(error.to_string().contains("no-such-program"), "{error}");
}

#[tokio::test]
async fn a_service_has_no_way_out() {
    let harness = Harness::new();
    let canary = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    canary.set_nonblocking(true).unwrap();
    let port = canary.local_addr().unwrap().port();
    let script =
        format!("(exec 3<>/dev/tcp/127.0.0.1/{port}) 2>&1 && echo reached; echo done; sleep 1000");
    let record = harness
        .sandbox
        .start_service(service(&harness, &["bash", "-c", &script]))
        .await
        .unwrap();
    until("it has tried", || {
        std::fs::read_to_string(&record.log).is_ok_and(|log| log.contains("done"))
    })
    .await;
    let log = std::fs::read_to_string(&record.log).unwrap();
    assert!(
        !log.contains("reached") && canary.accept().is_err(),
        "{log}"
    );
    record.stop().await.unwrap();
}
