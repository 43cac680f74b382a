//! Node packages whose dependencies are pinned elsewhere, or nowhere.

use std::collections::BTreeMap;

use matrix_changes::verify::{Ecosystem, Prepared, Provision, Ready};
use matrix_evidence::{Kind, Status};

use crate::bench::Bench;
use crate::prepare::{Index, node_package};

const TEST: &str = "const test = require('node:test'); const assert = require('assert');\ntest('adds', () => assert.strictEqual(require('ledger-lib').total([1, 2]), 3));\n";

/// An index of one package in these versions, the last of which is the newest.
struct Registry {
    index: Index,
    address: String,
    hash: String,
}

impl Registry {
    fn serve(versions: &[&str]) -> Self {
        let root = tempfile::tempdir().unwrap();
        let (tarball, hash) = node_package(root.path());
        let index = Index::serve(BTreeMap::new());
        let address = format!("http://127.0.0.1:{}", index.port);
        let archive = ("application/gzip".to_owned(), tarball);
        let mut files = index.files.lock().unwrap();
        files.insert("/p.tgz".into(), archive);
        drop(files);
        let registry = Self {
            index,
            address,
            hash,
        };
        registry.publish(versions);
        registry
    }

    fn publish(&self, versions: &[&str]) {
        let all: BTreeMap<&str, serde_json::Value> = versions
            .iter()
            .map(|version| {
                let dist = serde_json::json!({
                    "tarball": format!("{}/p.tgz", self.address), "integrity": self.hash,
                });
                let package =
                    serde_json::json!({"name": "ledger-lib", "version": version, "dist": dist});
                (*version, package)
            })
            .collect();
        let page = serde_json::json!({
            "name": "ledger-lib", "dist-tags": {"latest": versions.last()}, "versions": all,
        });
        let page = ("application/json".to_owned(), page.to_string().into_bytes());
        let mut files = self.index.files.lock().unwrap();
        files.insert("/ledger-lib".into(), page);
    }
}

fn ready<'a>(prepared: &'a Prepared, directory: &str) -> &'a Ready {
    let provision = prepared.get(Ecosystem::Node, directory);
    let ready = match provision {
        Provision::Ready(ready) => Ok(ready),
        other => Err(other),
    };
    ready.expect("its dependencies are there")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_of_a_workspace_gets_what_the_roots_lock_file_pins() {
    let registry = Registry::serve(&["1.0.0", "1.1.0"]);
    let lock = serde_json::json!({
        "name": "all", "lockfileVersion": 3, "requires": true,
        "packages": {
            "": {"name": "all", "workspaces": ["packages/*"]},
            "packages/ledger": {
                "name": "ledger", "version": "1.0.0", "dependencies": {"ledger-lib": "^1.0.0"}
            },
            "node_modules/ledger": {"resolved": "packages/ledger", "link": true},
            "node_modules/ledger-lib": {
                "version": "1.0.0", "integrity": registry.hash,
                "resolved": format!("{}/p.tgz", registry.address)
            }
        }
    })
    .to_string();
    let files = [
        (
            "package.json",
            r#"{"name":"all","version":"3.0.0","private":true,"workspaces":["packages/*"]}"#,
        ),
        ("package-lock.json", lock.as_str()),
        (
            "packages/ledger/package.json",
            r#"{"name":"ledger","version":"1.0.0","dependencies":{"ledger-lib":"^1.0.0"},"scripts":{"test":"node --test adds.spec.js"}}"#,
        ),
        ("packages/ledger/adds.spec.js", TEST),
    ];
    let mut bench = Bench::new(&files, &files).await;
    let preparer = bench.preparer(&[("npm_config_registry", &format!("{}/", registry.address))]);
    let prepared = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert_eq!(
        ready(&prepared, "packages/ledger").notes,
        Vec::<String>::new(),
        "the lock file of the root pins it"
    );
    // What is locked needs no look at which versions there are.
    let asked = registry.index.asked.lock().unwrap().clone();
    assert_eq!(asked, ["/p.tgz"]);
    bench.context.base_prepared = prepared.clone();
    bench.context.head_prepared = prepared;
    let (tests, results) = bench.verify(&bench.project(None), Kind::TestResults).await;
    assert_eq!(tests.evidence.status, Status::Passed, "{results:#?}");
    bench.nothing_is_left();
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_of_a_change_have_the_same_versions_of_what_nothing_pins() {
    let registry = Registry::serve(&["1.0.0"]);
    let base = r#"{"name":"ledger","version":"1.0.0","devDependencies":{"ledger-lib":"^1.0.0"},"scripts":{"test":"node --test"}}"#;
    let head = r#"{"version":"2.0.0","name":"ledger","description":"d","scripts":{"test":"node --test","lint":"true"},"devDependencies":{"ledger-lib":"^1.0.0"}}"#;
    let (before, after) = (
        [("package.json", base), ("a.test.js", TEST)],
        [("package.json", head), ("a.test.js", TEST)],
    );
    let bench = Bench::new(&before, &after).await;
    let preparer = bench.preparer(&[("npm_config_registry", &format!("{}/", registry.address))]);
    let base = preparer.prepare(&bench.context.base.path).await.unwrap();
    // Weeks later there is another version.
    registry.publish(&["1.0.0", "1.1.0"]);
    registry.index.asked.lock().unwrap().clear();
    let head = preparer.prepare(&bench.context.head.path).await.unwrap();
    assert_eq!(ready(&base, "").key, ready(&head, "").key);
    let asked = registry.index.asked.lock().unwrap().clone();
    assert_eq!(asked, Vec::<String>::new(), "it was resolved anew");
}

/// What npm installed, as it writes it down.
fn installed(prepared: &Prepared) -> String {
    let modules = &ready(prepared, "").mounts[0].source;
    std::fs::read_to_string(modules.join(".package-lock.json")).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_unpinned_requirements_starts_from_what_the_base_got() {
    let registry = Registry::serve(&["1.0.0"]);
    let base = r#"{"name":"ledger","devDependencies":{"ledger-lib":"^1.0.0"},"scripts":{"test":"node --test"}}"#;
    let other = base.replace("\"scripts\"", "\"engines\":{\"node\":\">=18\"},\"scripts\"");
    let newer = base.replace("^1.0.0", "^1.1.0");
    let files = |manifest| [("package.json", manifest), ("a.test.js", TEST)];
    let bench = Bench::new(&files(base), &files(&other)).await;
    let preparer = bench.preparer(&[("npm_config_registry", &format!("{}/", registry.address))]);
    let before = preparer.prepare(&bench.context.base.path).await.unwrap();
    registry.publish(&["1.0.0", "1.1.0"]);
    let head = &bench.context.head.path;
    let after = preparer.prepare_after(head, &before).await.unwrap();
    assert_ne!(ready(&before, "").key, ready(&after, "").key);
    assert!(installed(&after).contains("\"version\": \"1.0.0\""));
    let notes = ready(&after, "").notes.join("\n");
    assert!(notes.contains("that the base was checked with"), "{notes}");
    // What the base got is advice: the change's own manifest decides.
    crate::bench::write(head, &files(&newer));
    let after = preparer.prepare_after(head, &before).await.unwrap();
    assert!(installed(&after).contains("\"version\": \"1.1.0\""));
    // Without a base it is the newest that is allowed.
    crate::bench::write(head, &files(&other));
    let alone = preparer.prepare(head).await.unwrap();
    assert!(installed(&alone).contains("\"version\": \"1.1.0\""));
}
