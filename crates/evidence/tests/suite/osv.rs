//! Known vulnerabilities: the right versions of the right packages, and doubt is never silence.

use matrix_evidence::lockfile::{Ecosystem, Inventory, read};
use matrix_evidence::osv::{Audit, Database, OsvError, Rating};
use proptest::prelude::*;
use serde_json::{Value, json};

fn record(ecosystem: Ecosystem, name: &str, kind: &str, events: &Value) -> Value {
    json!({
        "id": "TEST-1", "modified": "2026-01-01T00:00:00Z", "summary": "bad thing",
        "aliases": ["CVE-2026-1"],
        "affected": [{"package": {"ecosystem": ecosystem.osv_name(), "name": name},
                      "ranges": [{"type": kind, "events": events}]}]
    })
}

fn database(records: &[Value]) -> Database {
    let mut database = Database::default();
    for record in records {
        database
            .add("r.json", &serde_json::to_vec(record).unwrap())
            .unwrap();
    }
    database
}

fn locked(ecosystem: Ecosystem, name: &str, version: &str) -> Inventory {
    let text = match ecosystem {
        Ecosystem::Cargo => format!(
            "version = 4\n[[package]]\nname = {name:?}\nversion = {version:?}\nsource = \"registry+x\"\n"
        ),
        Ecosystem::Npm => format!(
            r#"{{"lockfileVersion": 3, "packages": {{"node_modules/{name}": {{"version": "{version}"}}}}}}"#
        ),
        Ecosystem::Pypi => format!("{name}=={version}\n"),
        Ecosystem::Go => format!("module m\ngo 1.22\nrequire {name} {version}\n"),
    };
    let path = match ecosystem {
        Ecosystem::Cargo => "Cargo.lock",
        Ecosystem::Npm => "package-lock.json",
        Ecosystem::Pypi => "requirements.txt",
        Ecosystem::Go => "go.mod",
    };
    read([(path, text.as_bytes())])
}

fn audit(ecosystem: Ecosystem, events: &Value, version: &str) -> Audit {
    let kind = if ecosystem == Ecosystem::Pypi {
        "ECOSYSTEM"
    } else {
        "SEMVER"
    };
    let name = "example.org-pkg";
    database(&[record(ecosystem, name, kind, events)]).audit(&locked(ecosystem, name, version))
}

#[test]
fn affected_stretches_are_found_in_each_ecosystem() {
    let events = json!([{"introduced": "0"}, {"fixed": "1.2.0"}, {"introduced": "2.0.0"}, {"last_affected": "2.1.0"}]);
    for ecosystem in Ecosystem::ALL {
        let v = if ecosystem == Ecosystem::Go { "v" } else { "" };
        for (version, affected) in [
            ("0.0.1", true),
            ("1.1.9", true),
            ("1.2.0", false),
            ("1.10.0", false),
            ("2.0.0", true),
            ("2.1.0", true),
            ("2.1.1", false),
        ] {
            let found = audit(ecosystem, &events, &format!("{v}{version}"));
            assert_eq!(
                found.vulnerabilities.len() == 1,
                affected,
                "{ecosystem:?} {version}"
            );
            assert_eq!(found.checked, 1);
        }
    }
    let found = audit(Ecosystem::Cargo, &events, "1.1.9");
    assert_eq!(found.vulnerabilities[0].fixed, ["1.2.0"]);
    assert_eq!(found.vulnerabilities[0].aliases, ["CVE-2026-1"]);
    let finding = found.vulnerabilities[0].to_finding();
    assert_eq!(
        finding.message,
        "example.org-pkg 1.1.9: bad thing; fixed in 1.2.0"
    );
    assert_eq!(finding.place.unwrap().path, "Cargo.lock");
    assert_eq!(
        found.vulnerabilities[0].files.first().unwrap(),
        "Cargo.lock"
    );
}

#[test]
fn pre_releases_build_metadata_and_short_versions_compare_right() {
    let events = json!([{"introduced": "1"}, {"fixed": "2.0.0"}]);
    for (version, affected) in [
        ("1.0.0-rc.1", false),
        ("1.0.0+b", true),
        ("2.0.0-rc.1", true),
        ("2.0.0+b", false),
    ] {
        let found = audit(Ecosystem::Cargo, &events, version);
        assert_eq!(found.vulnerabilities.len() == 1, affected, "{version}");
    }
    let python = audit(Ecosystem::Pypi, &events, "2.0rc1");
    assert_eq!(python.vulnerabilities.len(), 1);
}

#[test]
fn the_order_of_events_does_not_matter() {
    let events = json!([{"fixed": "1.2.0"}, {"introduced": "1.0.0"}]);
    assert_eq!(
        audit(Ecosystem::Npm, &events, "1.1.0")
            .vulnerabilities
            .len(),
        1
    );
    assert_eq!(
        audit(Ecosystem::Npm, &events, "0.9.0")
            .vulnerabilities
            .len(),
        0
    );
}

