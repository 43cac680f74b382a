//! Dependencies that are fetched once and then seen offline.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex};

use matrix_changes::verify::{Ecosystem, Provision};
use matrix_evidence::{Kind, Status};

use crate::bench::Bench;

/// What an index has, by path, with its media type.
pub(crate) type Pages = BTreeMap<String, (String, Vec<u8>)>;

/// A package index on this machine that answers from memory and remembers what it was asked.
pub(crate) struct Index {
    pub(crate) port: u16,
    pub(crate) asked: Arc<Mutex<Vec<String>>>,
    /// What it has, which may change.
    pub(crate) files: Arc<Mutex<Pages>>,
}

impl Index {
    pub(crate) fn serve(files: BTreeMap<String, (String, Vec<u8>)>) -> Self {
        Self::listen(TcpListener::bind("127.0.0.1:0").unwrap(), files)
    }

    pub(crate) fn listen(
        listener: TcpListener,
        files: BTreeMap<String, (String, Vec<u8>)>,
    ) -> Self {
        let port = listener.local_addr().unwrap().port();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let files = Arc::new(Mutex::new(files));
        let (seen, there) = (Arc::clone(&asked), Arc::clone(&files));
        std::thread::spawn(move || {
            for connection in listener.incoming().take(100) {
                answer(connection.unwrap(), &there, &seen);
            }
        });
        Self { port, asked, files }
    }
}

fn answer(connection: TcpStream, files: &Mutex<Pages>, asked: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(connection);
    let mut request = String::new();
    if reader.read_line(&mut request).unwrap_or(0) == 0 {
        return;
    }
    loop {
        let mut header = String::new();
        if reader.read_line(&mut header).unwrap_or(0) <= 2 {
            break;
        }
    }
    let target = request.split(' ').nth(1).unwrap_or_default();
    let path = match target.split_once("://") {
        Some((_, rest)) => &rest[rest.find('/').unwrap_or(rest.len())..],
        None => target,
    };
    asked.lock().unwrap().push(path.to_owned());
    let nothing = (String::from("text/plain"), Vec::new());
    let found = files.lock().unwrap().get(path).cloned();
    let (status, (kind, body)) = match found {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", nothing),
    };
    let mut connection = reader.into_inner();
    let head = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    );
    let _ = connection.write_all(head.as_bytes());
    let _ = connection.write_all(&body);
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::open(path)
        .unwrap()
        .read_to_end(&mut bytes)
        .unwrap();
    bytes
}

const CARGO: &str = "[package]\nname = \"round\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\nhex = \"0.4\"\n";

