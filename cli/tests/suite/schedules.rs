//! Schedules through the front door.

use crate::site::{CHECKS, HARMLESS, Site, eventually, plan};

fn until(what: &str, mut so: impl FnMut() -> bool) {
    eventually(what, || so().then_some(()));
}

#[test]
fn a_schedule_is_made_shown_fired_paused_and_removed() {
    let site = Site::small(CHECKS);
    let file = site.plan_file(plan(HARMLESS)).display().to_string();
    let repo = site.repository().display().to_string();
    let add = [
        "schedule",
        "add",
        "nightly",
        "--cron",
        "0 3 1 1 *",
        "--timezone",
        "Europe/Berlin",
        "--repo",
        &repo,
        "--plan",
        &file,
        "--title",
        "every new year",
        "--json",
    ];
    let run = site.matrix(&add).expect(0).text("run");
    site.matrix(&add).expect(1);
    let shown = site
        .matrix(&["schedule", "show", "nightly", "--json"])
        .expect(0)
        .json();
    assert_eq!(
        (&shown["run"], &shown["started"]),
        (&run.into(), &0.into()),
        "{shown}"
    );
    site.matrix(&["schedule", "fire", "nightly"]).expect(0);
    until("a change was started and released", || {
        let list = site.matrix(&["change", "list", "--json"]).expect(0).json();
        list["runs"][0]["state"] == "succeeded"
    });
    let list = site.matrix(&["change", "list", "--json"]).expect(0).json();
    assert_eq!(list["runs"][0]["title"], "every new year", "{list}");
    let replay = site
        .matrix(&["run", "replay", shown["run"].as_str().unwrap()])
        .expect(0)
        .out;
    assert!(replay.contains("chain intact"), "{replay}");
    site.matrix(&["schedule", "pause", "nightly", "--reason", "holiday"])
        .expect(0);
    until("it is paused", || {
        site.matrix(&["schedule", "list"])
            .expect(0)
            .out
            .contains("holiday")
    });
    site.matrix(&["schedule", "resume", "nightly"]).expect(0);
    site.matrix(&["schedule", "remove", "nightly"]).expect(0);
    until("it is gone", || {
        let gone = site
            .matrix(&["schedule", "list", "--json"])
            .expect(0)
            .json();
        gone["schedules"].as_array().is_some_and(Vec::is_empty)
    });
    site.matrix(&["schedule", "show", "nightly"]).expect(6);
    site.matrix(&["schedule", "fire", "nightly"]).expect(6);
}

#[test]
fn a_schedule_that_cannot_be_leaves_nothing_behind() {
    let site = Site::small(CHECKS);
    let file = site.plan_file(plan(HARMLESS)).display().to_string();
    let repo = site.repository().display().to_string();
    for (name, cron, zone, plan) in [
        ("a", "0 3 * *", "UTC", &*file),
        ("a", "0 3 30 2 *", "UTC", &*file),
        ("a", "0 3 * * *", "Mars/Olympus", &*file),
        ("a b", "0 3 * * *", "UTC", &*file),
        ("a", "0 3 * * *", "UTC", "nowhere.yaml"),
    ] {
        let add = [
            "schedule",
            "add",
            name,
            "--cron",
            cron,
            "--timezone",
            zone,
            "--repo",
            &repo,
            "--plan",
            plan,
        ];
        site.matrix(&add).expect(2);
    }
    let list = site.matrix(&["run", "list", "--json"]).expect(0).json();
    assert_eq!(list["runs"].as_array().map(Vec::len), Some(0), "{list}");
    let times = [
        "schedule",
        "preview",
        "--cron",
        "30 2 29 3 *",
        "--timezone",
        "Europe/Berlin",
        "--count",
        "1",
    ];
    let time = site.matrix(&times).expect(0).out;
    assert!(time.contains("-03-29T"), "{time}");
}
