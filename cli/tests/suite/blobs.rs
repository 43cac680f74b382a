//! Blobs in a bucket instead of the data directory, and a store of them that goes away.

use std::fs;

use crate::bucket::{BUCKET, Bucket, Link};
use crate::serving::Serving;
use crate::site::{CHECKS, Done, HARMLESS, Site, eventually, finish, plan, text};

/// Checks that take a moment, so that the store can go away meanwhile.
const SLOW: &str = "checks:\n  - { name: unit, kind: test_results, \
                    run: 'sleep 2; grep -q good state.txt', timeout: 60s }\n";

const SECRET: &str = "hunter2";

fn site(place: std::net::SocketAddr, checks: &str) -> Site {
    Site::small(checks)
        .with(
            "MATRIX_BLOBS",
            format!("s3://{BUCKET}/ours?endpoint=http://{place}"),
        )
        .with("AWS_ACCESS_KEY_ID", "test")
        .with("AWS_SECRET_ACCESS_KEY", SECRET)
}

fn hidden(done: Done) -> Done {
    assert!(
        !done.out.contains(SECRET) && !done.err.contains(SECRET),
        "{done:?}"
    );
    done
}

#[test]
fn a_change_keeps_its_blobs_in_a_bucket() {
    let bucket = Bucket::start();
    let site = site(bucket.place(), CHECKS);
    let done = site.change(plan(HARMLESS)).expect(0);
    let run = done.text("run");
    assert!(!bucket.names("ours/blobs/").is_empty());
    assert!(
        !site.data().join("blobs").exists()
            || fs::read_dir(site.data().join("blobs"))
                .unwrap()
                .next()
                .is_none(),
        "nothing is kept in the data directory"
    );
    site.journal_holds();
    site.matrix(&["run", "replay", &run]).expect(0);
    site.matrix(&["artifact", "get", &run, "bundle.intoto.jsonl"])
        .expect(0)
        .says("payload");
    site.matrix(&["artifact", "prune", "--dry-run"]).expect(0);
    let doctor = hidden(site.matrix(&["doctor", "--json"])).json();
    assert_eq!(doctor["blobs"]["good"], true, "{doctor}");
    let shown = hidden(site.matrix(&["config", "show", "--origin"])).expect(0);
    shown.says(BUCKET).says("MATRIX_BLOBS");

    // Another directory with the same place in the bucket, this one without, and one of its own.
    let mut other = site.command_elsewhere(&["user", "add", "ada", "--data-dir"]);
    other.arg(site.path("elsewhere"));
    finish(other).expect(1).says("HOST-0007");
    let mut without = site.command(&["run", "list"]);
    without.env_remove("MATRIX_BLOBS");
    finish(without).expect(1).says("HOST-0005");
    let address = format!("s3://{BUCKET}/theirs?endpoint=http://{}", bucket.place());
    site.matrix(&["user", "add", "ada", "--blobs", &address])
        .expect(1)
        .says("HOST-0007");
    let own = Site::small(CHECKS);
    own.change(plan(HARMLESS)).expect(0);
    own.matrix(&["run", "list", "--blobs", &address])
        .expect(1)
        .says("HOST-0005");
}

#[test]
fn runs_rest_while_the_store_is_away_and_go_on_when_it_is_back() {
    let bucket = Bucket::start();
    let link = Link::to(bucket.place());
    let site = site(link.place(), SLOW);
    let serving = Serving::start(&site);
    let mut detached = site.change_command(plan(HARMLESS));
    detached.arg("--detach");
    let run = finish(detached).expect(0).text("run");
    let past = |step: &str| {
        let shown = site.matrix(&["run", "show", &run, "--journal", "--json"]);
        let shown = shown.json();
        let entries = shown["journal"].as_array()?.iter();
        let mut entries = entries;
        entries
            .any(|entry| entry["kind"] == "step_completed" && entry["path"] == step)
            .then_some(())
    };
    eventually("the change is applied", || past("patch#1"));
    link.cut();
    let doctor = hidden(site.matrix(&["doctor"]));
    doctor
        .expect(1)
        .says("the store of the blobs cannot be used");
    // More than one request tries again makes it sure that somebody waits for it to come back.
    let attempts = link.bind();
    let refused = attempts.incoming().take(12);
    refused.for_each(|attempt| drop(attempt.unwrap()));
    drop(attempts);
    let state = text(
        &site.matrix(&["run", "show", &run, "--json"]).json(),
        "state",
    );
    assert!(["ready", "running"].contains(&&*state), "{state}");
    link.mend();
    eventually("the run's end", || {
        let state = text(
            &site.matrix(&["run", "show", &run, "--json"]).json(),
            "state",
        );
        assert!(
            ["ready", "running", "succeeded"].contains(&&*state),
            "{state}"
        );
        (state == "succeeded").then_some(())
    });
    site.journal_holds();
    let said = serving.stopped();
    assert!(said.err.contains("the store of the blobs"), "{said:?}");
    hidden(said);
}

#[test]
fn a_command_whose_store_goes_away_says_what_goes_on() {
    let bucket = Bucket::start();
    let link = Link::to(bucket.place());
    let site = site(link.place(), CHECKS);
    let run = site.change(plan(HARMLESS)).expect(0).text("run");
    link.cut();
    hidden(site.matrix(&["artifact", "get", &run, "bundle.intoto.jsonl"]))
        .expect(1)
        .says("STORE-0007")
        .says("matrix doctor");
    hidden(site.change(plan(HARMLESS)))
        .expect(1)
        .says("STORE-0007");
    link.mend();
    site.matrix(&["run", "resume"]).expect(0);
    site.change(plan(HARMLESS)).expect(0);
}

#[test]
fn an_address_that_has_a_secret_is_refused_and_not_shown() {
    let site = Site::bare();
    for address in [
        "s3://key:hunter2@bucket/x",
        "s3://bucket/x?secret_access_key=hunter2",
        "http://hunter2",
    ] {
        let flag = site.matrix(&["config", "show", "--blobs", address]);
        hidden(flag).expect(2).says("CONFIG-0001").says("--blobs");
        let mut variable = site.command(&["config", "show"]);
        variable.env("MATRIX_BLOBS", address);
        hidden(finish(variable)).expect(2).says("CONFIG-0001");
        let file = site.path("config.toml");
        fs::write(&file, format!("blobs = \"{address}\"\n")).unwrap();
        let shown = ["config", "show", "--config", file.to_str().unwrap()];
        hidden(site.matrix(&shown)).expect(2).says("CONFIG-0001");
    }
}
