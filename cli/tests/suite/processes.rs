//! Several processes on one database and one data directory. Any of them may die or stop: its runs
//! are taken over, and nothing is recorded or deployed twice.

use std::io::{BufRead, BufReader};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::postgres::site;
use crate::postgresql::Server;
use crate::serving::Serving;
use crate::site::{CHECKS, HARMLESS, Site, Started, eventually, finish, plan, start, text};

/// The lease of these tests' processes.
const LEASE: Duration = Duration::from_secs(2);

/// What a machine that is used by others may add.
const NOISE: Duration = Duration::from_millis(1_500);

/// Checks that take a moment, so that their process can be ended meanwhile.
const SLOW: &str = "checks:\n  - { name: unit, kind: test_results, \
                    run: 'sleep 1; grep -q good state.txt', timeout: 60s }\n";

fn shared(server: &Server, checks: &str) -> Site {
    site(server, checks).with("MATRIX_LEASE_MS", LEASE.as_millis().to_string())
}

/// `matrix worker`, which is there.
fn worker(site: &Site, crash: Option<&str>) -> Started {
    let mut command = site.command(&["worker"]);
    command.envs(crash.map(|point| ("MATRIX_CRASH_AT", point)));
    let mut started = start(command);
    let mut lines = BufReader::new(started.take_stderr()).lines();
    let there = lines.by_ref().map_while(Result::ok);
    let there = there
        .into_iter()
        .any(|line| line.starts_with("health on http://"));
    assert!(there, "the worker ended early");
    // Whoever writes to a pipe that nobody reads gets stuck.
    std::thread::spawn(move || lines.map_while(Result::ok).count());
    started
}

fn submit(site: &Site) -> String {
    let mut command = site.change_command(plan(HARMLESS));
    command.arg("--detach");
    finish(command).expect(0).text("run")
}

/// The process that drives a run, and how far it is.
fn owner(site: &Site, run: &str) -> Option<(i32, i64)> {
    let why = site.matrix(&["run", "why", run, "--json"]).json();
    let owner = why["owner"].as_str()?.split_once('-')?.0.parse().ok()?;
    let shown = site.matrix(&["run", "show", run, "--json"]).json();
    Some((owner, shown["head_seq"].as_i64().unwrap()))
}

fn signal(process: i32, signal: Signal) {
    kill_process(Pid::from_raw(process).unwrap(), signal).unwrap();
}

/// Waits for a run's end, which is a release, made once.
fn released(site: &Site, run: &str) {
    eventually("the run's end", || {
        let state = text(&site.show(run), "state");
        assert!(
            ["ready", "running", "succeeded"].contains(&&*state),
            "{state}"
        );
        (state == "succeeded").then_some(())
    });
    let journal = site
        .matrix(&["run", "show", run, "--journal", "--json"])
        .json();
    let entries = journal["journal"].as_array().unwrap();
    let completed = |path: &str| {
        let about = |entry: &&Value| entry["kind"] == "step_completed" && entry["path"] == path;
        entries.iter().filter(about).count()
    };
    for step in ["patch#1", "deploy#1", "publish#1", "attest#1", "release#1"] {
        assert_eq!(completed(step), 1, "{step}: {journal}");
    }
}

/// How often each run was deployed and released.
fn nothing_is_twice(site: &Site, runs: &[String]) {
    site.journal_holds();
    let listed = site.matrix(&["deployment", "list", "--json"]).json();
    let deployments = listed["deployments"].as_array().unwrap();
    assert_eq!(deployments.len(), runs.len(), "{listed}");
    let registry = site.data().join("registry.git");
    let refs = site.git(&[
        "--git-dir",
        registry.to_str().unwrap(),
        "for-each-ref",
        "--format=%(refname)",
        "refs/heads/",
    ]);
    assert_eq!(refs.lines().count(), runs.len(), "{refs}");
    let left = std::fs::read_dir(site.data().join("work")).unwrap().count();
    assert_eq!(left, 0, "work trees are left");
}

/// Ends or stops the process that drives a run once its journal is so long, and gives the time
/// until another one has it.
#[expect(
    clippy::disallowed_methods,
    reason = "a takeover is measured on the machine's clock"
)]
fn strike(site: &Site, run: &str, at: i64, with: Signal) -> (i32, Duration) {
    let victim = eventually("a run that is so far", || {
        let (process, head) = owner(site, run)?;
        (head >= at).then_some(process)
    });
    signal(victim, with);
    let struck = Instant::now();
    eventually("a takeover", || {
        let state = text(&site.show(run), "state");
        let taken = owner(site, run).is_some_and(|(process, _)| process != victim);
        (taken || state == "succeeded").then_some(())
    });
    (victim, struck.elapsed())
}

