//! Replaying a change: the same end again, nothing done, nothing written.

use crate::site::{CHECKS, HARMLESS, Site, plan, raised};

#[test]
fn a_change_is_replayed_while_it_waits_and_after_its_release() {
    let site = Site::small(CHECKS);
    let waiting = site.change(raised("medium")).expect(8);
    let run = waiting.text("run");
    let replay = site.matrix(&["run", "replay", &run, "--json"]).expect(0);
    assert_eq!(replay.text("verdict"), "so_far", "{replay:?}");
    assert!(
        replay.text("next").starts_with("approval apr_"),
        "{replay:?}"
    );

    site.matrix(&["change", "approve", &run]).expect(0);
    let journal = ["run", "show", &run, "--journal", "--json"];
    let before = site.matrix(&journal).expect(0).out;
    let replay = site.matrix(&["run", "replay", &run, "--json"]).expect(0);
    assert_eq!(replay.text("verdict"), "same", "{replay:?}");
    let last = replay.json();
    assert_eq!(last["unasked"].as_array().map(Vec::len), Some(0), "{last}");
    assert!(last["answered"].as_u64() > Some(10), "{last}");
    let said = site.matrix(&["run", "replay", &run]).expect(0).out;
    assert!(said.contains("chain intact"), "{said}");
    assert!(said.contains("the same end (sha256 "), "{said}");
    assert_eq!(site.matrix(&journal).expect(0).out, before);
}

#[test]
fn a_change_that_was_denied_is_denied_again_and_an_unknown_run_is_named() {
    let site = Site::small(&CHECKS.replace("echo built", "false"));
    let denied = site.change(plan(HARMLESS)).expect(5);
    let run = denied.text("run");
    let replay = site.matrix(&["run", "replay", &run, "--json"]).expect(0);
    assert_eq!(replay.text("verdict"), "same", "{replay:?}");
    let unknown = "run_00000000000000000000000000";
    let refused = site.matrix(&["run", "replay", unknown]);
    refused.expect(6);
}
