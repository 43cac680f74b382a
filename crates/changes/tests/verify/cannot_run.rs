//! Checks that exist and cannot run: never passed, and never the change's fault.

use matrix_changes::verify::ProjectConfig;
use matrix_evidence::{Kind, Status};

use crate::bench::{Bench, Files};

const MAKEFILE: &str = "test:\n\tno-such-program --all\n";

async fn tests_of(files: Files<'_>, config: Option<&str>) -> (Status, String, Option<String>) {
    let bench = Bench::new(files, files).await;
    let config = config.map(|text| ProjectConfig::parse(text.as_bytes()).unwrap());
    let project = bench.project(config.as_ref());
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    let reason = tests.evidence.reason.clone().unwrap_or_default();
    assert!(!reason.is_empty(), "{results:#?}");
    bench.nothing_is_left();
    (
        tests.evidence.status,
        reason,
        tests.facts.tests_could_not_run,
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_is_not_there_did_not_run() {
    for (run, code) in [
        ("no-such-program --all", 127),
        ("./data.txt", 126),
        ("echo begun; exec no-such-program", 127),
    ] {
        let config = format!("checks: [{{name: t, kind: test_results, run: '{run}'}}]");
        let files = [("data.txt", "not a program\n")];
        let (status, reason, _) = tests_of(&files, Some(&config)).await;
        assert_eq!(status, Status::Failed, "{run}: {reason}");
        assert!(reason.contains("was not found"), "{run}: {reason}");
        assert!(reason.contains(&code.to_string()), "{run}: {reason}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_makefile_whose_program_is_missing_did_not_run() {
    let (status, reason, _) = tests_of(&[("Makefile", MAKEFILE)], None).await;
    assert_eq!(status, Status::Failed, "{reason}");
    assert!(reason.contains("was not found"), "{reason}");
    assert!(reason.contains("no-such-program"), "{reason}");
}

#[tokio::test(flavor = "multi_thread")]
async fn tests_that_all_end_in_an_error_before_they_begin_could_not_run() {
    let test = "import unittest\nimport no_such_module\n\nclass T(unittest.TestCase):\n    def test_sum(self):\n        pass\n";
    let (status, reason, could_not) = tests_of(&[("tests/test_a.py", test)], None).await;
    assert_eq!(status, Status::Skipped, "{reason}");
    assert!(reason.contains("no test was reached"), "{reason}");
    assert_eq!(could_not, Some(reason));
}
