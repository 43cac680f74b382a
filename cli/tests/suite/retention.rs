//! Runs whose journals are removed, and what holds as before.

use std::fs;

use crate::site::{Site, finish};

/// A run that was cancelled before anybody did its step.
fn cancelled(site: &Site) -> String {
    let order = [
        "task", "run", "look", "--effect", "read", "--detach", "--json",
    ];
    let run = site.matrix(&order).expect(0).text("run");
    site.matrix(&["run", "cancel", &run]).expect(0);
    run
}

#[test]
fn a_run_that_is_past_its_time_is_removed_and_everything_says_so() {
    let site = Site::bare().with("MATRIX_KEEP_RUNS", "30d");
    let (old, new) = (cancelled(&site), cancelled(&site));
    let (head, proof, file) = (site.path("head"), site.path("proof"), site.path("run"));
    let checkpoint = site.matrix(&["journal", "checkpoint"]).expect(0);
    fs::write(&head, checkpoint.out).unwrap();
    let (proof, file) = (proof.to_str().unwrap(), file.to_str().unwrap());
    site.matrix(&["journal", "prove", &new, "0", "-o", proof])
        .expect(0);
    site.matrix(&["run", "export", &old, "-o", file]).expect(0);
    let rehearse = || site.matrix(&["run", "prune", "--dry-run"]).expect(0);
    rehearse().says("would go: 0 runs");

    site.tamper("UPDATE runs SET updated_at = 1 WHERE run = (SELECT min(run) FROM runs)");
    rehearse().says("would go: 1 run with 4 entries");
    site.matrix(&["run", "hold", &old, "--reason", "an audit"])
        .expect(0)
        .says("is held");
    site.matrix(&["run", "show", &old])
        .expect(0)
        .says("held: an audit");
    rehearse()
        .says("would go: 0 runs")
        .says("stays: 1 run, held");
    site.matrix(&["run", "hold", &old, "--reason", " "])
        .expect(2);
    site.matrix(&["run", "unhold", &old]).expect(0);
    let removal = site.matrix(&["run", "prune", "--json"]).expect(0).json();
    assert_eq!(removal["result"]["removed"]["runs"], 1, "{removal}");

    let asked: [&[&str]; 8] = [
        &["run", "show", &old],
        &["run", "show", &old, "--journal"],
        &["run", "why", &old],
        &["run", "watch", &old],
        &["run", "replay", &old],
        &["run", "export", &old],
        &["journal", "verify", &old],
        &["journal", "prove", &old, "0"],
    ];
    for arguments in asked {
        site.matrix(arguments)
            .expect(6)
            .says("RUN-0011")
            .says("was removed by retention on ");
    }
    for arguments in [
        &["run", "fork", &old][..],
        &["run", "hold", &old, "--reason", "late"],
    ] {
        site.matrix(arguments).expect(6).says("RUN-0011");
    }
    site.matrix(&["run", "list"])
        .expect(0)
        .says("cancelled, removed");
    let mut against = site.command(&["journal", "verify", "--checkpoint"]);
    against.arg(&head);
    finish(against)
        .expect(0)
        .says("every hash matches")
        .says("1 more run was removed by retention")
        .says("the checkpoint over the first ");
    site.matrix(&["journal", "check", proof]).expect(0);
    site.matrix(&["run", "open", file])
        .expect(0)
        .says("cancelled");
    site.matrix(&["journal", "prove", &new]).expect(0);
}

#[test]
fn a_run_that_only_seems_to_have_been_removed_is_found_out() {
    let site = Site::bare().with("MATRIX_KEEP_RUNS", "30d");
    let run = cancelled(&site);
    cancelled(&site);
    site.tamper(
        "UPDATE runs SET removed_at = 1, removed_by = run WHERE run = (SELECT min(run) FROM runs)",
    );
    site.matrix(&["journal", "verify"])
        .expect(1)
        .says("RUN-0005")
        .says(&run)
        .says("no removal says so");
}
