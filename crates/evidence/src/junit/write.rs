//! Writing `JUnit` XML.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{Counts, Outcome, TestCase, TestReport};

pub(super) fn write(report: &TestReport, name: &str) -> String {
    let mut suites: BTreeMap<&str, Vec<&TestCase>> = BTreeMap::new();
    for case in &report.cases {
        suites.entry(&case.class).or_default().push(case);
    }
    let mut xml = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
    let all: Vec<&TestCase> = report.cases.iter().collect();
    open(&mut xml, "testsuites", name, &all);
    for (class, cases) in suites {
        open(&mut xml, "testsuite", class, &cases);
        for case in cases {
            write_case(&mut xml, case);
        }
        xml.push_str("</testsuite>\n");
    }
    xml.push_str("</testsuites>\n");
    xml
}

fn open(xml: &mut String, element: &str, name: &str, cases: &[&TestCase]) {
    let counts = count(cases);
    let time_ms = cases.iter().filter_map(|case| case.time_ms);
    let time_ms = time_ms.fold(0_u64, u64::saturating_add);
    // Writing to a string cannot fail.
    let _ = writeln!(
        xml,
        "<{element} name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"{}\" skipped=\"{}\" time=\"{}\">",
        escape(name),
        counts.total,
        counts.failed,
        counts.errors,
        counts.skipped,
        seconds(time_ms)
    );
}

fn count(cases: &[&TestCase]) -> Counts {
    let count = |outcome| cases.iter().filter(|case| case.outcome == outcome).count();
    Counts {
        total: cases.len(),
        passed: count(Outcome::Passed),
        failed: count(Outcome::Failed),
        errors: count(Outcome::Error),
        skipped: count(Outcome::Skipped),
    }
}

fn write_case(xml: &mut String, case: &TestCase) {
    let _ = write!(
        xml,
        "<testcase classname=\"{}\" name=\"{}\"",
        escape(&case.class),
        escape(&case.name)
    );
    if let Some(time_ms) = case.time_ms {
        let _ = write!(xml, " time=\"{}\"", seconds(time_ms));
    }
    let element = match case.outcome {
        Outcome::Passed => None,
        Outcome::Failed => Some("failure"),
        Outcome::Error => Some("error"),
        Outcome::Skipped => Some("skipped"),
    };
    if element.is_none() && !case.flaky {
        xml.push_str("/>\n");
        return;
    }
    xml.push('>');
    if case.flaky {
        xml.push_str("<flakyFailure message=\"passed when run again\"/>");
    }
    if let Some(element) = element {
        let message = case.message.as_deref().unwrap_or_default();
        let first = message.lines().next().unwrap_or_default();
        let _ = write!(xml, "<{element} message=\"{}\">", escape(first));
        let _ = write!(xml, "{}</{element}>", escape(message));
    }
    xml.push_str("</testcase>\n");
}

fn seconds(time_ms: u64) -> String {
    format!("{}.{:03}", time_ms / 1000, time_ms % 1000)
}

/// Text safe in attributes and elements alike; line ends as references, so that they survive.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\r' => escaped.push_str("&#13;"),
            '\t' => escaped.push_str("&#9;"),
            '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => escaped.push('\u{fffd}'),
            other => escaped.push(other),
        }
    }
    escaped
}
