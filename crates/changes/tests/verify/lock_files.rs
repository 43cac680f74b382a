//! Checks that execute nothing: the diff's scan, the audit and the bills of materials.

use std::sync::Arc;

use matrix_changes::verify::{Project, Side, run_check, weakening};
use matrix_evidence::{Kind, Status};

use crate::bench::{Bench, write};

fn lock(packages: &[(&str, &str)]) -> String {
    let mut text = String::from("version = 4\n");
    for (name, version) in packages {
        text.push_str("\n[[package]]\n");
        text.push_str(&["name = \"", name, "\"\nversion = \"", version, "\"\n"].concat());
        text.push_str("source = \"registry+https://index.test\"\n");
    }
    text
}

fn record(id: &str, package: &str, fixed: &str) -> String {
    let ecosystem = matrix_evidence::lockfile::Ecosystem::Cargo.osv_name();
    serde_json::json!({
        "schema_version": "1.6.0", "id": id, "modified": "2026-01-01T00:00:00Z",
        "summary": "reads past the end",
        "affected": [{
            "package": {"ecosystem": ecosystem, "name": package},
            "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}, {"fixed": fixed}]}]
        }]
    })
    .to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn only_vulnerabilities_that_base_does_not_have_fail() {
    let (before, after) = (
        lock(&[("old", "1.0.0"), ("fine", "1.0.0")]),
        lock(&[("old", "1.0.1"), ("fine", "1.0.0"), ("new", "0.1.0")]),
    );
    let mut bench = Bench::new(&[("Cargo.lock", &before)], &[("Cargo.lock", &after)]).await;
    let project = bench.project(None);
    let (audit, _) = bench.verify(&project, Kind::DependencyAudit).await;
    assert_eq!(audit.evidence.status, Status::Skipped);
    assert!(audit.evidence.reason.unwrap().contains("OSV"));
    let database = bench.root.path().join("osv");
    write(&database, &[("a/X-1.json", &record("X-1", "old", "2.0.0"))]);
    bench.context.vulnerabilities = Some(database.clone());
    let (audit, results) = bench.verify(&project, Kind::DependencyAudit).await;
    assert_eq!(audit.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(audit.evidence.details["older"], 1);
    write(
        &database,
        &[
            ("X-2.json", &record("X-2", "new", "0.2.0")),
            ("bad.json", "{"),
        ],
    );
    let (audit, results) = bench.verify(&project, Kind::DependencyAudit).await;
    assert_eq!(audit.evidence.status, Status::Failed, "{results:#?}");
    assert_eq!(audit.facts.new_vulnerabilities, ["X-2 in new"]);
    let notes = audit.evidence.details["notes"].to_string();
    assert!(notes.contains("bad.json"), "{notes}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_audit_against_nothing_is_an_error() {
    let lock = lock(&[("a", "1.0.0")]);
    let mut bench = Bench::new(&[], &[("Cargo.lock", &lock)]).await;
    let project = bench.project(None);
    let job = project.of_kind(Kind::DependencyAudit).next().unwrap();
    for (name, file) in [
        ("missing", None),
        ("empty", Some("readme.txt")),
        ("bad", Some("a.json")),
    ] {
        let path = bench.root.path().join(name);
        if let Some(file) = file {
            write(&path, &[(file, "{")]);
        }
        bench.context.vulnerabilities = Some(path);
        let error = run_check(job, Side::Head, 1, &bench.context)
            .await
            .unwrap_err();
        let problem = matrix_core::Problem::from(error);
        assert_eq!(problem.code.text, "VERIFY-0005", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bills_of_materials_name_what_is_new() {
    let (before, after) = (
        lock(&[("a", "1.0.0")]),
        lock(&[("a", "1.1.0"), ("b", "1.0.0")]),
    );
    let bench = Bench::new(&[("Cargo.lock", &before)], &[("Cargo.lock", &after)]).await;
    let project = bench.project(None);
    let job = project.of_kind(Kind::Sbom).next().unwrap();
    let checked = run_check(job, Side::Head, 1, &bench.context).await.unwrap();
    let names: Vec<_> = checked
        .produced
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(names, ["sbom.cdx.json", "sbom.spdx.json"]);
    let (bill, _) = bench.verify(&project, Kind::Sbom).await;
    assert_eq!(bill.evidence.status, Status::Passed);
    let new: Vec<_> = bill
        .facts
        .new_dependencies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(new, ["a 1.1.0 (cargo)", "b 1.0.0 (cargo)"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_spoils_or_drops_its_lock_file_does_not_slip_through() {
    let lock = lock(&[("a", "1.0.0")]);
    let bench = Bench::new(
        &[("Cargo.lock", &lock)],
        &[("Cargo.lock", "version = 99\n[[")],
    )
    .await;
    let (bill, results) = bench.verify(&bench.project(None), Kind::Sbom).await;
    assert_eq!(bill.evidence.status, Status::Failed, "{results:#?}");
    let bench = Bench::new(&[("Cargo.lock", &lock)], &[]).await;
    let project = bench.project(None);
    assert_eq!(project.checks_removed, ["Cargo.lock"]);
    let (bill, _) = bench.verify(&project, Kind::Sbom).await;
    assert_eq!(bill.evidence.status, Status::Skipped);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scan_reads_the_lines_that_the_diff_adds() {
    let diff = "diff --git a/test_a.py b/test_a.py\n--- a/test_a.py\n+++ b/test_a.py\n@@ -1 +1,2 @@\n-x = 1\n+x = eval(text)\n+# pytest.skip('x')\n";
    let mut bench = Bench::new(&[], &[]).await;
    bench.context.diff = Arc::from(diff.as_bytes());
    let project: Project = bench.project(None);
    let (scan, results) = bench.verify(&project, Kind::SecurityScan).await;
    assert_eq!(scan.evidence.status, Status::Failed, "{results:#?}");
    assert_eq!(scan.facts.dangerous_constructs, 1);
    assert_eq!(scan.facts.skips_test, ["test_a.py:2"]);
    assert_eq!(weakening(diff.as_bytes()).skips_added, ["test_a.py:2"]);
    bench.context.diff = Arc::from(&b""[..]);
    let (scan, _) = bench.verify(&project, Kind::SecurityScan).await;
    assert_eq!(scan.evidence.status, Status::Passed);
}
