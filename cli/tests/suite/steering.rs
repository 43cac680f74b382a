//! Hosts, and runs that are stopped, paused, resumed and taken over.

use rustix::process::Signal;

use crate::site::{CHECKS, HARMLESS, Site, Started, eventually, finish, plan, raised, start, text};

/// A test that ends only when it is ended.
const ENDLESS: &str = "checks:\n  - { name: unit, kind: test_results, \
                       run: 'sleep 600', timeout: 10m }\n";

/// A test that takes a moment, so that others can come in between.
const SLOW: &str = "checks:\n  - { name: unit, kind: test_results, \
                    run: 'sleep 2; grep -q good state.txt', timeout: 60s }\n";

/// Looks until the newest run has begun to verify.
fn verifying(site: &Site) -> String {
    eventually("a run that verifies", || {
        let run = site.runs().first()?.clone();
        let stages = &site.show(&run)["stages"];
        let verify = stages
            .as_array()?
            .iter()
            .find(|stage| stage["stage"] == "verify")?;
        (verify["state"] == "running").then_some(run)
    })
}

#[test]
fn a_run_is_left_to_the_background() {
    let site = Site::small(CHECKS);
    let mut command = site.change_command(plan(HARMLESS));
    command.arg("--detach");
    let run = finish(command).expect(0).text("run");
    let watched = site.matrix(&["run", "watch", &run, "--json"]).expect(0);
    assert_eq!(watched.text("state"), "succeeded");
    eventually("the background host ends", || {
        (!site.is_hosted()).then_some(())
    });
    assert!(site.data().join("host.log").exists());
}

#[test]
fn a_detached_run_prints_only_its_id() {
    let site = Site::small(CHECKS);
    let file = site.plan_file(raised("medium"));
    let mut command = site.command(&["change", "run", "--detach", "--repo"]);
    command.arg(site.repository()).arg("--plan").arg(file);
    let done = finish(command).expect(0);
    let run = done.out.trim();
    assert!(run.starts_with("run_") && !run.contains('\n'), "{done:?}");
    site.matrix(&["run", "watch", run]).expect(8);
    let mut approve = site.command(&["change", "approve", run, "--detach", "--json"]);
    approve.arg("--reason=yes");
    let approved = finish(approve).expect(0);
    assert_eq!(approved.text("run"), run);
    site.matrix(&["run", "watch", run]).expect(0);
    eventually("the background host ends", || {
        (!site.is_hosted()).then_some(())
    });
}

#[test]
fn a_run_is_cancelled_while_it_works() {
    let site = Site::small(ENDLESS);
    let child = start(site.change_command(plan(HARMLESS)));
    let run = verifying(&site);
    site.matrix(&["run", "cancel", &run, "--reason", "enough"])
        .expect(0);
    let done = child.end().expect(3);
    assert_eq!(done.text("state"), "cancelled");
    assert!(done.json()["release"].is_null());
}

#[test]
fn a_run_is_interrupted_and_goes_on_later() {
    let site = Site::small(SLOW);
    for stop in [Signal::INT, Signal::TERM] {
        let child = start(site.change_command(plan(HARMLESS)));
        let run = verifying(&site);
        child.signal(stop);
        let told = child.end().expect(130).says(&run).json();
        assert!(told["interrupted"].is_string(), "{told}");
        assert_eq!(
            (text(&told, "run"), text(&told, "state")),
            (run.clone(), "running".into())
        );
        let done = site.matrix(&["run", "resume", &run, "--json"]).expect(0);
        assert_eq!(done.text("state"), "succeeded");
    }
    site.journal_holds();
}

#[test]
fn a_killed_host_is_replaced() {
    let site = Site::small(SLOW);
    let child = start(site.change_command(plan(HARMLESS)));
    let run = verifying(&site);
    child.signal(Signal::KILL);
    let killed = child.end();
    assert_eq!(killed.code, -1);
    // Without an id it takes up whatever is unfinished.
    site.matrix(&["run", "resume"]).expect(0).says(&run);
    assert_eq!(text(&site.show(&run), "state"), "succeeded");
    site.journal_holds();
}

