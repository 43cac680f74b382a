//! Findings: other tools' files are read, ours are read back, and only what a change brought is
//! new.

use std::collections::BTreeMap;

use matrix_evidence::sarif::{Finding, FindingReport, Level, Place, Rule, SarifError, compare};
use proptest::prelude::*;

fn finding(rule: &str, path: &str, line: u32, snippet: &str) -> Finding {
    Finding {
        rule: rule.into(),
        level: Level::Warning,
        message: format!("{rule} is not good"),
        place: Some(Place {
            path: path.into(),
            line: Some(line),
            column: Some(4),
        }),
        snippet: Some(snippet.into()),
    }
}

fn none() -> BTreeMap<String, String> {
    BTreeMap::new()
}

#[test]
fn a_finding_that_only_moved_is_old() {
    let base = [finding("r", "a.rs", 3, "let x = 1;")];
    let head = [finding("r", "a.rs", 90, "  let  x = 1; ")];
    let comparison = compare(&base, &head, &none());
    assert_eq!((comparison.new.len(), comparison.old.len()), (0, 1));
    assert_eq!(comparison.fixed, 0);
}

#[test]
fn the_same_finding_once_more_is_new() {
    let one = finding("r", "a.rs", 3, "x");
    let again = finding("r", "a.rs", 8, "x");
    let comparison = compare(
        std::slice::from_ref(&one),
        &[one.clone(), again.clone()],
        &none(),
    );
    assert_eq!(comparison.new, [again]);
}

#[test]
fn rule_file_message_and_text_tell_findings_apart() {
    let base = [finding("r", "a.rs", 3, "x")];
    let others = [
        finding("s", "a.rs", 3, "x"),
        finding("r", "b.rs", 3, "x"),
        finding("r", "a.rs", 3, "y"),
    ];
    for other in others {
        let comparison = compare(&base, &[other], &none());
        assert_eq!((comparison.new.len(), comparison.fixed), (1, 1));
    }
}

#[test]
fn a_moved_file_takes_its_findings_along() {
    let base = [finding("r", "old.rs", 3, "x")];
    let head = [finding("r", "new.rs", 3, "x")];
    let moved = BTreeMap::from([("old.rs".into(), "new.rs".into())]);
    assert!(compare(&base, &head, &moved).new.is_empty());
    assert_eq!(compare(&base, &head, &none()).new.len(), 1);
}

const OTHER_TOOL: &str = r#"{"version": "2.1.0", "runs": [{
  "tool": {"driver": {"name": "ruff", "semanticVersion": "0.1", "rules": [
    {"id": "E1", "shortDescription": {"text": "bad"}, "defaultConfiguration": {"level": "error"},
     "messageStrings": {"m": {"text": "name '{0}' is {1}"}}}, {"id": "E2"}]}},
  "invocations": [{"executionSuccessful": true}],
  "originalUriBaseIds": {"SRC": {"uri": "file:///work/tree/"}},
  "results": [
    {"ruleIndex": 0, "message": {"id": "m", "arguments": ["x", "bad"]}, "locations": [{"physicalLocation":
      {"artifactLocation": {"uri": "a%20b.py", "uriBaseId": "SRC"}, "region": {"startLine": 7, "startColumn": 2}}}]},
    {"ruleId": "E2", "level": "note", "message": {"text": "t"}, "locations": [{"physicalLocation":
      {"artifactLocation": {"uri": "file:///work/tree/c.py"}}}]},
    {"ruleId": "E2", "message": {"text": "t"}, "locations": [{"physicalLocation": {"artifactLocation": {"uri": "/work/treetop/d.py"}}}]},
    {"ruleId": "E2", "message": {"text": "t"}, "suppressions": [{"kind": "inSource"}]},
    {"ruleId": "E2", "message": {"text": "asked"}, "suppressions": [{"kind": "external", "status": "underReview"}]},
    {"ruleId": "E2", "kind": "pass", "message": {"text": "fine"}},
    {"ruleId": "E2", "baselineState": "absent", "message": {"text": "gone"}}
  ]}]}"#;

