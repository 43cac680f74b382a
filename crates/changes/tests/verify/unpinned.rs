//! Dependencies that nothing pins: those of libraries, and what builds a wheel.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use matrix_changes::verify::{Ecosystem, Provision, Side, State};
use matrix_evidence::{Kind, Status};

use crate::bench::{Bench, Files};
use crate::prepare::{Index, node_package, read};

/// npm's index of one package, and its archive; it lies at this address.
fn node_index(address: &str) -> BTreeMap<String, (String, Vec<u8>)> {
    let root = tempfile::tempdir().unwrap();
    let (tarball, hash) = node_package(root.path());
    let file = "/ledger-lib/-/ledger-lib-1.0.0.tgz";
    let page = serde_json::json!({
        "name": "ledger-lib",
        "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": {
            "name": "ledger-lib", "version": "1.0.0", "main": "i.js",
            "scripts": {"install": "touch ran"}, "hasInstallScript": true,
            "dist": {"tarball": format!("{address}{file}"), "integrity": hash},
        }},
    });
    BTreeMap::from([
        (
            "/ledger-lib".into(),
            ("application/json".into(), page.to_string().into_bytes()),
        ),
        (file.into(), ("application/gzip".into(), tarball)),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_library_without_a_lock_file_is_checked_and_that_is_said() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let index = Index::listen(listener, node_index(&address));
    let files = [
        (
            "package.json",
            r#"{"name":"ledger","version":"1.0.0","devDependencies":{"ledger-lib":"^1.0.0"},"scripts":{"test":"node --test"}}"#,
        ),
        (
            "a.test.js",
            "const test = require('node:test'); const assert = require('assert');\nconst fs = require('fs');\ntest('adds', () => assert.strictEqual(require('ledger-lib').total([1, 2]), 3));\ntest('no script ran', () => assert(!fs.existsSync('node_modules/ledger-lib/ran')));\n",
        ),
    ];
    let mut bench = Bench::new(&files, &files).await;
    let preparer = bench.preparer(&[("npm_config_registry", &format!("{address}/"))]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert!(
        matches!(prepared.get(Ecosystem::Node, ""), Provision::Ready(_)),
        "{prepared:#?} {:?}",
        index.asked
    );
    bench.context.head_prepared = prepared.clone();
    bench.context.base_prepared = prepared;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.evidence.details["passed"], 2, "{results:#?}");
    let notes = tests.evidence.details["notes"].to_string();
    assert!(
        notes.contains("no lock file pins the dependencies"),
        "{notes}"
    );
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_library_whose_dependencies_are_nowhere_could_not_run() {
    let index = Index::serve(BTreeMap::new());
    let files = [(
        "package.json",
        r#"{"name":"ledger","dependencies":{"ledger-lib":"^1.0.0"},"scripts":{"test":"node --test"}}"#,
    )];
    let mut bench = Bench::new(&files, &files).await;
    let address = format!("http://127.0.0.1:{}/", index.port);
    let preparer = bench.preparer(&[("npm_config_registry", &address)]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    bench.context.head_prepared = prepared.clone();
    bench.context.base_prepared = prepared;
    let (tests, _) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Skipped);
    let why = tests.facts.tests_could_not_run.unwrap();
    assert!(why.contains("could not be fetched"), "{why}");
    assert!(why.contains("E404"), "{why}");
}

/// An index with a build back end of one module, which writes a wheel of one file.
fn back_end_index(root: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let script = r"
import sys, zipfile
back_end = '''
import zipfile
def build_wheel(directory, config_settings=None, metadata_directory=None):
    name = 'mine-1.0-py3-none-any.whl'
    info = 'mine-1.0.dist-info/'
    with zipfile.ZipFile(directory + '/' + name, 'w') as wheel:
        wheel.write('mine.py')
        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\n')
        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: t\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        wheel.writestr(info + 'RECORD', '')
    return name
'''
with zipfile.ZipFile(sys.argv[1], 'w') as wheel:
    wheel.writestr('ledger_build.py', back_end)
    info = 'ledger_build-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: ledger-build\nVersion: 1.0\n')
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr(info + 'RECORD', 'ledger_build.py,,\n')
";
    let name = "ledger_build-1.0-py3-none-any.whl";
    let status = Command::new("python3")
        .args(["-c", script])
        .arg(root.join(name))
        .status();
    assert!(status.unwrap().success());
    let page = format!("<!DOCTYPE html><a href=\"/files/{name}\">{name}</a>");
    BTreeMap::from([
        (
            "/simple/ledger-build/".into(),
            ("text/html".into(), page.into_bytes()),
        ),
        (
            format!("/files/{name}"),
            ("application/zip".into(), read(&root.join(name))),
        ),
    ])
}

const BUILT: Files<'_> = &[
    (
        "pyproject.toml",
        "[project]\nname = 'mine'\nversion = '1.0'\n[build-system]\nrequires = ['ledger-build>=1']\nbuild-backend = 'ledger_build'\n",
    ),
    ("mine.py", "X = 1\n"),
    (
        "test_mine.py",
        "import importlib.util, unittest\n\nclass T(unittest.TestCase):\n    def test_only_the_build_sees_it(self):\n        self.assertIsNone(importlib.util.find_spec('ledger_build'))\n",
    ),
];

