//! Files made to exhaust a reader: nested a hundred thousand deep, or one alias of an alias of an
//! alias. Each is refused; none takes the process with it.

use matrix_evidence::dsse::{Envelope, PAYLOAD_TYPE};
use matrix_evidence::junit::TestReport;
use matrix_evidence::lockfile::read;
use matrix_evidence::osv::Database;
use matrix_evidence::sarif::FindingReport;
use matrix_evidence::verify;

use crate::support::key;

const DEEP: usize = 100_000;

fn nested(open: &str, close: &str) -> String {
    format!("{}{}", open.repeat(DEEP), close.repeat(DEEP))
}

fn is_refused(path: &str, text: &str) {
    let inventory = read([(path, text.as_bytes())]);
    assert_eq!(inventory.not_understood.len(), 1, "{path} was taken");
    assert!(inventory.components.is_empty());
}

fn is_taken(path: &str, text: &str) {
    let inventory = read([(path, text.as_bytes())]);
    assert_eq!(inventory.not_understood, [], "{path} was refused");
}

#[test]
fn deep_json_is_refused() {
    let lists = nested("[", "]");
    let objects = nested("{\"a\":", "}").replace("{}", "{\"a\":1}");
    for deep in [&lists, &objects] {
        assert!(FindingReport::from_sarif(deep.as_bytes(), "").is_err());
        let result = format!(
            r#"{{"version":"2.1.0","runs":[{{"tool":{{"driver":{{"name":"x"}}}},"results":[{{"level":{deep}}}]}}]}}"#
        );
        assert!(FindingReport::from_sarif(result.as_bytes(), "").is_err());
        let record = format!(r#"{{"id":"x","database_specific":{deep}}}"#);
        assert!(Database::default().add("x", record.as_bytes()).is_err());
        is_refused("package-lock.json", deep);
        let licence = format!(
            r#"{{"lockfileVersion":3,"packages":{{"node_modules/a":{{"license":{deep}}}}}}}"#
        );
        is_refused("package-lock.json", &licence);
    }
}

#[test]
fn deep_toml_and_yaml_are_refused() {
    let heads = [
        ("Cargo.lock", "version = 4"),
        ("poetry.lock", "content-hash = ''"),
        ("uv.lock", "version = 1"),
    ];
    for (name, head) in heads {
        is_taken(name, &format!("{head}\nx = [[]]"));
        is_refused(name, &format!("{head}\nx = {}", nested("[", "]")));
        is_refused(name, &format!("{head}\nx = {}", nested("{a=", "}")));
        is_refused(name, &format!("{head}\n[{}a]\nb = 1", "a.".repeat(DEEP)));
    }
    let version = "lockfileVersion: '9.0'\npackages: ";
    is_taken("pnpm-lock.yaml", &format!("{version}{{}}\nunheard: [[]]"));
    is_refused("pnpm-lock.yaml", &format!("{version}{}", nested("[", "]")));
    is_refused(
        "pnpm-lock.yaml",
        &format!("{version}{}", nested("{a: ", "}")),
    );
    is_refused(
        "pnpm-lock.yaml",
        &format!("{version}\n  {}1", "- ".repeat(DEEP)),
    );
    let unheard = format!("lockfileVersion: '9.0'\nunheard: {}", nested("[", "]"));
    is_refused("pnpm-lock.yaml", &unheard);
}

#[test]
fn aliases_of_aliases_do_not_grow() {
    let mut yaml = String::from("lockfileVersion: '9.0'\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    let line = |level: usize| {
        let below = format!("*a{}, ", level - 1).repeat(10);
        format!("a{level}: &a{level} [{}]\n", below.trim_end_matches(", "))
    };
    is_taken("pnpm-lock.yaml", &format!("{yaml}{}", line(1)));
    for level in 1..30 {
        yaml.push_str(&line(level));
    }
    is_refused("pnpm-lock.yaml", &yaml);
}

#[test]
fn versions_written_as_numbers_are_named() {
    let inventory = read([(
        "pnpm-lock.yaml",
        &b"lockfileVersion: 7.4\npackages: {}\n"[..],
    )]);
    assert!(
        inventory.not_understood[0].reason.contains("7.4"),
        "{inventory:?}"
    );
}

#[test]
fn a_deep_statement_is_no_bundle_though_signed() {
    let payload = nested("[", "]").into_bytes();
    let envelope = Envelope::sign(PAYLOAD_TYPE, payload, &[&key(1)]).unwrap();
    let bundle = format!("{}\n", envelope.to_json().unwrap());
    assert!(verify(bundle.as_bytes(), &[key(1).public()], &[]).is_err());
    assert!(verify(nested("[", "]").as_bytes(), &[key(1).public()], &[]).is_err());
}

#[test]
fn a_long_report_is_read_in_time_that_grows_with_its_length() {
    let cases = "<testcase name=\"a\"><failure>x</failure></testcase>".repeat(100_000);
    let xml = format!("<testsuite>{cases}</testsuite>");
    assert_eq!(
        TestReport::from_junit(xml.as_bytes()).unwrap().cases.len(),
        100_000
    );
}
