//! The messages of `cargo clippy --message-format=json`.

use matrix_evidence::sarif::{Finding, Level};
use serde::Deserialize;

use crate::verify::result;

#[derive(Deserialize)]
struct Line {
    reason: String,
    message: Option<Message>,
    success: Option<bool>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(rename = "message")]
    text: String,
    level: String,
    code: Option<Code>,
    #[serde(default)]
    spans: Vec<Span>,
}

#[derive(Deserialize)]
struct Code {
    code: String,
}

#[derive(Deserialize)]
struct Span {
    file_name: String,
    line_start: u32,
    is_primary: bool,
    #[serde(default)]
    text: Vec<SpanText>,
}

#[derive(Deserialize)]
struct SpanText {
    text: String,
}

/// What was read: the findings, and whether cargo said that it came to its end.
#[derive(Debug, Default)]
pub(crate) struct Read {
    pub(crate) findings: Vec<Finding>,
    pub(crate) finished: bool,
}

/// Reads standard output. `prefix` is the directory that the paths are relative to.
pub(crate) fn read(output: &str, prefix: &str) -> Read {
    let mut read = Read::default();
    for line in output.lines().filter(|line| line.starts_with('{')) {
        let Ok(line) = serde_json::from_str::<Line>(line) else {
            continue;
        };
        match line.reason.as_str() {
            "build-finished" => read.finished = line.success.is_some(),
            "compiler-message" => {
                if let Some(finding) = line.message.and_then(|message| finding(&message, prefix)) {
                    // A library and its test build say the same twice.
                    if !read.findings.contains(&finding) {
                        read.findings.push(finding);
                    }
                }
            }
            _ => {}
        }
    }
    read
}

fn finding(message: &Message, prefix: &str) -> Option<Finding> {
    let level = match message.level.as_str() {
        "error" | "error: internal compiler error" => Level::Error,
        "warning" => Level::Warning,
        _ => return None,
    };
    let span = message.spans.iter().find(|span| span.is_primary);
    // `2 warnings emitted` and `aborting due to 1 error` repeat what was said.
    if span.is_none() && message.code.is_none() {
        return None;
    }
    let rule = message
        .code
        .as_ref()
        .map_or("rustc", |code| code.code.as_str());
    let path = span.map(|span| format!("{prefix}{}", span.file_name));
    let place = path.as_deref().zip(span.map(|span| span.line_start));
    let text = span
        .and_then(|span| span.text.first())
        .map_or(message.text.as_str(), |text| text.text.as_str());
    Some(result::finding(rule, level, &message.text, place, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(level: &str, code: &str, line: u32, text: &str) -> String {
        serde_json::json!({
            "reason": "compiler-message",
            "message": {
                "message": "unused variable: `x`", "level": level, "code": {"code": code},
                "spans": [{"file_name": "src/lib.rs", "line_start": line, "is_primary": true,
                           "text": [{"text": text}]}]
            }
        })
        .to_string()
    }

    #[test]
    fn a_finding_keeps_its_fingerprint_when_its_line_moves() {
        let end = r#"{"reason":"build-finished","success":true}"#;
        let one = format!(
            "{}\n{end}",
            line("warning", "unused_variables", 3, "  let x = 1;")
        );
        let two = format!(
            "noise\n{}\n{end}",
            line("warning", "unused_variables", 9, "let x = 1;")
        );
        let (one, two) = (read(&one, ""), read(&two, ""));
        assert!(one.finished && two.finished);
        assert_eq!(one.findings[0].fingerprint(), two.findings[0].fingerprint());
        assert_eq!(two.findings[0].place.as_ref().unwrap().line, Some(9));
        let other = read(&line("warning", "unused_variables", 3, "let x = 2;"), "");
        assert_ne!(
            other.findings[0].fingerprint(),
            one.findings[0].fingerprint()
        );
        assert!(!other.finished);
    }

    #[test]
    fn repetitions_and_totals_are_no_findings() {
        let same = line("error", "E0308", 1, "a");
        let total = r#"{"reason":"compiler-message","message":{"message":"1 warning emitted","level":"warning","code":null,"spans":[]}}"#;
        let read = read(&format!("{same}\n{same}\n{total}\n"), "web/");
        assert_eq!(read.findings.len(), 1);
        assert_eq!(
            read.findings[0].place.as_ref().unwrap().path,
            "web/src/lib.rs"
        );
    }
}
