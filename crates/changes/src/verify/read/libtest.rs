//! The text of Rust's test harness as `cargo test` shows it.
//!
//! The stable harness has no machine format, so its text is read: which binary is running comes
//! from cargo on standard error, the cases from the harness on standard output, and the two are
//! taken over one pipe so that their order is kept. The harness's own totals check the reading.

use std::collections::BTreeMap;

use matrix_evidence::junit::{Outcome, TestCase};

use crate::verify::result::cut;

/// What was read.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Read {
    /// The cases in the order they were read.
    pub(crate) cases: Vec<TestCase>,
    /// How many binaries gave a total.
    pub(crate) summaries: usize,
    /// Where the totals and the lines disagree.
    pub(crate) mismatch: Option<String>,
}

#[derive(Default, Clone, Copy, PartialEq, Eq)]
struct Totals {
    passed: u64,
    failed: u64,
    ignored: u64,
}

/// Reads the whole output.
pub(crate) fn read(output: &str) -> Read {
    let mut reader = Reader::default();
    for line in output.lines() {
        reader.line(line.trim_end_matches('\r'));
    }
    reader.finish()
}

#[derive(Default)]
struct Reader {
    suite: String,
    seen: Totals,
    pending: Option<String>,
    cases: Vec<TestCase>,
    failing: Option<String>,
    messages: BTreeMap<(String, String), String>,
    started: usize,
    summaries: usize,
    mismatch: Option<String>,
}

impl Reader {
    fn line(&mut self, line: &str) {
        if let Some(suite) = suite(line) {
            self.suite = suite;
            self.seen = Totals::default();
            self.failing = None;
            self.pending = None;
        } else if started(line) {
            self.started += 1;
        } else if let Some(totals) = totals(line) {
            self.summary(totals);
        } else if let Some(name) = detail(line) {
            self.failing = Some(name.to_owned());
        } else if line == "failures:" || line == "successes:" {
            self.failing = None;
        } else if let Some(name) = self.failing.clone() {
            let message = self.messages.entry(self.id(&name)).or_default();
            if message.len() < 4000 && !line.trim().is_empty() {
                message.push_str(line);
                message.push('\n');
            }
        } else {
            self.case_line(line);
        }
    }

    fn case_line(&mut self, line: &str) {
        if let Some((name, rest)) = line
            .strip_prefix("test ")
            .and_then(|rest| rest.split_once(" ... "))
        {
            match outcome(rest) {
                Some((outcome, message)) => self.add(name, outcome, message),
                None => self.pending = Some(name.to_owned()),
            }
        } else if let Some(name) = self.pending.clone() {
            // A child process of the test wrote between the name and the outcome.
            if let Some((outcome, message)) = outcome(line) {
                self.pending = None;
                self.add(&name, outcome, message);
            }
        }
    }

    fn id(&self, name: &str) -> (String, String) {
        (self.suite.clone(), stable(name))
    }

    fn add(&mut self, name: &str, outcome: Outcome, message: Option<String>) {
        match outcome {
            Outcome::Passed => self.seen.passed += 1,
            Outcome::Failed | Outcome::Error => self.seen.failed += 1,
            Outcome::Skipped => self.seen.ignored += 1,
        }
        let name = name.strip_suffix(" - should panic").unwrap_or(name);
        let (class, name) = self.id(name);
        let mut case = TestCase::new(class, name, outcome);
        case.message = message;
        self.cases.push(case);
    }

    fn summary(&mut self, told: Totals) {
        self.summaries += 1;
        self.failing = None;
        if told != self.seen && self.mismatch.is_none() {
            self.mismatch = Some(format!(
                "{}: the harness counted {} passed, {} failed, {} ignored, but {}, {} and {} were read",
                self.suite,
                told.passed,
                told.failed,
                told.ignored,
                self.seen.passed,
                self.seen.failed,
                self.seen.ignored,
            ));
        }
        self.seen = Totals::default();
    }

    fn finish(mut self) -> Read {
        for case in &mut self.cases {
            let id = (case.class.clone(), case.name.clone());
            if let (true, Some(message)) = (case.outcome.is_red(), self.messages.get(&id)) {
                case.message = Some(cut(message, 2000));
            }
        }
        if self.started > self.summaries && self.mismatch.is_none() {
            self.mismatch = Some(format!(
                "{} of {} test binaries ended without a total",
                self.started - self.summaries,
                self.started
            ));
        }
        Read {
            cases: self.cases,
            summaries: self.summaries,
            mismatch: self.mismatch,
        }
    }
}

/// `Running unittests src/lib.rs (target/debug/deps/round-0123)` or `Doc-tests round`.
fn suite(line: &str) -> Option<String> {
    let line = line.trim_start();
    if let Some(name) = line.strip_prefix("Doc-tests ") {
        return Some(format!("{} doc-tests", name.trim()));
    }
    let rest = line.strip_prefix("Running ")?.strip_suffix(')')?;
    let (source, binary) = rest.rsplit_once(" (")?;
    let binary = binary.rsplit('/').next().unwrap_or(binary);
    let stem = binary.rsplit_once('-').map_or(binary, |(stem, _)| stem);
    let source = source.strip_prefix("unittests ").unwrap_or(source);
    Some(format!("{stem} {source}"))
}

