//! People who decide: alone, with others, against, and about what has changed meanwhile.

use std::fs;

use serde_json::Value;

use crate::serving::Serving;
use crate::site::{CHECKS, Done, Site, eventually, plan, raised, text};

fn token_of(site: &Site, name: &str) -> String {
    site.matrix(&["user", "add", name, "--json"])
        .expect(0)
        .text("token")
}

/// The token of the directory's service account.
fn token(site: &Site) -> String {
    let token = fs::read_to_string(site.data().join("token")).unwrap();
    token.trim().to_owned()
}

/// Looks until the change is in this state.
fn until(site: &Site, run: &str, state: &str) -> Value {
    eventually(state, || {
        let change = site.show(run);
        (change["state"] == state).then_some(change)
    })
}

/// Looks until people were asked so many times.
fn asked_times(site: &Site, run: &str, times: usize) {
    eventually("the next question", || {
        let shown = site.matrix(&["run", "show", run, "--journal"]).expect(0);
        (shown.out.matches("approval_requested").count() >= times).then_some(())
    });
}

fn waits(done: Done) -> (String, String) {
    let done = done.expect(8);
    assert_eq!(done.text("state"), "waiting");
    assert_eq!(done.text("verdict"), "needs_approval");
    (done.text("run"), done.text("approval"))
}

#[test]
fn alone_one_approves_ones_own_explicitly() {
    for level in ["medium", "high"] {
        let site = Site::small(CHECKS);
        let (run, _) = waits(site.change(raised(level)));
        let why = site.matrix(&["run", "why", &run]).expect(0);
        assert!(why.out.contains("approval"), "{why:?}");
        let approve = ["change", "approve", &run, "--reason", "I looked", "--json"];
        let done = site.matrix(&approve).expect(0);
        assert_eq!(done.text("state"), "succeeded");
        assert_eq!(done.text("risk"), level);
        let bundle = done.text("bundle");
        site.matrix(&["verify", &bundle]).expect(0);
        let journal = site
            .matrix(&["run", "show", &run, "--journal", "--json"])
            .expect(0);
        assert!(
            journal.out.contains("\"self_approval\":true"),
            "{}",
            journal.out
        );
        assert!(journal.out.contains("I looked"), "{}", journal.out);
    }
}

#[test]
fn who_approves_sees_what_is_new_and_not_what_was_before() {
    let site = Site::small(CHECKS);
    let first = site.change(raised("medium")).says("── VERIFY");
    let (run, _) = waits(first);
    let shown = site.matrix(&["run", "show", &run, "--journal"]).expect(0);
    assert!(!shown.out.contains("approval_decided"), "{shown:?}");
    let done = site.matrix(&["change", "approve", &run]).expect(0);
    assert!(
        !done.err.contains("── VERIFY"),
        "it was shown again: {done:?}"
    );
    assert!(done.err.contains("── DEPLOY"), "{done:?}");
    // An answer is shown under the address of its question.
    let shown = site.matrix(&["run", "show", &run, "--journal"]).expect(0);
    let decided = shown
        .out
        .lines()
        .find(|line| line.contains("approval_decided"));
    assert!(decided.unwrap().contains("approval:gate#1"), "{shown:?}");
}

#[test]
fn alone_nobody_releases_what_is_critical() {
    let site = Site::small(CHECKS);
    let done = site.change(raised("critical")).expect(5);
    assert_eq!(done.text("verdict"), "deny");
    assert!(done.text("reason").contains("single user"), "{done:?}");
}

#[test]
fn a_rejection_ends_it() {
    let site = Site::small(CHECKS);
    let (run, approval) = waits(site.change(raised("medium")));
    let reject = [
        "change", "reject", &approval, "--reason", "not now", "--json",
    ];
    let done = site.matrix(&reject).expect(5);
    assert_eq!(done.text("state"), "failed");
    assert_eq!(done.text("ending"), "rejected");
    site.matrix(&["change", "approve", &run]).expect(1);
    assert!(site.show(&run)["release"].is_null());
}

