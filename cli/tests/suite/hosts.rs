//! Hosts that die, are asked twice, or lose their data directory; and the names that `serve` answers
//! to.

use std::fs;

use rustix::process::Signal;
use serde_json::json;

use crate::serving::Serving;
use crate::site::{CHECKS, HARMLESS, Site, eventually, finish, plan, start};

/// A test that takes a moment, so that its host can be ended meanwhile.
const SLOW: &str = "checks:\n  - { name: unit, kind: test_results, \
                    run: 'sleep 2; grep -q good state.txt', timeout: 60s }\n";

fn service_token(site: &Site) -> String {
    let token = fs::read_to_string(site.data().join("token")).unwrap();
    token.trim().to_owned()
}

/// The server dies right after the run became durable, before it answered. The same request finds
/// that run, and there is no other.
#[test]
fn a_request_that_is_repeated_after_a_crash_finds_its_run() {
    let site = Site::small(CHECKS);
    let body = json!({ "repository": site.repository(), "plan": plan(HARMLESS) }).to_string();
    let key = [("Idempotency-Key", "once-and-for-all")];
    let mut command = site.command(&["serve", "--listen", "127.0.0.1:0"]);
    command.env("MATRIX_CRASH_AT", "after:0");
    let dying = Serving::by(command);
    let token = service_token(&site);
    let answer = dying.send("POST", "/api/v1/execute", &token, &key, &body);
    assert_eq!(answer, None, "it did not die");
    assert_eq!(dying.ended().code, -1);
    let [run] = &site.runs()[..] else {
        panic!("{:?}", site.runs())
    };
    let serving = Serving::start(&site);
    for _ in 0..2 {
        let answer = serving.send("POST", "/api/v1/execute", &token, &key, &body);
        let (status, answer) = answer.unwrap();
        assert_eq!((status, &answer["run"]), (202, &json!(run)), "{answer}");
    }
    let other = body.replace("new.txt", "other.txt");
    let (status, _) = serving
        .send("POST", "/api/v1/execute", &token, &key, &other)
        .unwrap();
    assert_eq!(status, 422, "the key stood for another request");
    site.matrix(&["run", "watch", run]).expect(0);
    assert_eq!(site.runs().len(), 1);
    serving.end();
}

#[test]
fn a_run_whose_host_died_says_so() {
    let site = Site::small(SLOW);
    let child = start(site.change_command(plan(HARMLESS)));
    let run = eventually("a run that works", || {
        let run = site.runs().first()?.clone();
        let shown = site.matrix(&["run", "show", &run]);
        shown.out.contains("done      patch").then_some(run)
    });
    for look in ["show", "why"] {
        site.matrix(&["run", look, &run]).expect(0);
    }
    child.signal(Signal::KILL);
    assert_eq!(child.end().code, -1);
    for arguments in [
        &["run", "show", &run][..],
        &["run", "why", &run],
        &["run", "watch", &run],
        &["change", "show", &run],
    ] {
        site.matrix(arguments)
            .expect(1)
            .says("its host has died")
            .says(&format!("`matrix run resume {run}`"));
        let told = site.matrix(&[arguments, &["--json"]].concat()).expect(1);
        assert_eq!(told.json()["waiting"]["for"], "host", "{arguments:?}");
    }
    let resumed = site.matrix(&["run", "resume", &run]).expect(0);
    assert!(
        !resumed.err.contains("── PATCH"),
        "what was shown before is shown again: {resumed:?}"
    );
    site.matrix(&["run", "why", &run]).expect(0);
}

#[test]
fn a_host_whose_directory_is_removed_ends() {
    let site = Site::small(CHECKS);
    let serving = Serving::start(&site);
    eventually("the sandbox has tested itself", || {
        let (_, health) = serving.ask("GET", "/health", "", "");
        (health["status"] == "ok").then_some(())
    });
    fs::remove_dir_all(site.data()).unwrap();
    serving.ended().expect(1).says("HOST-0004").says("removed");
    assert!(!site.data().exists(), "it was made again");
}

#[test]
fn a_host_whose_directory_is_replaced_leaves_the_new_one_alone() {
    let site = Site::small(CHECKS);
    let old = Serving::start(&site);
    fs::rename(site.data(), site.path("elsewhere")).unwrap();
    let new = Serving::start(&site);
    old.ended().expect(1).says("HOST-0004");
    // The new host still has its socket.
    site.matrix(&["user", "add", "bob"]).expect(0);
    new.end();
}

#[test]
fn only_names_that_were_allowed_are_answered() {
    let site = Site::small(CHECKS);
    let file = site.path("config.toml");
    fs::write(&file, "allowed_hosts = ['file.example']\n").unwrap();
    let mut command = site.command(&[
        "serve",
        "--listen",
        "127.0.0.1:0",
        "--allow-host",
        "Flag.example:8443",
        "--allow-origin",
        "https://tools.example",
        "--config",
    ]);
    command.arg(&file);
    let serving = Serving::by(command);
    let status = |headers: &[(&str, &str)]| {
        let answer = serving.send("GET", "/livez", "", headers, "");
        answer.unwrap().0
    };
    assert_eq!(status(&[("Host", "file.example")]), 200);
    assert_eq!(status(&[("Host", "flag.example:8443")]), 200);
    assert_eq!(status(&[("Host", "flag.example")]), 421);
    assert_eq!(status(&[("Origin", "https://tools.example")]), 200);
    assert_eq!(status(&[("Origin", "https://other.example")]), 403);
    serving.end();
}

#[test]
fn other_machines_are_let_in_only_explicitly() {
    let site = Site::small(CHECKS);
    site.matrix(&["serve", "--listen", "0.0.0.0:0"])
        .expect(2)
        .says("HTTP-0013")
        .says("--expose");
    assert!(!site.data().exists(), "a refusal makes a data directory");
    let exposed = site.command(&["serve", "--listen", "0.0.0.0:0", "--expose"]);
    Serving::by(exposed).end();
    for (flag, value) in [
        ("--allow-host", "https://a.example"),
        ("--allow-host", ""),
        ("--allow-origin", "a.example"),
        ("--allow-origin", "https://a.example/path"),
    ] {
        site.matrix(&["serve", flag, value]).expect(2).says(flag);
    }
    let mut command = site.command(&["config", "show"]);
    command.env("MATRIX_ALLOWED_HOSTS", "a.example, b/c");
    finish(command)
        .expect(2)
        .says("MATRIX_ALLOWED_HOSTS")
        .says("b/c");
}
