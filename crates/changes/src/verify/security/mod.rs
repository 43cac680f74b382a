//! The security scan: secrets and dangerous constructs in the lines that a change adds.
//!
//! Only added lines are looked at, less those that the same change removes elsewhere in the same
//! words: code that moves was there before. A secret never leaves the scan; findings show its
//! kind, its place and a mask.

mod constructs;
mod entropy;
mod secrets;
mod weakening;

use std::collections::BTreeSet;
use std::sync::Arc;

use matrix_evidence::Kind;
use matrix_evidence::sarif::{Finding, Level};

use super::attempt::sarif;
use super::diff::{self, FileDiff};
use super::project::CheckJob;
use super::result::{CheckResult, Checked, Report, Side, State, finding};
use super::run::Context;

pub use weakening::{Weakening, weakening};

/// How much of a line is looked at, in bytes; the rest of a longer one is told as a finding.
const MAX_LINE: usize = 16 * 1024;
/// How much of a diff is looked at, in bytes of added lines.
const MAX_DIFF: usize = 64 << 20;
const MAX_FINDINGS: usize = 5000;

/// Whether a rule of the scan is about secrets.
pub(crate) fn is_secret(rule: &str) -> bool {
    rule.starts_with("secret.")
}

/// The rules by which the texts of a JSON document hold secrets; each once. What is no JSON is looked
/// at as it stands.
pub fn secrets_in(json: &str) -> Vec<String> {
    let mut rules = BTreeSet::new();
    match serde_json::from_str(json) {
        Ok(value) => collect_secrets("", &value, &mut rules),
        Err(_) => collect_lines(json, &mut rules),
    }
    rules.into_iter().collect()
}

fn collect_secrets(name: &str, value: &serde_json::Value, rules: &mut BTreeSet<String>) {
    match value {
        serde_json::Value::String(text) => {
            collect_lines(text, rules);
            // Under a name that speaks of a secret, a value may look like one.
            collect_lines(&format!("{name}: \"{text}\""), rules);
        }
        serde_json::Value::Array(items) => {
            for item in items {
                collect_secrets(name, item, rules);
            }
        }
        serde_json::Value::Object(members) => {
            for (name, member) in members {
                collect_secrets(name, member, rules);
            }
        }
        _ => {}
    }
}

fn collect_lines(text: &str, rules: &mut BTreeSet<String>) {
    for line in text.lines() {
        rules.extend(secrets::find(line).into_iter().map(|secret| secret.rule));
    }
}

pub(crate) async fn check(job: &CheckJob, attempt: u32, context: &Context) -> Checked {
    let diff = Arc::clone(&context.diff);
    let scanned = tokio::task::spawn_blocking(move || (scan(&diff), weakening(&diff))).await;
    let mut result = CheckResult::not_run(
        &job.id,
        Kind::SecurityScan,
        Side::Head,
        attempt,
        String::new(),
    );
    match scanned {
        Ok(((findings, notes), weakening)) => {
            result.weakening = Some(weakening);
            result.state = State::Completed;
            result.notes = notes;
            result.report = Report::Findings { findings };
        }
        Err(error) => {
            result.state = State::Broken {
                reason: format!("the scan ended early: {error}"),
            };
        }
    }
    let name = format!("{}.head.{attempt}", job.id.replace('/', "."));
    let produced: Vec<_> = sarif(&name, "matrix security scan", result.findings())
        .into_iter()
        .collect();
    result.files = produced
        .iter()
        .map(super::result::Produced::reference)
        .collect();
    Checked { result, produced }
}

/// What the added lines of a diff hold, and what was not looked at.
pub(crate) fn scan(diff: &[u8]) -> (Vec<Finding>, Vec<String>) {
    let files = diff::parse(diff);
    let removed: BTreeSet<&str> = files
        .iter()
        .flat_map(|file| &file.removed)
        .map(|line| line.trim())
        .collect();
    let mut findings = Vec::new();
    let mut notes = Vec::new();
    let mut seen = 0;
    for file in &files {
        for (number, line) in &file.added {
            seen += line.len();
            if removed.contains(line.trim()) {
                continue;
            }
            scan_line(file, *number, line, &mut findings);
            if seen > MAX_DIFF || findings.len() > MAX_FINDINGS {
                // What was not looked at must not pass.
                let message = "the change is too large to be scanned as a whole";
                findings.push(finding("scan.incomplete", Level::Error, message, None, ""));
                notes.push(format!("scanned up to {}:{number}", file.path));
                return (findings, notes);
            }
        }
    }
    (findings, notes)
}

fn scan_line(file: &FileDiff, number: u32, line: &str, findings: &mut Vec<Finding>) {
    let place = Some((file.path.as_str(), number));
    if line.len() > MAX_LINE {
        let message = "the line is too long to be scanned to its end";
        findings.push(finding("scan.long-line", Level::Note, message, place, ""));
    }
    let mut end = line.len().min(MAX_LINE);
    while !line.is_char_boundary(end) {
        end -= 1;
    }
    let line = line.get(..end).unwrap_or_default();
    for secret in secrets::find(line) {
        let message = format!("{} ({})", secret.message, secret.masked);
        findings.push(finding(&secret.rule, Level::Error, &message, place, ""));
    }
    for found in constructs::find(&file.path, line) {
        findings.push(finding(
            found.rule,
            found.level,
            found.message,
            place,
            &mask(line),
        ));
    }
}

/// The line with everything that looks like a secret blotted out.
fn mask(line: &str) -> String {
    let mut masked = line.trim().to_owned();
    for secret in secrets::find(line) {
        masked = masked.replace(&secret.text, &secret.masked);
    }
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diff(path: &str, removed: &[&str], added: &[&str]) -> Vec<u8> {
        let mut text = format!(
            "diff --git a/{path} b/{path}\n--- a/{path}\n+++ b/{path}\n@@ -1,{} +1,{} @@\n",
            removed.len(),
            added.len()
        );
        for (sign, lines) in [('-', removed), ('+', added)] {
            for line in lines {
                text.push(sign);
                text.push_str(line);
                text.push('\n');
            }
        }
        text.into_bytes()
    }

    /// Put together here, so that no scanner takes this file for a leak.
    fn key() -> String {
        format!("AKI{}", "AQ3EGRX7KPLM2ZT5W")
    }

    #[test]
    fn a_secret_is_found_and_never_shown() {
        let line = format!("let key = \"{}\";", key());
        let (findings, _) = scan(&diff("src/a.rs", &[], &["fn a() {}", &line]));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert!(is_secret(&findings[0].rule));
        assert_eq!(findings[0].place.as_ref().unwrap().line, Some(2));
        let shown = serde_json::to_string(&findings).unwrap();
        assert!(!shown.contains(&key()), "{shown}");
    }

    #[test]
    fn a_secret_beside_a_dangerous_construct_is_blotted_out_there_too() {
        let line = format!("subprocess.run(cmd + '{}', shell=True)", key());
        let (findings, _) = scan(&diff("a.py", &[], &[&line]));
        assert!(findings.len() >= 2, "{findings:?}");
        assert!(!serde_json::to_string(&findings).unwrap().contains(&key()));
    }

    #[test]
    fn a_line_that_only_moves_was_there_before() {
        let (findings, _) = scan(&diff("a.py", &["  eval(text)"], &["    eval(text)"]));
        assert!(findings.is_empty(), "{findings:?}");
    }

    #[test]
    fn removed_lines_are_not_scanned() {
        let line = format!("key = '{}'", key());
        assert!(
            scan(&diff("a.py", &[&line], &["key = load()"]))
                .0
                .is_empty()
        );
    }
}
