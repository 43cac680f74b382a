//! What tools that know nothing of this project say of our files. Each format is judged twice: a
//! good file must be accepted and a broken one refused, so that a tool that accepts everything is
//! noticed.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use matrix_evidence::junit::{Outcome, TestCase, TestReport};
use matrix_evidence::lockfile::{Inventory, read};
use matrix_evidence::sarif::{Finding, FindingReport, Level, Place, Rule};
use matrix_evidence::{cyclonedx, spdx};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::lockfile::{CARGO, NPM, REQUIREMENTS};
use crate::support::{bom_subject, change, join, key, lines, resign, seal};

/// `validate.py` says that the tool refused the file.
const REFUSED: i32 = 10;

fn tests_folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// A program of the tools' environment.
pub(crate) fn tool(name: &str) -> Command {
    #[expect(
        clippy::disallowed_methods,
        reason = "only the test's caller knows where the tools are"
    )]
    let folder = std::env::var_os("MATRIX_TEST_TOOLS").expect(
        "MATRIX_TEST_TOOLS is not set: run `cargo xtask test`, which installs the validators",
    );
    // A relative path is meant from the workspace, where that command runs.
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = workspace.join(folder).join("bin").join(name);
    assert!(
        program.exists(),
        "{} is missing: run `cargo xtask test`, which installs the validators",
        program.display()
    );
    Command::new(program)
}

fn said(output: &Output) -> String {
    let streams = [&output.stdout, &output.stderr];
    streams
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
        .concat()
}

/// Breaks a good document.
type Edit = fn(&mut Value);

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn validate(&self, format: &str, name: &str, bytes: &[u8]) -> Output {
        let file = self.write(name, bytes);
        let public = key(1).public().to_pem().unwrap();
        let public = self.write("key.pem", public.as_bytes());
        let script = tests_folder().join("interop/validate.py");
        tool("python")
            .arg(script)
            .arg(format)
            .args([file, public])
            .output()
            .unwrap()
    }

    fn accepts(&self, format: &str, name: &str, bytes: &[u8]) -> String {
        let output = self.validate(format, name, bytes);
        let text = said(&output);
        assert_eq!(
            output.status.code(),
            Some(0),
            "{format} refused a good file: {text}"
        );
        text
    }

    fn refuses(&self, format: &str, name: &str, bytes: &[u8]) {
        let output = self.validate(format, name, bytes);
        let text = said(&output);
        assert_eq!(
            output.status.code(),
            Some(REFUSED),
            "{format}, of a broken file: {text}"
        );
    }
}

#[test]
fn envelopes_are_verified_by_another_implementation() {
    let files = Files::new();
    let bundle = seal(change());
    files.accepts("envelopes", "b.intoto.jsonl", &bundle);
    let other_key = crate::support::builder()
        .seal(change(), &[&key(2)])
        .unwrap();
    files.refuses("envelopes", "b.intoto.jsonl", &other_key);
    let mut parts = lines(&bundle);
    let mut tampered: Value = serde_json::from_slice(&parts[3]).unwrap();
    tampered["payload"] = json!("e30=");
    parts[3] = serde_json::to_vec(&tampered).unwrap();
    files.refuses("envelopes", "b.intoto.jsonl", &join(&parts));
}

#[test]
fn statements_have_the_published_forms() {
    let files = Files::new();
    let bundle = seal(change());
    files.accepts("statements", "b.intoto.jsonl", &bundle);
    let breaks: [(usize, Edit); 5] = [
        (0, |value| value["subject"] = json!([])),
        (1, |value| {
            value["predicate"]["buildDefinition"]["unheard"] = json!(1);
        }),
        (2, |value| {
            value["predicate"]["passedTests"] = json!({"no": "list"});
        }),
        (7, |value| {
            value["predicate"]["policy"] = json!("text");
        }),
        (5, |value| {
            value["_type"] = json!("https://in-toto.io/Statement/v0.1");
        }),
    ];
    for (line, edit) in breaks {
        let mut parts = lines(&bundle);
        parts[line] = resign(&parts[line], &key(1), edit);
        files.refuses("statements", "b.intoto.jsonl", &join(&parts));
    }
}

fn inventories() -> Vec<Inventory> {
    let own = &include_bytes!("../../../../Cargo.lock")[..];
    vec![
        read([("Cargo.lock", own)]),
        read([
            ("a/Cargo.lock", CARGO.as_bytes()),
            ("package-lock.json", NPM.as_bytes()),
            ("requirements.txt", REQUIREMENTS.as_bytes()),
            (
                "go.mod",
                &b"module example.org/m\ngo 1.22\nrequire example.org/d v1.0.0\n"[..],
            ),
        ]),
        Inventory::default(),
    ]
}

#[test]
fn cyclonedx_bills_are_valid() {
    let files = Files::new();
    for inventory in inventories() {
        let bytes = cyclonedx::to_bytes(&inventory, bom_subject()).unwrap();
        assert_eq!(
            bytes,
            cyclonedx::to_bytes(&inventory, bom_subject()).unwrap()
        );
        files.accepts("cyclonedx", "bom.json", &bytes);
    }
    let document = cyclonedx::document(&inventories()[1], bom_subject()).unwrap();
    assert_eq!(document["compositions"][0]["aggregate"], "incomplete");
    let breaks: [Edit; 3] = [
        |bom| bom["components"][0]["type"] = json!("thing"),
        |bom| bom["serialNumber"] = json!("urn:uuid:1"),
        |bom| bom["unheard"] = json!(1),
    ];
    for edit in breaks {
        let mut broken = document.clone();
        edit(&mut broken);
        files.refuses(
            "cyclonedx",
            "bom.json",
            &serde_json::to_vec(&broken).unwrap(),
        );
    }
}