#[test]
fn another_tools_file_is_read() {
    let report = FindingReport::from_sarif(OTHER_TOOL.as_bytes(), "/work/tree").unwrap();
    assert_eq!(
        (report.tool.as_str(), report.version.as_deref()),
        ("ruff", Some("0.1"))
    );
    assert_eq!(report.suppressed, 1);
    let seen: Vec<(&str, Level, &str, &str)> = report
        .findings
        .iter()
        .map(|f| {
            let path = f.place.as_ref().map_or("-", |place| &place.path);
            (f.rule.as_str(), f.level, f.message.as_str(), path)
        })
        .collect();
    assert_eq!(
        seen,
        [
            ("E1", Level::Error, "name 'x' is bad", "a b.py"),
            ("E2", Level::Note, "t", "c.py"),
            ("E2", Level::Warning, "t", "/work/treetop/d.py"),
            ("E2", Level::Warning, "asked", "-"),
        ]
    );
}

#[test]
fn a_tool_that_did_not_finish_found_nothing_that_counts() {
    let failed = OTHER_TOOL.replace(
        "\"executionSuccessful\": true",
        "\"executionSuccessful\": false",
    );
    let error = FindingReport::from_sarif(failed.as_bytes(), "").unwrap_err();
    assert!(matches!(error, SarifError::Unfinished(_)));
    let without = r#"{"version":"2.1.0","runs":[{"tool":{"driver":{"name":"x"}}}]}"#;
    let error = FindingReport::from_sarif(without.as_bytes(), "").unwrap_err();
    assert!(matches!(error, SarifError::Unfinished(_)));
    let old = r#"{"version":"2.0.0","runs":[]}"#;
    let error = FindingReport::from_sarif(old.as_bytes(), "").unwrap_err();
    assert!(matches!(error, SarifError::Version(_)));
}

fn any_finding() -> impl Strategy<Value = Finding> {
    let level = prop::sample::select(vec![Level::None, Level::Note, Level::Warning, Level::Error]);
    let line = prop::option::of(1_u32..100);
    (
        "[a-z]{1,3}",
        level,
        ".{0,20}",
        "[a-zé %#]{1,3}/[a-z]{1,3}",
        line,
        "[a-z ]{1,9}",
    )
        .prop_map(|(rule, level, message, path, line, snippet)| Finding {
            rule,
            level,
            message,
            place: Some(Place {
                path,
                line,
                column: line.map(|line| line + 1),
            }),
            snippet: line.map(|_| snippet),
        })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(findings in prop::collection::vec(any_finding(), 0..9)) {
        let report = FindingReport {
            tool: "scan".into(),
            version: Some("1".into()),
            rules: vec![Rule { id: "0".into(), description: "d".into(), help_uri: String::new() }],
            findings,
            suppressed: 0,
        };
        let read = FindingReport::from_sarif(&report.to_sarif().unwrap(), "").unwrap();
        prop_assert_eq!(read.findings, report.findings);
        prop_assert_eq!(&read.rules[0], &report.rules[0]);
    }

    #[test]
    fn nothing_is_lost_in_a_comparison(
        base in prop::collection::vec(any_finding(), 0..9), head in prop::collection::vec(any_finding(), 0..9)
    ) {
        let comparison = compare(&base, &head, &none());
        prop_assert_eq!(comparison.new.len() + comparison.old.len(), head.len());
        prop_assert_eq!(comparison.old.len() + comparison.fixed, base.len());
        prop_assert!(compare(&head, &head, &none()).new.is_empty());
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes: Vec<u8>, uri in ".{0,20}", root in ".{0,5}") {
        prop_assert!(FindingReport::from_sarif(&bytes, "").is_err());
        let uri = serde_json::to_string(&uri).unwrap();
        let file = OTHER_TOOL.replace("\"a%20b.py\"", &uri);
        prop_assert!(FindingReport::from_sarif(file.as_bytes(), &root).is_ok());
    }
}
