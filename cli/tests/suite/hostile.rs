//! Checks that do not end, multiply, shout or outgrow their place: each is ended, the change is
//! denied, and nothing else suffers.

use std::fs;
use std::path::Path;

use crate::site::{HARMLESS, Site, plan};

/// The change is denied because its test said or did too much; gives the words that tell.
fn ends(run: &str, timeout: &str, words: &str) -> Site {
    let site = Site::small(&format!(
        "checks:\n  - {{ name: unit, kind: test_results, run: '{run}', timeout: {timeout} }}\n"
    ));
    let done = site.change(plan(HARMLESS)).expect(5);
    assert_eq!(done.text("ending"), "denied");
    assert_eq!(done.status("test_results"), "failed");
    let change = done.json();
    let evidence = change["evidence"].as_array().unwrap();
    let tests = evidence.iter().find(|kind| kind["kind"] == "test_results");
    let summary = tests.unwrap().to_string();
    assert!(summary.contains(words), "{summary}");
    site.journal_holds();
    site
}

fn bytes_in(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).unwrap().flatten();
    entries
        .map(|entry| {
            let data = entry.metadata().unwrap();
            if data.is_dir() {
                bytes_in(&entry.path())
            } else {
                data.len()
            }
        })
        .sum()
}

#[test]
fn a_test_without_end_is_ended() {
    ends("while :; do :; done", "1s", "longer than 1 s");
}

#[test]
fn a_test_that_hides_in_the_background_is_ended_with_it() {
    // What it leaves running would keep the site's processes alive; the site looks for them.
    let marker = "987654.321";
    let site = Site::small(&format!(
        "checks:\n  - {{ name: unit, kind: test_results, \
         run: 'setsid sleep {marker} & nohup sleep {marker} & true', timeout: 20s }}\n"
    ));
    site.change(plan(HARMLESS)).expect(0);
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let left = processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .filter(|line| String::from_utf8_lossy(line).starts_with("sleep\0"))
        .filter(|line| String::from_utf8_lossy(line).contains(marker))
        .count();
    assert_eq!(left, 0, "a process outlived its sandbox");
}

#[test]
fn a_test_that_multiplies_is_ended() {
    ends("f() { f | f & }; f; sleep 5", "20s", "processes");
}

#[test]
fn a_test_that_prints_a_gigabyte_is_ended() {
    let site = ends(
        "yes | head -c 1000000000",
        "60s",
        "printed more than allowed",
    );
    let kept = bytes_in(&site.data());
    assert!(kept < 300 << 20, "{kept} bytes were kept of it");
}

#[test]
fn a_test_that_fills_its_place_is_ended_or_told() {
    let run = "head -c 20000000000 /dev/zero > large";
    let site = Site::small(&format!(
        "checks:\n  - {{ name: unit, kind: test_results, run: '{run}', timeout: 60s }}\n"
    ));
    let done = site.change(plan(HARMLESS));
    assert!(matches!(done.code, 5 | 8), "{done:?}");
    assert!(bytes_in(&site.data()) < 300 << 20, "it was kept");
}

#[test]
fn a_test_prints_what_no_terminal_should_see_and_the_change_goes_on() {
    let site = Site::small(
        "checks:\n  - { name: unit, kind: test_results, timeout: 20s,\n      \
         run: 'printf \"\\377\\376\\000\\033[2J]]>&<\"' }\n",
    );
    let done = site.change(plan(HARMLESS)).expect(0);
    site.matrix(&["verify", &done.text("bundle")]).expect(0);
    site.matrix(&["change", "logs", &done.text("run")])
        .expect(0);
}

#[test]
fn a_test_cannot_write_to_the_next_one() {
    let site = Site::small(
        "checks:\n  - { name: unit, kind: test_results, timeout: 20s,\n      \
         run: 'test ! -e mark && test ! -e /tmp/mark && touch mark /tmp/mark' }\n",
    );
    // Base and change, each in its own copy; and again in the next change.
    site.change(plan(HARMLESS)).expect(0);
    site.change(plan(HARMLESS)).expect(0);
    assert!(!site.repository().join("mark").exists());
}