#[test]
fn spdx_bills_are_valid_and_have_the_minimum_elements() {
    let files = Files::new();
    for inventory in inventories() {
        let bytes = spdx::to_bytes(&inventory, bom_subject()).unwrap();
        assert_eq!(bytes, spdx::to_bytes(&inventory, bom_subject()).unwrap());
        files.accepts("spdx", "bom.spdx.json", &bytes);
    }
    let pinned = read([
        ("Cargo.lock", CARGO.as_bytes()),
        ("package-lock.json", NPM.as_bytes()),
    ]);
    let document = spdx::document(&pinned, bom_subject()).unwrap();
    files.accepts(
        "ntia",
        "bom.spdx.json",
        &serde_json::to_vec(&document).unwrap(),
    );
    let mut broken = document.clone();
    broken["packages"][1]
        .as_object_mut()
        .unwrap()
        .remove("supplier");
    files.refuses(
        "ntia",
        "bom.spdx.json",
        &serde_json::to_vec(&broken).unwrap(),
    );
    let breaks: [Edit; 3] = [
        |bom| bom["packages"][0]["SPDXID"] = json!("not an id"),
        |bom| bom["relationships"][1]["relatedSpdxElement"] = json!("SPDXRef-nowhere"),
        |bom| bom["creationInfo"]["created"] = json!("yesterday"),
    ];
    for edit in breaks {
        let mut broken = document.clone();
        edit(&mut broken);
        files.refuses(
            "spdx",
            "bom.spdx.json",
            &serde_json::to_vec(&broken).unwrap(),
        );
    }
}

fn check_sarif(files: &Files, bytes: &[u8]) -> Output {
    let file = files.write("a.sarif", bytes);
    let schema = tests_folder().join("schemas/sarif-schema-2.1.0.json");
    tool("check-jsonschema")
        // The schema's patterns are not valid in Unicode mode.
        .args(["--regex-variant", "nonunicode", "--schemafile"])
        .args([schema, file])
        .output()
        .unwrap()
}

#[test]
fn findings_follow_the_oasis_schema() {
    let files = Files::new();
    let report = FindingReport {
        tool: "scan".into(),
        version: Some("1.0".into()),
        rules: vec![Rule {
            id: "r".into(),
            description: "a rule".into(),
            help_uri: "https://example.org/r".into(),
        }],
        findings: vec![
            Finding {
                rule: "r".into(),
                level: Level::Error,
                message: "bad".into(),
                place: Some(Place {
                    path: "src/ä b%.rs".into(),
                    line: Some(0),
                    column: Some(3),
                }),
                snippet: Some("let x".into()),
            },
            Finding {
                rule: "unlisted".into(),
                level: Level::None,
                message: String::new(),
                place: None,
                snippet: None,
            },
        ],
        suppressed: 0,
    };
    let empty = FindingReport::default().to_sarif().unwrap();
    let full = report.to_sarif().unwrap();
    for good in [&full, &empty] {
        let output = check_sarif(&files, good);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    }
    let breaks: [Edit; 3] = [
        |log| log["runs"][0]["results"][0]["level"] = json!("awful"),
        |log| log["version"] = json!("2.2.0"),
        |log| drop(log["runs"][0].as_object_mut().unwrap().remove("tool")),
    ];
    for edit in breaks {
        let mut broken: Value = serde_json::from_slice(&full).unwrap();
        edit(&mut broken);
        let output = check_sarif(&files, &serde_json::to_vec(&broken).unwrap());
        let text = said(&output);
        assert_eq!(output.status.code(), Some(1), "a broken file: {text}");
        assert!(text.contains("Schema validation errors"), "{text}");
    }
}

#[test]
fn test_reports_are_read_by_another_parser() {
    let files = Files::new();
    let report = TestReport {
        cases: vec![
            TestCase::new("a", "passes <&\">", Outcome::Passed).took(1234),
            TestCase::new("a", "fails", Outcome::Failed).because("left\n  != \u{1b}[31mright"),
            TestCase::new("b", "crashes", Outcome::Error).because("signal 11"),
            TestCase::new("b", "waits", Outcome::Skipped).because("not here"),
        ],
    };
    let xml = report.to_junit("all");
    let counts = files.accepts("junit", "junit.xml", xml.as_bytes());
    let counts: Value = serde_json::from_str(&counts).unwrap();
    assert_eq!(
        counts,
        json!({"passed": 1, "Failure": 1, "Error": 1, "Skipped": 1})
    );
    files.refuses("junit", "junit.xml", &xml.as_bytes()[..xml.len() - 9]);
    files.refuses(
        "junit",
        "junit.xml",
        xml.replace("testsuites", "other").as_bytes(),
    );
    let miscounted = xml.replacen(
        "failures=\"1\" errors=\"0\"",
        "failures=\"0\" errors=\"0\"",
        1,
    );
    files.refuses("junit", "junit.xml", miscounted.as_bytes());
}
