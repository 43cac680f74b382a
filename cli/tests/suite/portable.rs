//! A run as a file: written here, opened elsewhere.

use std::fs;

use crate::site::{CHECKS, HARMLESS, Site, plan};

#[test]
fn an_exported_run_opens_elsewhere_is_proven_and_refused_once_changed() {
    let site = Site::small(CHECKS);
    let done = site.change(plan(HARMLESS)).expect(0);
    let (run, key) = (done.text("run"), done.text("key"));
    let file = site.path("run.jsonl");
    let file = file.to_str().unwrap();
    let written = site.matrix(&["run", "export", &run, "--output", file, "--json"]);
    let written = written.expect(0).json();
    assert_eq!(
        (&written["redacted"], &written["proven"]),
        (&0.into(), &true.into())
    );

    let elsewhere = Site::small(CHECKS);
    let opened = elsewhere.matrix(&["run", "open", file, "--key", &key, "--json"]);
    let opened = opened.expect(0);
    assert_eq!(opened.text("state"), "succeeded");
    assert_eq!(opened.text("run"), run);
    assert!(!opened.text("proven").is_empty());
    let stranger = elsewhere
        .matrix(&["run", "open", file, "--journal"])
        .expect(0);
    assert!(stranger.out.contains("not proven"), "{}", stranger.out);
    assert!(stranger.out.contains("run_completed"), "{}", stranger.out);

    let text = fs::read_to_string(file).unwrap();
    fs::write(file, text.replacen("step_completed", "step_failed", 1)).unwrap();
    let refused = elsewhere
        .matrix(&["run", "open", file, "--key", &key])
        .expect(1);
    assert!(refused.err.contains("the hash differs"), "{}", refused.err);
    let piped = site.matrix(&["run", "export", &run]).expect(0);
    assert_eq!(piped.out, text);
}

#[test]
fn a_secret_of_a_run_does_not_leave_with_it() {
    let site = Site::small(CHECKS);
    let token = format!("ghp_{}", "a1B2c3D4e5F6g7H8i9J0".repeat(2));
    let goal = plan(HARMLESS).replace("It is there.", &format!("Use {token} there."));
    let run = site.change(goal).json()["run"].as_str().unwrap().to_owned();
    let file = site.matrix(&["run", "export", &run]).expect(0).out;
    assert!(!file.contains(&token), "{file}");
    assert!(file.contains("secret.github-token"), "{file}");
    let path = site.path("run.jsonl");
    fs::write(&path, &file).unwrap();
    let opened = site
        .matrix(&["run", "open", path.to_str().unwrap()])
        .expect(0);
    assert!(
        opened
            .out
            .contains("without its payload: secret.github-token"),
        "{}",
        opened.out
    );
}
