//! Every example with its plans, through to the bundle that others verify.

use std::fs;
use std::process::Command;

use crate::site::{Done, Site, finish, top};

/// The fix is released; its bundle holds, for us and for those who distrust us, and not when a
/// byte of it is another one.
fn is_released(name: &str) {
    let site = Site::example(name);
    let done = site.example_change(name, "fix").expect(0);
    assert_eq!(done.text("state"), "succeeded");
    assert_eq!(done.text("verdict"), "pass");
    assert_eq!(done.text("risk"), "low");
    assert_eq!(done.status("test_results"), "passed");
    let change = done.json();
    assert!(change["release"].is_string(), "{change}");
    assert!(change["deployment"].is_string(), "{change}");
    let (bundle, key) = (done.text("bundle"), done.text("key"));
    site.matrix(&["verify", &bundle, "--key", &key]).expect(0);
    site.matrix(&["verify", &bundle]).expect(0);
    python_verifies(&bundle, &key).expect(0);
    let mut bytes = fs::read(&bundle).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] = if bytes[middle] == b'A' { b'B' } else { b'A' };
    let tampered = site.path("tampered.intoto.jsonl");
    fs::write(&tampered, bytes).unwrap();
    let tampered = tampered.to_str().unwrap();
    site.matrix(&["verify", tampered, "--key", &key]).expect(1);
    python_verifies(tampered, &key).expect(1);
    site.journal_holds();
    assert_eq!(site.git(&["status", "--porcelain"]), "", "the checkout");
}

fn python_verifies(bundle: &str, key: &str) -> Done {
    let mut command = Command::new("python3");
    command.arg(top().join("examples/verify/verify.py"));
    command.args([bundle, "--key", key]);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    finish(command)
}

/// The plan that does not fix it is denied, because of its tests.
fn is_denied(name: &str) {
    let site = Site::example(name);
    let done = site.example_change(name, "wrong").expect(5);
    assert_eq!(done.text("state"), "failed");
    assert_eq!(done.text("ending"), "denied");
    assert_eq!(done.text("verdict"), "deny");
    assert_eq!(done.status("test_results"), "failed");
    let change = done.json();
    assert!(change["release"].is_null(), "{change}");
    assert!(change["deployment"].is_null(), "{change}");
}

/// The plan that leaves the repository is refused, and nothing of it is written anywhere.
fn is_refused(name: &str) {
    let site = Site::example(name);
    site.example_change(name, "escape").expect(2).says("PATCH-");
    assert_eq!(site.runs(), [""; 0], "no run was made");
    for outside in [
        ".ssh",
        "reports",
        "empty.txt",
        "repository/.git/hooks/post-checkout",
    ] {
        assert!(!site.path(outside).exists(), "{outside} was written");
    }
}

#[test]
fn rust_fix_is_released() {
    is_released("rust");
}

#[test]
fn python_fix_is_released() {
    is_released("python");
}

#[test]
fn node_fix_is_released() {
    is_released("node");
}

#[test]
fn rust_wrong_is_denied() {
    is_denied("rust");
}

#[test]
fn python_wrong_is_denied() {
    is_denied("python");
}

#[test]
fn node_wrong_is_denied() {
    is_denied("node");
}

#[test]
fn escapes_are_refused() {
    for name in ["rust", "python", "node"] {
        is_refused(name);
    }
}

#[test]
fn a_test_that_looks_around_finds_nothing_and_is_denied() {
    let site = Site::example("rust");
    let done = site.example_change("rust", "intrude").expect(5);
    assert_eq!(done.text("ending"), "denied");
    assert_eq!(done.status("test_results"), "failed");
}

#[test]
fn a_test_that_is_skipped_needs_a_person() {
    let site = Site::example("rust");
    let done = site.example_change("rust", "weaken").expect(8);
    assert_eq!(done.text("risk"), "high");
    assert_eq!(done.text("verdict"), "needs_approval");
}

#[test]
fn a_bundle_needs_the_right_key() {
    let (ours, theirs) = (
        Site::small(crate::site::CHECKS),
        Site::small(crate::site::CHECKS),
    );
    let plan = crate::site::plan(crate::site::HARMLESS);
    let done = ours.change(&plan).expect(0);
    let other = theirs.change(&plan).expect(0);
    let bundle = done.text("bundle");
    ours.matrix(&["verify", &bundle, "--key", &other.text("key")])
        .expect(1);
    // A data directory trusts its own keys only.
    theirs.matrix(&["verify", &bundle]).expect(1);
    // Keys stay known when they are replaced.
    ours.matrix(&["signing-key", "rotate"]).expect(0);
    ours.matrix(&["verify", &bundle]).expect(0);
    // No key at all is a failure.
    Site::bare().matrix(&["verify", &bundle]).expect(1);
    // An artifact it does not speak about is one, too.
    ours.matrix(&[
        "verify",
        &bundle,
        "--artifact",
        &ours.path("plan.yaml").to_string_lossy(),
    ])
    .expect(1);
}

#[test]
fn what_was_published_can_be_fetched_and_is_what_was_signed() {
    let site = Site::small(crate::site::CHECKS);
    let done = site
        .change(crate::site::plan(crate::site::HARMLESS))
        .expect(0);
    let (run, commit) = (done.text("run"), done.text("commit"));
    let registry = site.data().join("registry.git");
    site.git(&["fetch", "--quiet", registry.to_str().unwrap(), &commit]);
    assert_eq!(site.git(&["show", &format!("{commit}:new.txt")]), "hello\n");
    let listed = site
        .matrix(&["artifact", "list", &run, "--json"])
        .expect(0)
        .json();
    let archive = listed["artifacts"].as_array().unwrap().iter();
    let names: Vec<_> = archive
        .map(|artifact| artifact["name"].as_str().unwrap())
        .collect();
    assert!(!names.is_empty(), "{listed}");
    let source = names.iter().find(|name| name.contains("source")).unwrap();
    let copy = site.path("copy");
    let copy = copy.to_str().unwrap();
    site.matrix(&["artifact", "get", &run, source, "--output", copy])
        .expect(0);
    site.matrix(&["verify", &done.text("bundle"), "--artifact", copy])
        .expect(0);
}
