//! Where a change queues, and what is said about it there.

use std::fs;

use crate::site::{CHECKS, HARMLESS, Site, eventually, finish, plan};

const LANES: &str = "[lanes.bulk]\nconcurrency = 1\nrate = \"1/h\"\n";

fn site() -> Site {
    let site = Site::small(CHECKS);
    let directory = site.path("config").join("matrix");
    fs::create_dir_all(&directory).unwrap();
    fs::write(directory.join("config.toml"), LANES).unwrap();
    site
}

#[test]
fn a_change_queues_in_its_lane_and_is_told_why_it_waits() {
    let site = site();
    let start = || {
        let mut command = site.change_command(plan(HARMLESS));
        command.args([
            "--detach",
            "--lane",
            "bulk",
            "--priority",
            "high",
            "--key",
            "k",
        ]);
        finish(command).expect(0).text("run")
    };
    let first = start();
    site.matrix(&["run", "watch", &first]).expect(0);
    let shown = site.matrix(&["run", "show", &first]).expect(0);
    assert!(
        shown.out.contains("lane bulk, priority 8, key k"),
        "{shown:?}"
    );

    // A token comes once an hour, and the first run has taken it.
    let second = start();
    let why = eventually("the second one waits for its rate", || {
        let why = site.matrix(&["run", "why", &second, "--json"]).json();
        (why["queue"]["blocked"][0]["for"] == "rate").then_some(why)
    });
    assert_eq!(why["queue"]["blocked"][0]["name"], "bulk");
    assert_eq!(why["queue"]["ahead"], 0);
    let told = site.matrix(&["run", "why", &second]);
    assert!(
        told.out.contains("waiting for rate bulk since "),
        "{told:?}"
    );
    let queue = site.matrix(&["queue", "show", "--json"]).expect(0).json();
    let bulk = &queue["lanes"][0];
    assert_eq!((&bulk["lane"], &bulk["ready"]), (&"bulk".into(), &1.into()));
    assert_eq!(bulk["depths"][0]["priority"], 8);
    site.matrix(&["queue", "show"]).expect(0);
    // Whoever has not begun ends without a slot.
    site.matrix(&["run", "cancel", &second]).expect(0);
    eventually("the second one has ended", || {
        let shown = site.matrix(&["run", "show", &second, "--json"]).json();
        (shown["state"] == "cancelled").then_some(())
    });
}

#[test]
fn a_lane_that_is_not_there_is_refused_before_anything_starts() {
    let site = site();
    let mut command = site.change_command(plan(HARMLESS));
    command.args(["--lane", "nowhere"]);
    let refused = finish(command).expect(2);
    assert!(refused.err.contains("QUEUE-0001"), "{refused:?}");
    assert!(refused.err.contains("bulk, default"), "{refused:?}");
    assert!(site.runs().is_empty());
    let mut command = site.change_command(plan(HARMLESS));
    command.args(["--priority", "10"]);
    finish(command).expect(2);
}

#[test]
fn limits_that_cannot_be_meant_are_refused() {
    let site = site();
    let file = site.path("config").join("matrix/config.toml");
    fs::write(file, "[lanes.bulk]\nrate = \"5\"\n").unwrap();
    let refused = site.matrix(&["config", "show"]).expect(2);
    assert!(refused.err.contains("CONFIG-0001"), "{refused:?}");
    assert!(refused.err.contains("is no rate"), "{refused:?}");
}

#[test]
fn a_key_is_paused_until_it_is_resumed() {
    let site = Site::small(CHECKS);
    let paused = site.matrix(&["queue", "pause", "api", "--reason", "their night"]);
    paused
        .expect(0)
        .says("key api is paused until it is resumed");
    site.matrix(&["queue", "show"])
        .expect(0)
        .says("their night");
    let mut command = site.change_command(plan(HARMLESS));
    command.args(["--detach", "--key", "api"]);
    let run = finish(command).expect(0).text("run");
    let why = eventually("it waits for its key", || {
        let why = site.matrix(&["run", "why", &run]);
        why.out.contains("waiting for key api").then_some(why)
    });
    assert!(why.out.contains("until it is resumed"), "{why:?}");
    site.matrix(&["queue", "resume", "api"]).expect(0);
    site.matrix(&["run", "watch", &run]).expect(0);
    let shown = site.matrix(&["queue", "show", "--json"]).expect(0).json();
    assert_eq!(shown["paused"], serde_json::json!([]));
    let later = ["queue", "pause", "api", "--until", "2999-01-01"];
    site.matrix(&later).expect(0).says("until 2999-01-01");
}