#[test]
fn a_run_is_paused_and_resumed() {
    let site = Site::small(CHECKS);
    let run = site.change(raised("medium")).expect(8).text("run");
    site.matrix(&["run", "pause", &run, "--reason", "lunch"])
        .expect(0);
    let why = site.matrix(&["run", "why", &run]).expect(0);
    assert!(why.out.contains("lunch"), "{why:?}");
    // What it needs first is said, and is not an approval.
    site.matrix(&["change", "show", &run])
        .expect(0)
        .says("matrix run resume");
    // A paused run is resumed only when it is named.
    site.matrix(&["run", "resume"])
        .expect(0)
        .says("nothing to resume");
    let resumed = site.matrix(&["run", "resume", &run, "--json"]).expect(8);
    assert_eq!(resumed.text("state"), "waiting");
    site.matrix(&["run", "signal", &run, "hello", "{\"a\": 1}"])
        .expect(0);
    site.matrix(&["change", "approve", &run]).expect(0);
}

#[test]
fn two_at_once_share_one_host() {
    let site = Site::small(SLOW);
    let plan = site.plan_file(plan(HARMLESS));
    let children: Vec<Started> = (0..3).map(|_| start(site.change_of(&plan))).collect();
    let mut runs: Vec<String> = children
        .into_iter()
        .map(|child| child.end().expect(0).text("run"))
        .collect();
    runs.sort();
    runs.dedup();
    assert_eq!(runs.len(), 3, "each has a run of its own");
    let list = site
        .matrix(&["deployment", "list", "--json"])
        .expect(0)
        .json();
    let deployments = list["deployments"].as_array().unwrap();
    let active = deployments.iter().filter(|row| row["state"] == "active");
    assert_eq!((deployments.len(), active.count()), (3, 1), "{list}");
    site.journal_holds();
}

#[test]
fn serving_takes_over_at_a_step() {
    let site = Site::small(SLOW);
    let child = start(site.change_command(plan(HARMLESS)));
    let run = verifying(&site);
    let serving = start(site.command(&["serve", "--listen", "127.0.0.1:0"]));
    let done = child.end().expect(0);
    assert_eq!(done.text("run"), run);
    assert_eq!(done.text("state"), "succeeded");
    eventually("the server has the directory", || {
        site.data().join("token").exists().then_some(())
    });
    // Other commands are its clients now.
    site.change(plan(HARMLESS)).expect(0);
    serving.signal(Signal::TERM);
    serving.end().expect(0);
    assert!(!site.is_hosted());
    site.journal_holds();
}

#[test]
fn many_are_asked_by_a_filter_after_a_look_and_only_if_somebody_agrees() {
    let site = Site::small(CHECKS);
    let waiting = [(); 2].map(|()| site.change(raised("medium")).expect(8).text("run"));
    let done = site.change(plan(HARMLESS)).expect(0).text("run");
    let filter = ["--where", "state=waiting", "kind=change", "since=1h"];
    let bulk = |verb: &'static str, more: &[&'static str]| {
        let mut words = vec!["run", verb];
        words.extend(filter);
        words.extend(more);
        site.matrix(&words)
    };
    let looked = bulk("cancel", &["--dry-run", "--json"]).expect(0).json();
    assert_eq!(looked["done"], 2, "{looked}");
    let unasked = bulk("cancel", &[]).expect(2);
    assert!(unasked.err.contains("CLI-0007"), "{unasked:?}");
    for run in &waiting {
        assert_eq!(text(&site.show(run), "state"), "waiting");
    }
    let told = bulk("cancel", &["--yes", "--reason", "enough"]).expect(0);
    assert!(
        told.out.contains("2 asked, 0 unchanged, 0 refused"),
        "{told:?}"
    );
    for run in &waiting {
        eventually("a run has ended", || {
            (text(&site.show(run), "state") == "cancelled").then_some(())
        });
    }
    // What has ended refuses, as it does by itself.
    let refused = site.matrix(&["run", "pause", "--where", "state=succeeded", "--yes"]);
    let refused = refused.expect(1);
    assert!(
        refused.out.contains("RUN-0002") && refused.out.contains(&done),
        "{refused:?}"
    );
    site.matrix(&["run", "cancel"]).expect(2);
    site.matrix(&["run", "cancel", &done, "--where", "dead"])
        .expect(2);
    site.matrix(&["run", "list", "--where", "dead=tired"])
        .expect(2);
    site.matrix(&["run", "list", "--dead"])
        .expect(0)
        .says("no run has stopped by itself");
    eventually("the background host ends", || {
        (!site.is_hosted()).then_some(())
    });
    site.journal_holds();
}
