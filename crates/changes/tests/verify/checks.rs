//! Checks of small repositories.

use std::sync::Arc;

use matrix_changes::verify::{
    Context, Executor, NotExecuted, ProjectConfig, Side, State, Toolchains, VerifyError, run_check,
};
use matrix_evidence::{Kind, Status};
use matrix_sandbox::spec::{Outcome, OutputSink, SandboxSpec};
use tokio::sync::watch;

use crate::bench::Bench;

const MANIFEST: &str = "[package]\nname = \"round\"\nversion = \"0.1.0\"\nedition = \"2021\"\n";
const TESTS: &str = "#[cfg(test)]\nmod tests {\n    #[test]\n    fn half() { assert_eq!(super::round(5), 0); }\n    #[test]\n    fn whole() { assert_eq!(super::round(10), 10); }\n}\n";

fn library(body: &str) -> String {
    format!("//! Rounds.\n\n/// Rounds.\npub fn round(x: i64) -> i64 {{ {body} }}\n{TESTS}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rust_change_that_fixes_a_test() {
    let (red, green) = (library("x"), library("x / 10 * 10"));
    let bench = Bench::new(
        &[("Cargo.toml", MANIFEST), ("src/lib.rs", &red)],
        &[("Cargo.toml", MANIFEST), ("src/lib.rs", &green)],
    )
    .await;
    let project = bench.project(None);
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    assert_eq!(
        tests.evidence.status,
        Status::Passed,
        "{tests:#?} {results:#?}"
    );
    assert_eq!(
        tests.facts.fixes_failing_test,
        ["round src/lib.rs::tests::half"]
    );
    assert_eq!(tests.evidence.details["passed"], 2);
    let (build, results) = bench.verify(&project, Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Passed, "{results:#?}");
    let (lint, results) = bench.verify(&project, Kind::Lint).await;
    assert_eq!(lint.evidence.status, Status::Passed, "{results:#?}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn rust_code_that_does_not_compile_fails_every_kind() {
    let (good, bad) = (library("x / 10 * 10"), library("x / \"ten\""));
    let bench = Bench::new(
        &[("Cargo.toml", MANIFEST), ("src/lib.rs", &good)],
        &[("Cargo.toml", MANIFEST), ("src/lib.rs", &bad)],
    )
    .await;
    let project = bench.project(None);
    for kind in [Kind::TestResults, Kind::BuildLog, Kind::Lint] {
        let (judged, results) = bench.verify(&project, kind).await;
        assert_eq!(
            judged.evidence.status,
            Status::Failed,
            "{kind}: {results:#?}"
        );
        assert!(judged.evidence.reason.is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_python_change_with_the_standard_library_alone() {
    let test = "import unittest\nfrom ledger import total\n\nclass T(unittest.TestCase):\n    def test_sum(self):\n        self.assertEqual(total([1, 2]), 3)\n    @unittest.skip('later')\n    def test_later(self):\n        pass\n";
    let bench = Bench::new(
        &[
            ("ledger.py", "def total(x):\n    return 0\n"),
            ("tests/test_ledger.py", test),
        ],
        &[
            ("ledger.py", "def total(x):\n    return sum(x)\n"),
            ("tests/test_ledger.py", test),
        ],
    )
    .await;
    let project = bench.project(None);
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.facts.fixes_failing_test, ["test_ledger.T::test_sum"]);
    assert_eq!(tests.evidence.details["skipped"], 1);
    let (lint, results) = bench.verify(&project, Kind::Lint).await;
    assert_eq!(lint.evidence.status, Status::Passed, "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_change_with_the_runner_of_node() {
    let package = r#"{"name":"ledger","version":"1.0.0","scripts":{"test":"node --test"}}"#;
    let test = "const test = require('node:test'); const assert = require('assert');\nconst { total } = require('../ledger.js');\ntest('adds', () => assert.strictEqual(total([1, 2]), 3));\ntest('empty', () => assert.strictEqual(total([]), 0));\n";
    let bench = Bench::new(
        &[
            ("package.json", package),
            ("ledger.js", "exports.total = () => 0;\n"),
            ("test/a.test.js", test),
        ],
        &[
            ("package.json", package),
            (
                "ledger.js",
                "exports.total = (x) => x.reduce((a, b) => a + b, 0);\n",
            ),
            ("test/a.test.js", test),
        ],
    )
    .await;
    let project = bench.project(None);
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.facts.fixes_failing_test.len(), 1, "{results:#?}");
    assert_eq!(tests.evidence.details["passed"], 2, "{results:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn checks_of_the_configuration_run_with_their_reports() {
    let config = "checks:\n  - {name: unit, kind: test_results, run: ./test.sh}\n  - {name: style, kind: lint, run: '! grep -rn TODO src'}\n  - {name: pack, kind: build_log, run: 'mkdir dist && cp src/a dist/a.bin'}\nartifacts: ['dist/*.bin']\n";
    let script = "#!/bin/sh\necho '<testsuite><testcase classname=\"a\" name=\"b\"/></testsuite>' > $MATRIX_REPORT_DIR/r.xml\n";
    let bench = Bench::new(
        &[("matrix.yaml", config), ("test.sh", script), ("src/a", "x")],
        &[
            ("matrix.yaml", config),
            ("test.sh", script),
            ("src/a", "TODO"),
        ],
    )
    .await;
    for side in ["base", "head"] {
        use std::os::unix::fs::PermissionsExt as _;
        let script = bench.root.path().join(side).join("test.sh");
        std::fs::set_permissions(script, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut bench = bench;
    let config = ProjectConfig::parse(config.as_bytes()).unwrap();
    bench.context.artifacts.clone_from(&config.artifacts);
    let project = bench.project(Some(&config));
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.evidence.details["passed"], 1);
    let (lint, results) = bench.verify(&project, Kind::Lint).await;
    assert_eq!(lint.evidence.status, Status::Failed, "{results:#?}");
    let (build, results) = bench.verify(&project, Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(build.outputs.len(), 1);
    assert_eq!(build.outputs[0].name, "dist/a.bin");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endless_test_and_a_flood_are_ended_and_fail() {
    let config = "checks:\n  - {name: endless, kind: test_results, run: 'while :; do :; done', timeout: 1}\n";
    let bench = Bench::new(&[], &[]).await;
    let config = ProjectConfig::parse(config.as_bytes()).unwrap();
    let (tests, results) = bench
        .verify(&bench.project(Some(&config)), Kind::TestResults)
        .await;
    assert_eq!(tests.evidence.status, Status::Failed);
    assert!(
        matches!(&results[1].state, State::Broken { reason } if reason.contains("1 s")),
        "{results:#?}"
    );
    let mut bench = bench;
    bench.context.limits.output_bytes = 1 << 20;
    let flood =
        ProjectConfig::parse(b"checks: [{name: flood, kind: test_results, run: 'yes'}]").unwrap();
    let (tests, results) = bench
        .verify(&bench.project(Some(&flood)), Kind::TestResults)
        .await;
    assert_eq!(tests.evidence.status, Status::Failed);
    assert!(
        matches!(&results[1].state, State::Broken { reason } if reason.contains("printed")),
        "{results:#?}"
    );
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn red_then_green_is_flaky() {
    // Each attempt has its own copy, so what tells them apart is drawn by lot: two hundred tests,
    // each red one time in two. That none is red at first and green when run again happens once
    // in 10^24 runs.
    let script = "i=0\nod -An -v -N200 -tu1 -w1 /dev/urandom > lots\nwhile read n; do i=$((i + 1)); if [ $((n % 2)) = 0 ]; then b=; else b='<failure/>'; fi; cases=\"$cases<testcase name=\\\"t$i\\\">$b</testcase>\"; done < lots\necho \"<testsuite>$cases</testsuite>\" > $MATRIX_REPORT_DIR/r.xml\n";
    let bench = Bench::new(&[], &[("test.sh", script)]).await;
    let config = "checks: [{name: lot, kind: test_results, run: 'if [ -f test.sh ]; then sh test.sh; else echo \"<testsuite/>\" > $MATRIX_REPORT_DIR/r.xml; fi'}]\n";
    let config = ProjectConfig::parse(config.as_bytes()).unwrap();
    let (tests, results) = bench
        .verify(&bench.project(Some(&config)), Kind::TestResults)
        .await;
    assert_eq!(results.len(), 3, "{results:#?}");
    assert!(!tests.facts.flaky.is_empty(), "{tests:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn base_results_are_kept_and_a_damaged_one_is_made_again() {
    let mut bench = Bench::new(&[("a", "")], &[("a", "")]).await;
    bench.context.cache = Some(bench.root.path().join("cache"));
    let config =
        ProjectConfig::parse(b"checks: [{name: t, kind: test_results, run: 'true'}]").unwrap();
    let project = bench.project(Some(&config));
    let job = project.of_kind(Kind::TestResults).next().unwrap();
    let cached = async |context: &Context| {
        let checked = run_check(job, Side::Base, 1, context).await.unwrap();
        assert_eq!(checked.result.state, State::Completed);
        checked.result.cached
    };
    assert!(!cached(&bench.context).await);
    assert!(cached(&bench.context).await);
    let kept = bench.root.path().join("cache/base-results");
    let entry = std::fs::read_dir(kept)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    for file in std::fs::read_dir(entry).unwrap() {
        let path = file.unwrap().path();
        if path.extension().is_none() {
            std::fs::write(path, "damaged").unwrap();
        }
    }
    assert!(!cached(&bench.context).await, "a damaged result was taken");
    bench.context.base.id = "other".into();
    assert!(
        !cached(&bench.context).await,
        "another tree's result was taken"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn cancelling_ends_a_check() {
    let bench = Bench::new(&[], &[]).await;
    let config =
        ProjectConfig::parse(b"checks: [{name: t, kind: test_results, run: 'echo up; sleep 600'}]")
            .unwrap();
    let project = bench.project(Some(&config));
    let (started, mut has_started) = watch::channel(false);
    let mut context = bench.context.clone();
    context.log = Some(Arc::new(move |_, _: &[u8]| {
        let _ = started.send(true);
    }));
    let job = project.of_kind(Kind::TestResults).next().unwrap().clone();
    let running = tokio::spawn(async move { run_check(&job, Side::Head, 1, &context).await });
    has_started.changed().await.unwrap();
    bench.cancel.send(true).unwrap();
    assert!(matches!(
        running.await.unwrap(),
        Err(VerifyError::Cancelled { .. })
    ));
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_toolchain_skips_and_says_what_to_install() {
    let mut bench = Bench::new(&[("go.mod", "module a\n")], &[("go.mod", "module a\n")]).await;
    bench.context.toolchains = Toolchains::default();
    let (tests, _) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Skipped);
    assert!(
        tests
            .facts
            .tests_could_not_run
            .as_ref()
            .unwrap()
            .contains("install")
    );
    assert!(!tests.facts.no_tests_found);
}

#[tokio::test(flavor = "multi_thread")]
async fn artifacts_of_a_repository_without_build_are_its_own_files() {
    let files = [("src/a.js", "a"), ("src/b.txt", "b")];
    let mut bench = Bench::new(&files, &files).await;
    let config = ProjectConfig::parse(b"artifacts: ['src/*.js']").unwrap();
    bench.context.artifacts.clone_from(&config.artifacts);
    let project = bench.project(Some(&config));
    let (build, results) = bench.verify(&project, Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Skipped, "{results:#?}");
    let names: Vec<_> = build
        .outputs
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(names, ["src/a.js"]);
    bench.context.artifacts = vec![String::from("dist/*")];
    let (build, _) = bench.verify(&project, Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Failed);
}

struct Refuses;

#[async_trait::async_trait]
impl Executor for Refuses {
    async fn execute(
        &self,
        _: SandboxSpec,
        _: OutputSink,
        _: watch::Receiver<bool>,
    ) -> Result<Outcome, NotExecuted> {
        Err(NotExecuted {
            reason: String::from("no namespaces"),
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_sandbox_nothing_is_learnt_and_nothing_runs() {
    let mut bench = Bench::new(&[], &[]).await;
    bench.context.executor = Arc::new(Refuses);
    let config = b"checks: [{name: t, kind: test_results, run: 'true'}]";
    let project = bench.project(Some(&ProjectConfig::parse(config).unwrap()));
    let job = project.of_kind(Kind::TestResults).next().unwrap();
    let error = run_check(job, Side::Head, 1, &bench.context)
        .await
        .unwrap_err();
    let problem = matrix_core::Problem::from(error);
    assert_eq!(problem.code.text, "VERIFY-0002");
    assert!(problem.detail.contains("no namespaces"), "{problem}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_check_leaves_behind_is_neither_followed_nor_kept() {
    let run = "ln -s /etc/passwd $MATRIX_REPORT_DIR/a.xml; mkfifo $MATRIX_REPORT_DIR/b.xml; \
               ln -s / out; mkdir -p locked/deep dist; chmod 000 locked; ln -s /etc/passwd dist/a; \
               echo b > dist/b";
    let config = serde_json::json!({
        "checks": [
            {"name": "left", "kind": "test_results", "run": run},
            {"name": "left-build", "kind": "build_log", "run": run},
        ],
        "artifacts": ["dist/*"],
    });
    let mut bench = Bench::new(&[], &[]).await;
    let config = ProjectConfig::parse(config.to_string().as_bytes()).unwrap();
    bench.context.artifacts.clone_from(&config.artifacts);
    let project = bench.project(Some(&config));
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    // No report counted, so the exit code is the one case.
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.evidence.details["passed"], 1);
    let (build, results) = bench.verify(&project, Kind::BuildLog).await;
    let names: Vec<_> = build
        .outputs
        .iter()
        .map(|file| file.name.as_str())
        .collect();
    assert_eq!(names, ["dist/b"], "{results:#?}");
    bench.nothing_is_left();
}