#[test]
fn a_process_that_is_killed_loses_its_runs_to_another_within_its_lease() {
    let server = Server::start();
    let site = shared(&server, SLOW);
    let mut runs = Vec::new();
    for at in [0, 4, 9] {
        let serving = [Serving::start(&site), Serving::start(&site)];
        let working = worker(&site, None);
        let run = submit(&site);
        let (_, taken) = strike(&site, &run, at, Signal::KILL);
        assert!(taken < LEASE + Duration::from_secs(1) + NOISE, "{taken:?}");
        released(&site, &run);
        runs.push(run);
        drop((serving, working));
    }
    nothing_is_twice(&site, &runs);
}

#[test]
fn a_process_that_stood_still_and_goes_on_neither_records_nor_deploys_again() {
    let server = Server::start();
    let site = shared(&server, SLOW);
    let serving = [Serving::start(&site), Serving::start(&site)];
    let working = worker(&site, None);
    let mut runs = Vec::new();
    for at in [1, 8] {
        let run = submit(&site);
        let (victim, taken) = strike(&site, &run, at, Signal::STOP);
        assert!(taken < LEASE + Duration::from_secs(1) + NOISE, "{taken:?}");
        // Slow, not dead: it goes on in the middle of what the other one does now.
        signal(victim, Signal::CONT);
        released(&site, &run);
        runs.push(run);
    }
    // Everybody still works.
    for serving in serving {
        assert_eq!(serving.ask("GET", "/livez", "", "").0, 200);
        serving.end();
    }
    working.signal(Signal::TERM);
    working.end().expect(0);
    nothing_is_twice(&site, &runs);
}

#[test]
fn a_process_may_die_at_any_entry_of_a_deployment() {
    let server = Server::start();
    let site = shared(&server, CHECKS);
    let mut runs = Vec::new();
    let example = site.change(plan(HARMLESS)).expect(0).text("run");
    let journal = site
        .matrix(&["run", "show", &example, "--journal", "--json"])
        .json();
    let entries = journal["journal"].as_array().unwrap();
    let seq = |kind: &str, path: &str| {
        let about = |entry: &&Value| entry["kind"] == kind && entry["path"] == path;
        entries.iter().find(about).unwrap()["seq"].as_i64().unwrap()
    };
    runs.push(example);
    for point in [
        format!("after:{}", seq("step_begun", "deploy#1")),
        format!("before:{}", seq("step_completed", "deploy#1")),
        format!("before:{}", seq("step_completed", "publish#1")),
        format!("after:{}", seq("step_completed", "attest#1")),
    ] {
        let dying = worker(&site, Some(&point));
        let run = submit(&site);
        assert_eq!(dying.end().code, -1, "it did not die: {point}");
        let taking = worker(&site, None);
        released(&site, &run);
        taking.signal(Signal::TERM);
        taking.end().expect(0);
        runs.push(run);
    }
    nothing_is_twice(&site, &runs);
}

#[test]
fn a_database_that_goes_away_in_the_middle_of_a_run_comes_back() {
    let server = Server::start();
    let site = shared(&server, SLOW);
    let serving = Serving::start(&site);
    let working = worker(&site, None);
    let mut runs = Vec::new();
    for at in [2, 7] {
        let run = submit(&site);
        eventually("a run that is so far", || {
            let (_, head) = owner(&site, &run)?;
            (head >= at).then_some(())
        });
        server.cut();
        site.matrix(&["run", "list"]).expect(1).says("STORE-0002");
        server.begin();
        released(&site, &run);
        runs.push(run);
    }
    serving.end();
    working.signal(Signal::TERM);
    working.end().expect(0);
    nothing_is_twice(&site, &runs);
}

/// A run that one process creates is picked up by another right away, not at its next look.
#[test]
fn processes_wake_each_other() {
    let server = Server::start();
    let site = shared(&server, CHECKS);
    let working = worker(&site, None);
    let mut waits: Vec<i64> = (0..5)
        .map(|_| {
            let run = submit(&site);
            released(&site, &run);
            let journal = site
                .matrix(&["run", "show", &run, "--journal", "--json"])
                .json();
            let at = |seq: usize| journal["journal"][seq]["at"].as_i64().unwrap();
            at(1) - at(0)
        })
        .collect();
    waits.sort_unstable();
    assert!(waits[2] < 600_000, "{waits:?} µs");
    working.signal(Signal::TERM);
    working.end().expect(0);
}