async fn with_index(index: &Index, files: Files<'_>) -> Bench {
    let mut bench = Bench::new(files, files).await;
    let address = format!("http://127.0.0.1:{}/simple/", index.port);
    let preparer = bench.preparer(&[("PIP_INDEX_URL", &address)]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    bench.context.head_prepared = prepared.clone();
    bench.context.base_prepared = prepared;
    bench
}

#[tokio::test(flavor = "multi_thread")]
async fn what_builds_a_wheel_is_fetched_for_the_build_alone() {
    let root = tempfile::tempdir().unwrap();
    let index = Index::serve(back_end_index(root.path()));
    let mut bench = with_index(&index, BUILT).await;
    bench.context.artifacts = vec![String::from("dist/*.whl")];
    let project = bench.project(None);
    let (build, results) = bench.verify(&project, Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(build.outputs[0].name, "dist/mine-1.0-py3-none-any.whl");
    let notes = build.evidence.details["notes"].to_string();
    assert!(notes.contains("built with ledger-build>=1"), "{notes}");
    let (tests, results) = bench.verify(&project, Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wheel_whose_build_requirements_are_nowhere_is_skipped() {
    let index = Index::serve(BTreeMap::new());
    let bench = with_index(&index, BUILT).await;
    let (build, results) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Skipped, "{results:#?}");
    let reason = build.evidence.reason.unwrap();
    assert!(
        reason.contains("the build requirements of python could not be fetched"),
        "{reason}"
    );
    assert!(reason.contains("ledger-build"), "{reason}");
    assert_eq!(build.evidence.details["commands"], serde_json::json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wheel_that_cannot_be_built_is_skipped_unless_the_base_was_or_it_is_promised() {
    let manifest = "[project]\nname = 'mine'\nversion = '1.0'\n[build-system]\nrequires = []\nbuild-backend = 'own'\nbackend-path = ['.']\n";
    let lacking = "def build_wheel(*a, **k):\n    raise SystemExit(\"error: command 'gcc' failed: No such file or directory\")\n";
    let files = [("pyproject.toml", manifest), ("own.py", lacking)];
    let index = Index::serve(BTreeMap::new());
    let mut bench = with_index(&index, &files).await;
    let (build, results) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Skipped, "{results:#?}");
    let reason = build.evidence.reason.unwrap();
    assert!(reason.contains("cannot be built here"), "{reason}");
    bench.context.artifacts = vec![String::from("dist/*.whl")];
    let (promised, _) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(promised.evidence.status, Status::Failed);
    assert!(reason.contains("command 'gcc' failed"), "{reason}");

    let wheel = "import zipfile\n\ndef build_wheel(directory, *a, **k):\n    name = 'mine-1.0-py3-none-any.whl'\n    with zipfile.ZipFile(directory + '/' + name, 'w') as wheel:\n        wheel.writestr('mine-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: mine\\nVersion: 1.0\\n')\n        wheel.writestr('mine-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\\nTag: py3-none-any\\n')\n    return name\n";
    let base = [("pyproject.toml", manifest), ("own.py", wheel)];
    let bench = Bench::new(&[("own.py", lacking)], &files).await;
    let (new, _) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(
        new.evidence.status,
        Status::Failed,
        "a new build that does not work"
    );
    let bench = Bench::new(&base, &files).await;
    let (build, results) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Failed, "{results:#?}");
    let reason = build.evidence.reason.unwrap();
    assert!(reason.contains("the base could be built"), "{reason}");
}

/// Whether anything of the index was asked that no plain requirement names.
fn asked_for(index: &Index, name: &str) -> bool {
    let asked = index.asked.lock().unwrap();
    asked.iter().any(|path| path.contains(name))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_build_requires_cannot_give_pip_options() {
    let root = tempfile::tempdir().unwrap();
    let index = Index::serve(back_end_index(root.path()));
    for more in [
        r#""ledger-build #\n--no-binary=ledger-source\nledger-source""#,
        r#""ledger-build #\u2028--no-binary=ledger-source\u2028ledger-source""#,
        r#""ledger-build ; python_version > '3'\n--no-binary=ledger-source\nledger-source""#,
    ] {
        let manifest = BUILT[0].1.replace(
            "['ledger-build>=1']",
            &format!("['ledger-build>=1', {more}]"),
        );
        let files = [("pyproject.toml", manifest.as_str()), BUILT[1]];
        let bench = with_index(&index, &files).await;
        let (build, results) = bench.verify(&bench.project(None), Kind::BuildLog).await;
        assert_eq!(build.evidence.status, Status::Skipped, "{results:#?}");
        let reason = build.evidence.reason.unwrap();
        assert!(reason.contains("no plain requirement"), "{more}: {reason}");
        assert!(!reason.contains(['\n', '\u{2028}']), "{more}: {reason}");
        assert!(!asked_for(&index, "ledger-source"), "{more}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_project_depends_on_cannot_give_pip_options() {
    let root = tempfile::tempdir().unwrap();
    let index = Index::serve(back_end_index(root.path()));
    for more in [
        r#""ledger-build ; python_version > '3'\n--no-binary=ledger-source\nledger-source""#,
        r#""ledger-build ; python_version > '3'\u2028--no-binary=ledger-source\u2028ledger-source""#,
    ] {
        let manifest = format!(
            "[project]\nname = 'mine'\nversion = '1.0'\ndependencies = ['ledger-build', {more}]\n"
        );
        let files = [("pyproject.toml", manifest.as_str()), BUILT[1]];
        let bench = with_index(&index, &files).await;
        let Provision::Ready(ready) = bench.context.head_prepared.get(Ecosystem::Python, "") else {
            panic!("{more}: {:#?}", bench.context.head_prepared);
        };
        let notes = ready.notes.join("\n");
        assert!(notes.contains("left out: `ledger-build"), "{more}: {notes}");
        assert!(!asked_for(&index, "ledger-source"), "{more}");
    }
}

/// An index with a wheel that requires a source archive by its address, and that archive.
fn index_with_a_source(root: &Path, address: &str) -> BTreeMap<String, (String, Vec<u8>)> {
    let script = r"
import io, sys, tarfile, zipfile
root, address = sys.argv[1:]
with zipfile.ZipFile(root + '/ledger_lib-1.0-py3-none-any.whl', 'w') as wheel:
    wheel.writestr('ledger_lib.py', '')
    info = 'ledger_lib-1.0.dist-info/'
    wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\nName: ledger-lib\nVersion: 1.0\nRequires-Dist: ledger-source @ %s/files/ledger-source-1.0.tar.gz\n' % address)
    wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr(info + 'RECORD', 'ledger_lib.py,,\n')
with tarfile.open(root + '/ledger-source-1.0.tar.gz', 'w:gz') as archive:
    member = tarfile.TarInfo('ledger-source-1.0/setup.py')
    content = b'raise SystemExit(1)\n'
    member.size = len(content)
    archive.addfile(member, io.BytesIO(content))
";
    let status = Command::new("python3")
        .args(["-c", script])
        .arg(root)
        .arg(address)
        .status();
    assert!(status.unwrap().success());
    let wheel = "ledger_lib-1.0-py3-none-any.whl";
    let source = "ledger-source-1.0.tar.gz";
    let page = format!("<!DOCTYPE html><a href=\"/files/{wheel}\">{wheel}</a>");
    let file = |name: &str| {
        let kind = String::from("application/octet-stream");
        (format!("/files/{name}"), (kind, read(&root.join(name))))
    };
    BTreeMap::from([
        (
            "/simple/ledger-lib/".into(),
            ("text/html".into(), page.into_bytes()),
        ),
        file(wheel),
        file(source),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_source_archive_that_a_wheel_requires_is_not_built() {
    let root = tempfile::tempdir().unwrap();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let index = Index::listen(listener, index_with_a_source(root.path(), &address));
    let files = [("requirements.txt", "ledger-lib\n"), ("test_a.py", "")];
    let bench = with_index(&index, &files).await;
    let Provision::Unavailable { reason } = bench.context.head_prepared.get(Ecosystem::Python, "")
    else {
        panic!("{:#?}", bench.context.head_prepared);
    };
    assert!(asked_for(&index, "ledger-source"), "{:?}", index.asked);
    // The first thing that building an archive takes.
    assert!(!asked_for(&index, "setuptools"), "{:?}", index.asked);
    assert!(reason.contains("nothing is built"), "{reason}");
}

/// Base's wheel can be built; the change adds a requirement that is nowhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_whose_build_cannot_begin_fails_where_the_base_could_be_built() {
    let root = tempfile::tempdir().unwrap();
    let index = Index::serve(back_end_index(root.path()));
    let manifest = BUILT[0].1.replace(
        "['ledger-build>=1']",
        "['ledger-build>=1', 'no-such-package==9.9']",
    );
    let head = [("pyproject.toml", manifest.as_str()), BUILT[1], BUILT[2]];
    let mut bench = Bench::new(BUILT, &head).await;
    let address = format!("http://127.0.0.1:{}/simple/", index.port);
    let preparer = bench.preparer(&[("PIP_INDEX_URL", &address)]);
    let (base, head) = (&bench.context.base.path, &bench.context.head.path);
    let (base, head) = (
        preparer.prepare(base).await.unwrap(),
        preparer.prepare(head).await.unwrap(),
    );
    (bench.context.base_prepared, bench.context.head_prepared) = (base, head);
    let (build, results) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Failed, "{results:#?}");
    let reason = build.evidence.reason.unwrap();
    for part in ["no-such-package", "the base could be built"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_build_that_cannot_begin_fails_where_artifacts_are_promised() {
    let index = Index::serve(BTreeMap::new());
    let mut bench = with_index(&index, BUILT).await;
    bench.context.artifacts = vec![String::from("dist/*.whl")];
    let (build, results) = bench.verify(&bench.project(None), Kind::BuildLog).await;
    assert_eq!(build.evidence.status, Status::Failed, "{results:#?}");
    let reason = build.evidence.reason.unwrap();
    for part in ["could not be fetched", "matrix.yaml names artifacts of it"] {
        assert!(reason.contains(part), "{part}: {reason}");
    }
    let of_base = results.iter().find(|result| result.side == Side::Base);
    let state = &of_base.unwrap().state;
    assert!(matches!(state, State::NotRun { .. }), "{state:?}");
}