/// The lock file of a crate that needs one small crate, with the digest our own lock file has.
fn cargo_lock() -> String {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let ours = String::from_utf8(read(&ours)).unwrap();
    let package = ours
        .split("\n\n")
        .find(|part| part.contains("[[package]]\nname = \"hex\"\n"))
        .unwrap()
        .trim();
    format!(
        "version = 4\n\n{package}\n\n[[package]]\nname = \"round\"\nversion = \"0.1.0\"\ndependencies = [\n \"hex\",\n]\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn crates_that_are_on_the_machine_are_taken_without_network() {
    let source = "#[test]\nfn uses_it() { assert_eq!(hex::encode(\"a\"), \"61\"); }\n";
    let lock = cargo_lock();
    let files = [
        ("Cargo.toml", CARGO),
        ("Cargo.lock", &lock),
        ("src/lib.rs", source),
    ];
    let mut bench = Bench::new(&files, &files).await;
    let preparer = bench.preparer(&[]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert!(
        matches!(prepared.get(Ecosystem::Cargo, ""), Provision::Ready(_)),
        "{prepared:#?}"
    );
    // The second time it is only looked up.
    let again = preparer.prepare(&bench.context.base.path).await.unwrap();
    assert_eq!(prepared, again);
    bench.context.base_prepared = again;
    bench.context.head_prepared = prepared;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crate_that_is_not_what_the_lock_file_says_is_not_taken() {
    let lock = cargo_lock();
    let start = lock.find("checksum = \"").unwrap() + 12;
    let other = if lock[start..].starts_with('0') {
        "1"
    } else {
        "0"
    };
    let mut lock = lock;
    lock.replace_range(start..=start, other);
    let files = [
        ("Cargo.toml", CARGO),
        ("Cargo.lock", &lock),
        ("src/lib.rs", ""),
    ];
    let mut bench = Bench::new(&files, &files).await;
    // A cargo home that knows no index: nothing may be reached.
    let home = tempfile::tempdir().unwrap();
    let preparer = bench.preparer(&[("CARGO_HOME", home.path().to_str().unwrap())]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert!(
        matches!(
            prepared.get(Ecosystem::Cargo, ""),
            Provision::Unavailable { .. }
        ),
        "{prepared:#?}"
    );
    bench.context.head_prepared = prepared;
    let (tests, _) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert!(tests.facts.tests_could_not_run.is_some());
}

/// A wheel and a source archive whose building would leave a trace.
fn python_index(root: &Path) -> BTreeMap<String, (String, Vec<u8>)> {
    let script = r"
import sys, zipfile
name = sys.argv[1] + '/ledger_lib-1.0-py3-none-any.whl'
with zipfile.ZipFile(name, 'w') as wheel:
    wheel.writestr('ledger_lib.py', 'def total(x):\n    return sum(x)\n')
    wheel.writestr('ledger_lib-1.0.dist-info/METADATA', 'Metadata-Version: 2.1\nName: ledger-lib\nVersion: 1.0\n')
    wheel.writestr('ledger_lib-1.0.dist-info/WHEEL', 'Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n')
    wheel.writestr('ledger_lib-1.0.dist-info/RECORD', 'ledger_lib.py,,\nledger_lib-1.0.dist-info/METADATA,,\nledger_lib-1.0.dist-info/WHEEL,,\nledger_lib-1.0.dist-info/RECORD,,\n')
";
    let status = Command::new("python3")
        .args(["-c", script])
        .arg(root)
        .status()
        .unwrap();
    assert!(status.success());
    let wheel = "ledger_lib-1.0-py3-none-any.whl";
    let page =
        format!("<!DOCTYPE html><html><body><a href=\"/files/{wheel}\">{wheel}</a></body></html>");
    BTreeMap::from([
        (
            "/simple/ledger-lib/".into(),
            ("text/html".into(), page.into_bytes()),
        ),
        (
            format!("/files/{wheel}"),
            ("application/zip".into(), read(&root.join(wheel))),
        ),
    ])
}

#[tokio::test(flavor = "multi_thread")]
async fn wheels_come_through_the_one_allowed_way_and_tests_see_them_offline() {
    let test = "import unittest\nfrom ledger_lib import total\n\nclass T(unittest.TestCase):\n    def test_sum(self):\n        self.assertEqual(total([1, 2]), 3)\n";
    let files = [
        (
            "requirements.txt",
            "ledger-lib==1.0\n--index-url http://127.0.0.1:1/evil\n-e .\n",
        ),
        ("setup.py", "open('/work/executed', 'w')\n"),
        ("test_ledger.py", test),
    ];
    let mut bench = Bench::new(&files, &files).await;
    let index = Index::serve(python_index(bench.root.path()));
    let address = format!("http://someone:secret@127.0.0.1:{}/simple/", index.port);
    let preparer = bench.preparer(&[
        ("PIP_INDEX_URL", &address),
        ("PIP_FIND_LINKS", "/nonexistent"),
    ]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert!(
        matches!(prepared.get(Ecosystem::Python, ""), Provision::Ready(_)),
        "{prepared:#?}"
    );
    assert!(
        !index.asked.lock().unwrap().is_empty(),
        "the index was not asked"
    );
    bench.context.head_prepared = prepared.clone();
    bench.context.base_prepared = prepared;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_host_that_is_not_configured_is_not_reached() {
    let forbidden = Index::serve(BTreeMap::new());
    let page = format!(
        "<!DOCTYPE html><a href=\"http://127.0.0.1:{}/files/ledger_lib-1.0-py3-none-any.whl\">x</a>",
        forbidden.port
    );
    let pages = [(
        "/simple/ledger-lib/".into(),
        ("text/html".into(), page.into_bytes()),
    )];
    let index = Index::serve(pages.into());
    let files = [
        ("requirements.txt", "ledger-lib==1.0\n"),
        ("test_a.py", "import ledger_lib\n"),
    ];
    let bench = Bench::new(&files, &files).await;
    let address = format!("http://127.0.0.1:{}/simple/", index.port);
    let preparer = bench.preparer(&[("PIP_INDEX_URL", &address)]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    let Provision::Unavailable { reason } = prepared.get(Ecosystem::Python, "") else {
        panic!("it was fetched: {prepared:#?}");
    };
    assert!(reason.contains("could not be fetched"), "{reason}");
    assert!(
        forbidden.asked.lock().unwrap().is_empty(),
        "the other host was reached"
    );
}

/// A package with an install script, as npm packs it, and its digest as npm writes it.
pub(crate) fn node_package(root: &Path) -> (Vec<u8>, String) {
    let package = root.join("package");
    crate::bench::write(
        &package,
        &[
            (
                "package.json",
                r#"{"name":"ledger-lib","version":"1.0.0","main":"i.js","scripts":{"install":"touch ran"}}"#,
            ),
            (
                "i.js",
                "exports.total = (x) => x.reduce((a, b) => a + b, 0);\n",
            ),
        ],
    );
    let tarball = root.join("p.tgz");
    let status = Command::new("tar")
        .args(["-czf"])
        .arg(&tarball)
        .arg("-C")
        .arg(root)
        .arg("package")
        .status()
        .unwrap();
    assert!(status.success());
    let hash = Command::new("node")
        .args(["-p", "'sha512-' + require('crypto').createHash('sha512').update(require('fs').readFileSync(process.argv[1])).digest('base64')"])
        .arg(&tarball)
        .output()
        .unwrap();
    let hash = String::from_utf8(hash.stdout).unwrap();
    (read(&tarball), hash.trim().to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn packages_of_node_come_without_running_their_scripts() {
    let (tarball, hash) = {
        let root = tempfile::tempdir().unwrap();
        node_package(root.path())
    };
    let files = [(
        "/ledger-lib/-/ledger-lib-1.0.0.tgz".into(),
        ("application/gzip".into(), tarball),
    )];
    let index = Index::serve(files.into());
    let address = format!("http://127.0.0.1:{}/", index.port);
    let lock = serde_json::json!({
        "name": "ledger", "lockfileVersion": 3, "requires": true,
        "packages": {
            "": {"name": "ledger", "version": "1.0.0", "dependencies": {"ledger-lib": "1.0.0"}},
            "node_modules/ledger-lib": {
                "version": "1.0.0", "integrity": hash, "hasInstallScript": true,
                "resolved": format!("{address}ledger-lib/-/ledger-lib-1.0.0.tgz")
            }
        }
    })
    .to_string();
    let files = [
        (
            "package.json",
            r#"{"name":"ledger","version":"1.0.0","dependencies":{"ledger-lib":"1.0.0"},"scripts":{"test":"node --test"}}"#,
        ),
        ("package-lock.json", &lock),
        (
            "a.test.js",
            "const test = require('node:test'); const assert = require('assert');\nconst fs = require('fs');\ntest('adds', () => assert.strictEqual(require('ledger-lib').total([1, 2]), 3));\ntest('no script ran', () => assert(!fs.existsSync('node_modules/ledger-lib/ran')));\n",
        ),
    ];
    let mut bench = Bench::new(&files, &files).await;
    let preparer = bench.preparer(&[("npm_config_registry", &address)]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert!(
        matches!(prepared.get(Ecosystem::Node, ""), Provision::Ready(_)),
        "{prepared:#?}"
    );
    bench.context.head_prepared = prepared.clone();
    bench.context.base_prepared = prepared;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    assert_eq!(tests.evidence.details["passed"], 2, "{results:#?}");
}
