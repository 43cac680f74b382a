//! Plans that weaken what they are judged by never pass by themselves.

use crate::site::{CHECKS, Done, Site, finish, plan, top};

/// It was not released: a person is asked, or it is denied.
#[track_caller]
fn never_by_itself(done: &Done) {
    assert!(matches!(done.code, 5 | 8), "{done:?}");
    let change = done.json();
    assert!(change["release"].is_null(), "{change}");
    assert_ne!(change["verdict"], "pass", "{change}");
    if done.code == 8 {
        let risk = done.text("risk");
        assert!(matches!(&*risk, "medium" | "high" | "critical"), "{change}");
    }
}

#[test]
fn its_own_configuration() {
    let site = Site::small(CHECKS);
    for operation in [
        "update: { path: matrix.yaml, content: \"checks: []\\n\" }",
        "delete: { path: matrix.yaml }",
        "move: { from: matrix.yaml, to: old.yaml }",
    ] {
        let done = site.change(plan(&format!("  - {operation}\n"))).expect(8);
        assert_eq!(done.text("risk"), "high", "{operation}");
        // What base says was run all the same.
        assert_eq!(done.status("test_results"), "passed", "{operation}");
    }
    // And its new checks do not help it: the base's are asked.
    let both = "  - update: { path: matrix.yaml, content: \"checks: []\\n\" }\n  \
                - update: { path: state.txt, content: \"bad\\n\" }\n";
    let done = site.change(plan(both)).expect(5);
    assert_eq!(done.status("test_results"), "failed");
}

#[test]
fn tests_that_are_deleted_or_say_less() {
    let site = Site::example("python");
    let delete = "  - delete: { path: tests/test_shift.py }\n";
    never_by_itself(&site.change(plan(delete)));
    let whole = "  - delete: { path: tests/test_shift.py }\n  \
                 - delete: { path: tests/test_roster.py }\n";
    never_by_itself(&site.change(plan(whole)));
    let emptied = "  - update: { path: tests/test_shift.py, content: \"\\n\" }\n";
    never_by_itself(&site.change(plan(emptied)));
    let skipped = "  - update:\n      path: tests/test_shift.py\n      content: |\n        \
                   import unittest\n        raise unittest.SkipTest(\"later\")\n";
    never_by_itself(&site.change(plan(skipped)));
}

#[test]
fn the_way_tests_are_run() {
    let site = Site::example("node");
    let script = "{\"name\": \"postage\", \"type\": \"module\", \
                  \"scripts\": {\"test\": \"true\"}}";
    let operation = format!("  - update: {{ path: package.json, content: '{script}' }}\n");
    never_by_itself(&site.change(plan(&operation)));
    let site = Site::small("{}\n");
    site.write("Makefile", "test:\n\tgrep -q good state.txt\n");
    site.commit();
    let operation = "  - update: { path: Makefile, content: \"test:\\n\\ttrue\\n\" }\n";
    never_by_itself(&site.change(plan(operation)));
}

#[test]
fn the_scripts_that_checks_run() {
    let site = Site::small("checks:\n  - { name: unit, kind: test_results, run: sh test.sh }\n");
    site.write("test.sh", "exit 1\n");
    site.commit();
    let operation = "  - update: { path: test.sh, content: \"true\\n\" }\n";
    let done = site.change(plan(operation)).expect(8);
    assert_eq!(done.text("risk"), "high");
}

#[test]
fn a_repository_without_tests() {
    let site = Site::small("checks:\n  - { name: style, kind: lint, run: 'true' }\n");
    let done = site.change(plan(crate::site::HARMLESS)).expect(8);
    assert_eq!(done.text("risk"), "high");
    assert_eq!(done.status("test_results"), "skipped");
}

#[test]
fn kinds_of_evidence_can_only_be_added() {
    let site = Site::small(CHECKS);
    // There is no lock file, so that there is no bill of materials: asked for, it is missed.
    let more = plan(crate::site::HARMLESS) + "checks: [sbom]\n";
    let done = site.change(more).expect(5);
    assert!(done.text("reason").contains("sbom"), "{done:?}");
    // An empty list takes nothing away.
    site.write("state.txt", "bad\n");
    let broken = "  - update: { path: state.txt, content: \"bad\\n\" }\n";
    let done = site.change(plan(broken) + "checks: []\n");
    assert!(matches!(done.code, 2 | 5), "{done:?}");
    for word in ["nothing", "all", "-test_results"] {
        site.change(plan(crate::site::HARMLESS) + &format!("checks: [{word}]\n"))
            .expect(2);
    }
}

#[test]
fn risk_can_only_be_raised() {
    let site = Site::small(CHECKS);
    let low =
        plan("  - delete: { path: matrix.yaml }\n") + "risk: { raise: low, because: 'trust me' }\n";
    let done = site.change(low);
    assert!(matches!(done.code, 2 | 8), "{done:?}");
    if done.code == 8 {
        assert_eq!(done.text("risk"), "high");
    }
}

#[test]
fn secrets_and_policies() {
    let site = Site::small(CHECKS);
    // Put together here, so that no scanner finds one in this file.
    let key = format!("AKIA{}", "Q7ZP2M4XK5TD3WLB");
    let secret = format!("  - create: {{ path: deploy.env, content: \"KEY={key}\\n\" }}\n");
    let done = site.change(plan(&secret)).expect(5);
    assert_eq!(done.status("security_scan"), "failed");
    for path in [
        ".github/workflows/ci.yml",
        "CODEOWNERS",
        "policy/gate.cedar",
    ] {
        let operation = format!("  - create: {{ path: {path}, content: \"x\\n\" }}\n");
        never_by_itself(&site.change(plan(&operation)));
    }
}

#[test]
fn a_policy_of_the_repository_is_not_asked() {
    let site = Site::small(CHECKS);
    site.write(
        "policy/gate.cedar",
        "permit(principal, action, resource);\n",
    );
    site.write(
        ".matrix/policy/gate.cedar",
        "permit(principal, action, resource);\n",
    );
    site.commit();
    let done = site.change(crate::site::raised("critical")).expect(5);
    assert_eq!(done.text("verdict"), "deny");
}

#[test]
fn a_policy_that_cannot_be_read_lets_nothing_through() {
    let site = Site::small(CHECKS);
    std::fs::create_dir_all(site.data().join("policy")).unwrap();
    std::fs::write(
        site.data().join("policy/own.cedar"),
        "permit(principal, action",
    )
    .unwrap();
    let done = finish(site.change_command(plan(crate::site::HARMLESS)));
    assert_ne!(done.code, 0, "{done:?}");
    assert!(top().exists());
}