/// `running 3 tests`
fn started(line: &str) -> bool {
    line.strip_prefix("running ")
        .and_then(|rest| {
            rest.strip_suffix(" tests")
                .or_else(|| rest.strip_suffix(" test"))
        })
        .is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// `test result: ok. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; …`
fn totals(line: &str) -> Option<Totals> {
    let rest = line.strip_prefix("test result: ")?;
    let (_, counts) = rest.split_once(". ")?;
    let mut totals = Totals::default();
    for part in counts.split("; ") {
        let mut words = part.split_whitespace();
        let (Some(number), Some(word)) = (words.next(), words.next()) else {
            continue;
        };
        let Ok(number) = number.parse::<u64>() else {
            continue;
        };
        match word {
            "passed" | "measured" => totals.passed += number,
            "failed" => totals.failed = number,
            "ignored" => totals.ignored = number,
            _ => {}
        }
    }
    Some(totals)
}

/// `---- tests::a stdout ----`
fn detail(line: &str) -> Option<&str> {
    line.strip_prefix("---- ")?
        .strip_suffix(" ----")
        .map(|name| name.strip_suffix(" stdout").unwrap_or(name))
}

fn outcome(rest: &str) -> Option<(Outcome, Option<String>)> {
    let rest = rest.trim();
    // `--report-time` and slow tests put a time behind the word.
    let word = rest.split(" <").next().unwrap_or(rest).trim();
    if word == "ok" || word.ends_with("... ok") || word.starts_with("bench:") {
        Some((Outcome::Passed, None))
    } else if word.starts_with("FAILED") || word.starts_with("FAIL") {
        Some((Outcome::Failed, None))
    } else if let Some(reason) = word.strip_prefix("ignored") {
        let reason = reason.trim_start_matches([',', ' ']);
        let message = (!reason.is_empty()).then(|| cut(reason, 400));
        Some((Outcome::Skipped, message))
    } else {
        None
    }
}

/// A doc test's name without its line, which moves with every edit above it.
fn stable(name: &str) -> String {
    match name.rfind(" (line ") {
        Some(start) => {
            let rest = &name[start..];
            let end = rest.find(')').map_or(rest.len(), |end| end + 1);
            format!("{}{}", &name[..start], &rest[end..])
        }
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const OUTPUT: &str = "\
   Compiling round v0.1.0 (/work)
    Finished `test` profile [unoptimized + debuginfo] target(s) in 0.40s
     Running unittests src/lib.rs (target/debug/deps/round-8a0c)

running 3 tests
test tests::half ... FAILED
test tests::slow ... ignored, takes minutes
test tests::whole ... ok

failures:

---- tests::half stdout ----

thread 'tests::half' panicked at src/lib.rs:9:9:
assertion `left == right` failed
  left: 3
 right: 2
note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace


failures:
    tests::half

test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s

error: test failed, to rerun pass `--lib`
     Running tests/ledger.rs (target/debug/deps/ledger-f00d)

running 1 test
test zero - should panic ... ok

test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s

   Doc-tests round

running 2 tests
test src/lib.rs - round (line 3) ... ok
test src/lib.rs - round (line 9) - compile fail ... ok

test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.21s
";

    #[test]
    fn every_case_has_its_binary_in_its_name() {
        let read = read(OUTPUT);
        let ids: Vec<_> = read
            .cases
            .iter()
            .map(|case| (case.id(), case.outcome))
            .collect();
        let expected = [
            ("round src/lib.rs::tests::half", Outcome::Failed),
            ("round src/lib.rs::tests::slow", Outcome::Skipped),
            ("round src/lib.rs::tests::whole", Outcome::Passed),
            ("ledger tests/ledger.rs::zero", Outcome::Passed),
            ("round doc-tests::src/lib.rs - round", Outcome::Passed),
            (
                "round doc-tests::src/lib.rs - round - compile fail",
                Outcome::Passed,
            ),
        ];
        assert_eq!(ids, expected.map(|(id, outcome)| (id.to_owned(), outcome)));
        assert_eq!((read.summaries, read.mismatch), (3, None));
        let message = read.cases[0].message.as_deref().unwrap();
        assert!(message.contains("left: 3"), "{message}");
        assert_eq!(read.cases[1].message.as_deref(), Some("takes minutes"));
    }

    #[test]
    fn a_total_that_disagrees_with_the_lines_is_told() {
        let output =
            "running 2 tests\ntest a ... ok\ntest result: ok. 2 passed; 0 failed; 0 ignored\n";
        assert!(read(output).mismatch.is_some());
    }

    #[test]
    fn a_binary_that_died_is_told() {
        let output = "running 2 tests\ntest a ... ok\nerror: test failed\n";
        assert!(read(output).mismatch.unwrap().contains("without a total"));
    }

    #[test]
    fn noise_between_name_and_outcome_is_skipped() {
        let output =
            "test a ... child says hi\nok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
        let read = read(output);
        assert_eq!(read.cases.len(), 1);
        assert_eq!(read.mismatch, None);
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "(test |ok|FAILED|\\n| \\.\\.\\. |Running |\\(|\\)|---- |.){0,60}") {
            let _ = read(&text);
        }
    }
}