#[test]
fn with_others_one_does_not_approve_ones_own() {
    let site = Site::small(CHECKS);
    let bob = token_of(&site, "bob");
    let (run, approval) = waits(site.change(raised("medium")));
    site.matrix(&["change", "approve", &run])
        .expect(4)
        .says("CHANGE-0003");
    assert_eq!(site.show(&run)["state"], "waiting");
    let serving = Serving::start(&site);
    let service = fs::read_to_string(site.data().join("token")).unwrap();
    let (status, problem) = serving.decide(&approval, "approve", service.trim());
    assert_eq!(status, 403, "a service account approves nothing: {problem}");
    let (status, problem) = serving.decide(&approval, "approve", "not-a-token");
    assert_eq!(status, 401, "{problem}");
    // The submitter's own, through the host this time.
    site.matrix(&["change", "approve", &run]).expect(4);
    let (status, answer) = serving.decide(&approval, "approve", &bob);
    assert!(matches!(status, 200 | 202), "{status} {answer}");
    let change = until(&site, &run, "succeeded");
    assert_eq!(text(&change, "risk"), "medium");
    site.matrix(&["verify", &text(&change, "bundle")]).expect(0);
    serving.end();
}

#[test]
fn two_persons_are_two_persons() {
    let site = Site::small(CHECKS);
    let (bob, carol) = (token_of(&site, "bob"), token_of(&site, "carol"));
    let (run, first) = waits(site.change(raised("high")));
    let serving = Serving::start(&site);
    let (status, answer) = serving.decide(&first, "approve", &bob);
    assert!(matches!(status, 200 | 202), "{status} {answer}");
    asked_times(&site, &run, 2);
    let half = site.show(&run);
    assert_eq!(half["approvals"]["given"], 1, "{half}");
    assert_eq!(half["approvals"]["needed"], 2, "{half}");
    let shown = site.matrix(&["change", "show", &run]).expect(0);
    shown.says("1 of 2 approvals");
    // The same person again changes nothing but that it is asked once more.
    let (status, answer) = serving.decide(&first, "approve", &bob);
    assert!(matches!(status, 200 | 202 | 409), "{status} {answer}");
    if status != 409 {
        asked_times(&site, &run, 3);
    }
    assert_eq!(site.show(&run)["state"], "waiting", "one person was two");
    let open = text(&site.show(&run), "approval");
    let (status, answer) = serving.decide(&open, "approve", &carol);
    assert!(matches!(status, 200 | 202), "{status} {answer}");
    let released = until(&site, &run, "succeeded");
    site.matrix(&["verify", &text(&released, "bundle")])
        .expect(0);
    serving.end();
}

#[test]
fn an_approval_of_yesterdays_policy_does_not_count() {
    let site = Site::small(CHECKS);
    let (run, first) = waits(site.change(raised("medium")));
    let built_in = site
        .matrix(&["policy", "explain", "--built-in"])
        .expect(0)
        .out;
    let directory = site.data().join("policy");
    fs::create_dir_all(&directory).unwrap();
    fs::write(
        directory.join("own.cedar"),
        built_in + "\n// Looked through.\n",
    )
    .unwrap();
    let again = site
        .matrix(&["change", "approve", &run, "--json"])
        .expect(8);
    assert_ne!(again.text("approval"), first, "it is asked anew");
    let stale = &again.json()["stale"];
    assert_eq!(stale["changed"][0]["what"], "policy", "{stale}");
    let because = text(stale, "because");
    let short = |key: &str| text(&stale["changed"][0], key)[..12].to_owned();
    let (from, to) = (short("from"), short("to"));
    assert_eq!(because, format!("the policy changed ({from} → {to})"));
    assert_ne!(from, to);
    let said = format!("the question went stale: {because}");
    site.matrix(&["change", "show", &run]).expect(0).says(&said);
    site.matrix(&["run", "why", &run])
        .expect(0)
        .says(&format!("went stale: {because}"));
    let why = site.matrix(&["run", "why", &run, "--json"]).expect(0);
    assert_eq!(why.json()["stale"], *stale);
    let serving = Serving::start(&site);
    let (_, job) = serving.ask("GET", &format!("/api/v1/jobs/{run}"), &token(&site), "");
    assert_eq!(job["stale"], *stale, "{job}");
    serving.end();
    let done = site
        .matrix(&["change", "approve", &run, "--json"])
        .expect(0);
    assert_eq!(done.text("state"), "succeeded");
    site.matrix(&["verify", &done.text("bundle")]).expect(0);
}