#[test]
fn names_and_listed_versions_are_compared_as_the_ecosystem_does() {
    let mut listed = record(Ecosystem::Pypi, "Foo.Bar", "GIT", &json!([]));
    listed["affected"][0]["versions"] = json!(["1.0"]);
    let database = database(&[listed]);
    let found = database.audit(&locked(Ecosystem::Pypi, "foo_bar", "1.0.0"));
    assert_eq!(found.vulnerabilities.len(), 1);
    let other = database.audit(&locked(Ecosystem::Pypi, "foo-bar", "1.1"));
    assert_eq!(
        (other.vulnerabilities.len(), other.undetermined.len()),
        (0, 0)
    );
    let elsewhere = database.audit(&locked(Ecosystem::Npm, "foo-bar", "1.0.0"));
    assert_eq!(
        elsewhere.vulnerabilities.len(),
        0,
        "the same name of another ecosystem"
    );
}

#[test]
fn doubt_is_said() {
    let events = json!([{"introduced": "0"}, {"fixed": "not a version"}]);
    let found = audit(Ecosystem::Cargo, &events, "1.0.0");
    assert_eq!(
        found.undetermined,
        ["pkg:cargo/example.org-pkg@1.0.0 may be affected by TEST-1"]
    );
    let only_commits = record(Ecosystem::Npm, "p", "GIT", &json!([{"introduced": "abc"}]));
    let found = database(&[only_commits]).audit(&locked(Ecosystem::Npm, "p", "1.0.0"));
    assert_eq!(found.undetermined.len(), 1);
    let odd = audit(Ecosystem::Npm, &json!([{"introduced": "0"}]), "latest");
    assert_eq!(odd.undetermined.len(), 1);
}

#[test]
fn withdrawn_records_do_not_match_and_broken_ones_are_errors() {
    let mut gone = record(Ecosystem::Npm, "p", "SEMVER", &json!([{"introduced": "0"}]));
    gone["withdrawn"] = json!("2026-01-02T00:00:00Z");
    let mut database = database(&[gone]);
    assert_eq!((database.len(), database.withdrawn()), (0, 1));
    let error = database.add("x.json", b"{\"id\": 1}").unwrap_err();
    assert!(matches!(error, OsvError::Unreadable { .. }));
    assert!(error.to_string().contains("x.json"));
}

#[test]
fn severity_comes_from_the_score_or_the_databases_word() {
    let events = json!([{"introduced": "0"}]);
    let mut scored = record(Ecosystem::Npm, "p", "SEMVER", &events);
    scored["severity"] =
        json!([{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}]);
    scored["database_specific"] = json!({"severity": "LOW"});
    let mut worded = record(Ecosystem::Npm, "p", "SEMVER", &events);
    worded["id"] = json!("TEST-2");
    worded["severity"] = json!([{"type": "CVSS_V4", "score": "CVSS:4.0/AV:N"}]);
    worded["database_specific"] = json!({"severity": "MODERATE"});
    let found = database(&[worded, scored]).audit(&locked(Ecosystem::Npm, "p", "1.0.0"));
    let rated: Vec<(&str, Option<Rating>, Option<u32>)> = found
        .vulnerabilities
        .iter()
        .map(|v| {
            let severity = v.severity.as_ref().unwrap();
            (v.id.as_str(), severity.rating, severity.score_tenths)
        })
        .collect();
    let expected = [
        ("TEST-1", Some(Rating::Critical), Some(98)),
        ("TEST-2", Some(Rating::Medium), None),
    ];
    assert_eq!(rated, expected);
}

#[test]
fn only_what_the_base_did_not_have_is_new() {
    let events = json!([{"introduced": "0"}]);
    let base = audit(Ecosystem::Npm, &events, "1.0.0");
    let bumped = audit(Ecosystem::Npm, &events, "1.1.0");
    assert_eq!(
        bumped.new_since(&base).len(),
        0,
        "the same vulnerability in another version"
    );
    assert_eq!(bumped.new_since(&Audit::default()).len(), 1);
}

proptest! {
    #[test]
    fn the_fix_is_never_affected_and_what_lies_before_always_is(
        fix in (0_u64..9, 0_u64..9, 1_u64..9), own in (0_u64..9, 0_u64..9, 0_u64..9)
    ) {
        let text = |(a, b, c): (u64, u64, u64)| format!("{a}.{b}.{c}");
        let events = json!([{"introduced": "0"}, {"fixed": text(fix)}]);
        for ecosystem in [Ecosystem::Cargo, Ecosystem::Pypi] {
            let found = audit(ecosystem, &events, &text(own));
            prop_assert_eq!(found.vulnerabilities.len() == 1, own < fix);
            prop_assert!(found.undetermined.is_empty());
        }
    }

    #[test]
    fn no_bytes_make_a_database_panic(bytes: Vec<u8>, version in "[ -!#-\\[\\]-~]{0,20}") {
        let _ = Database::default().add("x", &bytes);
        let events = json!([{"introduced": version}, {"fixed": version}]);
        for ecosystem in Ecosystem::ALL {
            let _ = audit(ecosystem, &events, "1.0.0");
        }
    }
}
