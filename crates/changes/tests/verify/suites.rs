//! Suites of other shapes: TAP from a shell, and more tests than are named.

use matrix_changes::verify::{Ecosystem, Prepared, Provision, Ready};
use matrix_evidence::{Kind, Status};
use matrix_sandbox::spec::{Access, Mount};

use crate::bench::{Bench, write};

#[tokio::test(flavor = "multi_thread")]
async fn each_test_point_of_a_shell_suite_is_a_case() {
    let makefile = "test:\n\t@for t in t/*.sh; do echo \"$$t ..\"; sh $$t || exit 1; done\n";
    let first = "echo 'ok 1 - adds'\necho 'ok 2 - rounds'\necho 1..2\n";
    let second = |outcome: &str| {
        format!(
            "echo '    ok 1 - inner'\necho '    1..1'\necho '{outcome} 1 - prints'\necho 1..1\n"
        )
    };
    let (red, green) = (second("not ok"), second("ok"));
    let files = |second| {
        [
            ("Makefile", makefile),
            ("t/a.sh", first),
            ("t/b.sh", second),
        ]
    };
    let bench = Bench::new(&files(&red), &files(&green)).await;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.evidence.details["passed"], 4, "{results:#?}");
    assert_eq!(tests.facts.fixes_failing_test, ["t/b.sh::prints"]);

    let worse = Bench::new(&files(&green), &files(&red)).await;
    let (tests, _) = worse.verify(&worse.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Failed);
    assert_eq!(tests.facts.breaks_passing_test, ["t/b.sh::prints"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_tests_than_are_named_are_counted() {
    let script = |red: &str| {
        format!(
            "{{ echo '<testsuite>'; seq 1 60000 | sed 's|.*|<testcase name=\"t&\"/>|'; \
             echo '<testcase name=\"last\">{red}</testcase></testsuite>'; }} \
             > $MATRIX_REPORT_DIR/r.xml\n"
        )
    };
    let makefile = ("Makefile", "test:\n\tsh run.sh\n");
    let (red, green) = (script("<failure/>"), script(""));
    let files = |run| [makefile, ("run.sh", run)];
    let bench = Bench::new(&files(&red), &files(&green)).await;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(
        tests.evidence.status,
        Status::Passed,
        "{:?}",
        tests.evidence.reason
    );
    assert_eq!(tests.evidence.details["passed"], 60_001);
    assert_eq!(tests.facts.fixes_failing_test, ["last"]);
    assert!(tests.facts.removes_test.is_empty());
    let notes = tests.evidence.details["notes"].to_string();
    assert!(notes.contains("stand in the JUnit file"), "{notes}");
    // The file has them all.
    let named = results.last().unwrap();
    let junit = named
        .files
        .iter()
        .find(|file| file.media_type == "application/xml");
    assert!(junit.unwrap().size > 60_000 * 20, "{:?}", named.files);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_projects_own_sources_come_before_what_was_installed() {
    let test = "import unittest\nimport ledger\n\nclass T(unittest.TestCase):\n    def test_own(self):\n        self.assertEqual(ledger.WHERE, 'own')\n";
    let files = [
        ("src/ledger.py", "WHERE = 'own'\n"),
        ("tests/test_ledger.py", test),
    ];
    let mut bench = Bench::new(&files, &files).await;
    // A tool of the project needs the project itself, in the version that the index has.
    let installed = bench.root.path().join("installed");
    write(&installed, &[("ledger.py", "WHERE = 'index'\n")]);
    let target = std::path::PathBuf::from("/deps/python/site");
    let ready = Ready {
        mounts: vec![Mount {
            source: installed,
            target: target.clone(),
            access: Access::ReadOnly,
        }],
        env: [("PYTHONPATH".to_owned(), target.to_str().unwrap().to_owned())].into(),
        ..Ready::default()
    };
    let mut prepared = Prepared::default();
    prepared.insert(Ecosystem::Python, "", Provision::Ready(ready));
    bench.context.base_prepared = prepared.clone();
    bench.context.head_prepared = prepared;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
}
