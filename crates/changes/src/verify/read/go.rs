//! The output of `go test -json` and `go vet`.

use std::collections::BTreeMap;

use matrix_evidence::junit::{Outcome, TestCase};
use matrix_evidence::sarif::{Finding, Level};
use serde::Deserialize;

use crate::verify::result::{cut, finding};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Event {
    action: String,
    package: Option<String>,
    test: Option<String>,
    output: Option<String>,
}

/// What `go test -json` said: cases, and packages that failed without a failing case (they did
/// not compile, or died).
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) cases: Vec<TestCase>,
    pub(crate) broken_packages: Vec<String>,
}

/// Reads standard output of `go test -json`.
pub(crate) fn tests(output: &str) -> Read {
    let mut cases: BTreeMap<(String, String), TestCase> = BTreeMap::new();
    let mut messages: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut failed_packages = Vec::new();
    for line in output.lines() {
        let Ok(event) = serde_json::from_str::<Event>(line) else {
            continue;
        };
        let package = event.package.unwrap_or_default();
        let Some(test) = event.test else {
            if event.action == "fail" {
                failed_packages.push(package);
            }
            continue;
        };
        let id = (package, test);
        let outcome = match event.action.as_str() {
            "pass" => Outcome::Passed,
            "fail" => Outcome::Failed,
            "skip" => Outcome::Skipped,
            "output" => {
                let message = messages.entry(id).or_default();
                if message.len() < 4000 {
                    message.push_str(&event.output.unwrap_or_default());
                }
                continue;
            }
            _ => continue,
        };
        let mut case = TestCase::new(id.0.clone(), id.1.clone(), outcome);
        if outcome != Outcome::Passed {
            case.message = messages.get(&id).map(|text| cut(text, 2000));
        }
        cases.insert(id, case);
    }
    let broken_packages = failed_packages
        .into_iter()
        .filter(|package| {
            !cases
                .values()
                .any(|case| case.outcome.is_red() && case.class == *package)
        })
        .collect();
    Read {
        cases: cases.into_values().collect(),
        broken_packages,
    }
}

/// Reads `FILE:LINE:COLUMN: MESSAGE` lines.
pub(crate) fn vet(output: &str, prefix: &str) -> Vec<Finding> {
    output
        .lines()
        .filter_map(|line| {
            let line = line.strip_prefix("vet: ").unwrap_or(line);
            let (path, rest) = line.split_once(".go:")?;
            let (number, rest) = rest.split_once(':')?;
            let number = number.parse::<u32>().ok()?;
            let message = rest
                .split_once(": ")
                .filter(|(column, _)| column.bytes().all(|byte| byte.is_ascii_digit()))
                .map_or(rest, |(_, message)| message)
                .trim();
            let path = format!("{prefix}{}.go", path.trim_start_matches("./"));
            let place = Some((path.as_str(), number));
            Some(finding("go vet", Level::Warning, message, place, ""))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_and_packages_that_did_not_compile_are_told_apart() {
        let output = r#"{"Action":"run","Package":"a/b","Test":"TestX"}
{"Action":"output","Package":"a/b","Test":"TestX","Output":"want 2\n"}
{"Action":"fail","Package":"a/b","Test":"TestX","Elapsed":0}
{"Action":"pass","Package":"a/b","Test":"TestY"}
{"Action":"skip","Package":"a/b","Test":"TestZ"}
{"Action":"fail","Package":"a/b"}
not json
{"Action":"fail","Package":"a/c"}
"#;
        let read = tests(output);
        let outcomes: Vec<_> = read.cases.iter().map(|case| case.outcome).collect();
        assert_eq!(
            outcomes,
            [Outcome::Failed, Outcome::Passed, Outcome::Skipped]
        );
        assert_eq!(read.cases[0].message.as_deref(), Some("want 2"));
        assert_eq!(read.broken_packages, ["a/c"]);
    }

    #[test]
    fn vet_lines_have_a_place() {
        let findings = vet(
            "# a/b\n./x.go:3:7: result of Sprintf call not used\nvet: y.go:1:1: bad\n",
            "go/",
        );
        assert_eq!(findings.len(), 2);
        let place = findings[0].place.as_ref().unwrap();
        assert_eq!((place.path.as_str(), place.line), ("go/x.go", Some(3)));
        assert_eq!(findings[0].message, "result of Sprintf call not used");
    }
}