#[test]
fn an_approval_of_another_target_does_not_count() {
    let site = Site::small(CHECKS);
    let (first, _) = waits(site.change(raised("medium")));
    let other = plan("  - create: { path: other.txt, content: \"other\\n\" }\n")
        + "risk: { raise: medium, because: x }\n";
    let (second, asked) = waits(site.change(other));
    site.matrix(&["change", "approve", &first]).expect(0);
    // The target holds something else now than what the second was approved to replace.
    let again = site
        .matrix(&["change", "approve", &second, "--json"])
        .expect(8);
    assert_ne!(again.text("approval"), asked);
    let stale = &again.json()["stale"];
    assert_eq!(stale["changed"][0]["what"], "dry_run", "{stale}");
    let there = text(&site.show(&first), "deployment");
    let because = text(stale, "because");
    let words = format!("the dry run changed: target `local` holds {there} now (");
    assert!(because.starts_with(&words), "{because}");
    let done = site
        .matrix(&["change", "approve", &second, "--json"])
        .expect(0);
    assert!(done.json()["stale"].is_null(), "no question is open");
    let list = site
        .matrix(&["deployment", "list", "--json"])
        .expect(0)
        .json();
    let deployments = list["deployments"].as_array().unwrap();
    let active = deployments.iter().filter(|row| row["state"] == "active");
    assert_eq!(active.count(), 1, "{list}");
}

#[test]
fn a_rejection_of_what_changed_meanwhile_ends_it_too() {
    let site = Site::small(CHECKS);
    let (run, _) = waits(site.change(raised("medium")));
    let built_in = site
        .matrix(&["policy", "explain", "--built-in"])
        .expect(0)
        .out;
    fs::create_dir_all(site.data().join("policy")).unwrap();
    fs::write(
        site.data().join("policy/own.cedar"),
        built_in + "\n// New.\n",
    )
    .unwrap();
    let done = site.matrix(&["change", "reject", &run, "--json"]).expect(5);
    assert_eq!(done.text("ending"), "rejected");
}

#[test]
fn a_question_outlives_its_host() {
    let site = Site::small(CHECKS);
    let (run, approval) = waits(site.change(raised("medium")));
    let serving = Serving::start(&site);
    drop(serving); // killed, not asked to end
    let change = site.show(&run);
    assert_eq!(text(&change, "state"), "waiting");
    assert_eq!(text(&change, "approval"), approval);
    site.matrix(&["change", "approve", &approval]).expect(0);
    site.journal_holds();
}

#[test]
fn a_waiting_change_is_cancelled() {
    let site = Site::small(CHECKS);
    let (run, _) = waits(site.change(raised("medium")));
    site.matrix(&["run", "cancel", &run, "--reason", "not needed"])
        .expect(0);
    let done = site.matrix(&["run", "watch", &run, "--json"]).expect(3);
    assert_eq!(done.text("state"), "cancelled");
    site.matrix(&["change", "approve", &run]).expect(1);
}

#[test]
fn strangers_are_turned_away() {
    let site = Site::small(CHECKS);
    let serving = Serving::start(&site);
    for path in ["/livez", "/readyz", "/health"] {
        assert_eq!(serving.ask("GET", path, "", "").0, 200, "{path}");
    }
    for path in ["/api/v1/jobs", "/api/v1/approvals", "/metrics"] {
        assert_eq!(serving.ask("GET", path, "x", "").0, 401, "{path}");
    }
    let service = fs::read_to_string(site.data().join("token")).unwrap();
    assert_eq!(
        serving.ask("GET", "/api/v1/jobs", service.trim(), "").0,
        200
    );
    serving.end();
}
