//! What is told of a plan before anything runs, and what of it comes true.

use std::fs;

use serde_json::{Value, json};

use crate::serving::Serving;
use crate::site::{CHECKS, Done, HARMLESS, Site, finish, plan, text};

/// A file with a middle that a diff can miss by a line or two.
const LINES: &str = "zero\none\ntwo\nthree\nfour\n";

/// Says line 1 for what begins at line 2, and has a wrong first line.
const LOOSE: &str = "  - update:\n      path: lines.txt\n      diff: |\n        @@ -1,4 +1,4 @@\n         \
                     ONE\n         two\n        -three\n        +3\n         four\n";

fn forecast(site: &Site, text: &str, more: &[&str]) -> Done {
    let file = site.plan_file(text);
    let mut command = site.command(&["change", "plan", "--repo"]);
    command.arg(site.repository()).arg("--plan").arg(file);
    command.args(more);
    finish(command)
}

#[test]
fn a_plan_tells_its_patch_checks_risk_and_target() {
    let site = Site::small(CHECKS);
    let told = forecast(&site, &plan(HARMLESS), &["--json"])
        .expect(0)
        .json();
    assert!(!site.data().exists(), "a look makes no data directory");
    let base = site.git(&["rev-parse", "main"]);
    assert_eq!(told["base"], json!(base.trim()));
    assert_eq!(told["patch"]["files"], 1, "{told}");
    assert_eq!(told["patch"]["added_lines"], 1, "{told}");
    assert_eq!(told["risk"], "low", "{told}");
    let checks = told["checks"].as_array().unwrap();
    let names: Vec<&str> = checks
        .iter()
        .filter_map(|check| check["check"].as_str())
        .collect();
    for name in [
        "test_results/unit",
        "build_log/compile",
        "lint/style",
        "sbom/matrix",
    ] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(told["dry_run"]["replaces"], Value::Null);
    assert_eq!(told["dry_run"]["changes_total"], 4, "{told}");
    forecast(&site, &plan(HARMLESS), &[])
        .expect(0)
        .says("1 operation on")
        .says("1 file, 1 line added, 0 lines removed")
        .says("low at least")
        .says("+ new.txt");
    let done = site.change(plan(HARMLESS)).expect(0);
    assert_eq!(done.json()["patch_digest"], told["patch"]["digest"]);
    assert_eq!(done.json()["risk"], told["risk"]);
    let again = forecast(&site, &plan(HARMLESS), &["--json"])
        .expect(0)
        .json();
    assert_eq!(again["dry_run"]["replaces"], done.json()["deployment"]);
    assert_eq!(again["dry_run"]["changes_total"], 0, "{again}");
    forecast(&site, &plan(HARMLESS), &["--target", "moon"])
        .expect(2)
        .says("TARGET-0003");
}

#[test]
fn a_change_of_the_checks_is_foreseen_as_high() {
    let site = Site::small(CHECKS);
    let weaker = "  - update: { path: matrix.yaml, content: \"checks: []\\n\" }\n";
    let told = forecast(&site, &plan(weaker), &["--json"]).expect(0).json();
    assert_eq!(told["risk"], "high", "{told}");
    assert!(!told["risk_reasons"].as_array().unwrap().is_empty());
}

#[test]
fn a_hunk_that_was_placed_with_tolerance_is_shown() {
    let site = Site::small(CHECKS);
    site.write("lines.txt", LINES);
    site.commit();
    let words =
        "lines.txt: hunk 1 at line 2, 1 line below where it says, without 1 outer context line";
    let told = forecast(&site, &plan(LOOSE), &["--json"]).expect(0).json();
    let hunk = json!({ "operation": 0, "path": "lines.txt", "hunk": 1, "line": 2, "offset": 1,
        "fuzz": 1, "alike": "exact" });
    assert_eq!(told["patch"]["loose"], json!([hunk]));
    forecast(&site, &plan(LOOSE), &[]).expect(0).says(words);
    let run = site.change(plan(LOOSE)).expect(0).text("run");
    assert_eq!(site.show(&run)["loose"], json!([hunk]));
    site.matrix(&["change", "show", &run]).expect(0).says(words);
    let journal = site.matrix(&["run", "show", &run, "--journal", "--json"]);
    let journal = journal.expect(0).json();
    let recorded = journal["journal"].to_string();
    assert!(recorded.contains("\"fuzz\":1"), "it is in the journal");
    let serving = Serving::start(&site);
    let token = fs::read_to_string(site.data().join("token")).unwrap();
    let path = format!("/api/v1/jobs/{run}");
    let (_, job) = serving.ask("GET", &path, token.trim(), "");
    assert_eq!(job["loose"], json!([hunk]), "{job}");
    serving.end();
}

#[test]
fn http_tells_the_same_as_the_command() {
    let site = Site::small(CHECKS);
    let told = forecast(&site, &plan(HARMLESS), &["--json"])
        .expect(0)
        .json();
    let serving = Serving::start(&site);
    let token = fs::read_to_string(site.data().join("token")).unwrap();
    let ask = |body: Value| serving.ask("POST", "/api/v1/plan", token.trim(), &body.to_string());
    let repository = site.repository();
    let (status, answer) = ask(json!({ "plan": plan(HARMLESS), "repository": repository }));
    assert_eq!((status, &answer), (200, &told));
    let (status, alone) = ask(json!({ "plan": plan(HARMLESS) }));
    assert_eq!((status, &alone["digest"]), (200, &told["digest"]));
    assert!(alone.get("checks").is_none(), "{alone}");
    let unfit = plan("  - delete: { path: nope.txt }\n");
    let (status, problem) = ask(json!({ "plan": unfit, "repository": repository }));
    assert_eq!((status, text(&problem, "code")), (422, "PATCH-0003".into()));
    assert_eq!(problem["faults"][0]["member"], "operations[0].delete.path");
    let (status, _) = ask(json!({ "plan": unfit, "repository": "here" }));
    assert_eq!(status, 400);
    let body = json!({ "plan": unfit, "repository": repository }).to_string();
    let (status, _) = serving.ask("POST", "/api/v1/execute", token.trim(), &body);
    assert_eq!(status, 422);
    assert_eq!(site.runs(), [""; 0], "nothing was started");
    // Who may not submit may read plans, but not repositories.
    let reader = ["user", "add", "dave", "--role", "approver", "--json"];
    let token = site.matrix(&reader).expect(0).text("token");
    for (body, status) in [
        (json!({ "plan": plan(HARMLESS) }), 200),
        (
            json!({ "plan": plan(HARMLESS), "repository": repository }),
            403,
        ),
    ] {
        let answer = serving.ask("POST", "/api/v1/plan", &token, &body.to_string());
        assert_eq!(answer.0, status, "{answer:?}");
    }
    serving.end();
}
