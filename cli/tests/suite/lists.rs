//! Lists that are narrowed.

use crate::site::{CHECKS, Done, HARMLESS, Site, plan, raised};

fn listed(done: Done) -> Vec<String> {
    let runs = done.expect(0).json()["runs"].clone();
    let runs = runs.as_array().unwrap().iter();
    runs.map(|run| run["run"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn runs_are_found_by_state_title_and_time() {
    let site = Site::small(CHECKS);
    let waiting = site.change(raised("medium")).expect(8).text("run");
    let other = plan(HARMLESS).replace("A small thing", "Ünlike 100% others");
    let released = site.change(other).expect(0).text("run");
    let list = |arguments: &[&str]| {
        let all: Vec<&str> = ["run", "list", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let by_run = listed(site.matrix(&all));
        let all: Vec<&str> = ["change", "list", "--json"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        assert_eq!(
            by_run,
            listed(site.matrix(&all)),
            "changes are the only runs here"
        );
        by_run
    };
    let both = [released.clone(), waiting.clone()];
    assert_eq!(list(&[]), both);
    assert_eq!(list(&["--state", "waiting"]), [waiting.as_str()]);
    assert_eq!(list(&["--state", "succeeded"]), [released.as_str()]);
    assert_eq!(list(&["--state", "failed"]), [""; 0]);
    assert_eq!(list(&["--title", "100% OTHERS"]), [released.as_str()]);
    assert_eq!(list(&["--title", "small", "--state", "succeeded"]), [""; 0]);
    assert_eq!(list(&["--since", "1h"]), both);
    assert_eq!(
        list(&["--since", "1970-01-01", "--limit", "1"]),
        [released.as_str()]
    );
    assert_eq!(list(&["--since", "9999-01-01T00:00:00Z"]), [""; 0]);
    for wrong in [
        ["--state", "done"],
        ["--since", "yesterday"],
        ["--since", "99999999999999999999d"],
    ] {
        let refused = site.matrix(&["run", "list", wrong[0], wrong[1]]).expect(2);
        assert!(refused.err.contains(wrong[1]), "{}", refused.err);
    }
}
