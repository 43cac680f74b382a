//! From what a command left behind to a report.
//!
//! The output of a check is written by the code under change, so nothing in it is trusted further
//! than a test is: it is bounded, it cannot make the reader panic, and where the exit code and
//! the report disagree the worse of the two counts.

pub(crate) mod cargo_json;
pub(crate) mod go;
pub(crate) mod libtest;
pub(crate) mod tap;

use matrix_evidence::junit::{Outcome, TestCase, TestReport};
use matrix_evidence::sarif::{Finding, FindingReport, Level};
use matrix_sandbox::spec::{Ending, Limit};
use serde::Deserialize;

use super::command::Reader;
use super::command::inside_work;
use super::counted::Counted;
use super::result::{Report, State, cut, finding};
use super::words;

/// How many findings one result holds.
const MAX_FINDINGS: usize = 50_000;

/// What a command left behind.
pub(crate) struct Left<'a> {
    /// The check's key, which names the one case or finding of an exit code.
    pub(crate) job: &'a str,
    /// The directory the check ran in, relative to the root.
    pub(crate) directory: &'a str,
    /// How it ended.
    pub(crate) ending: &'a Ending,
    /// When it would have been ended, in seconds.
    pub(crate) timeout_s: u64,
    /// Both streams in the order they came.
    pub(crate) log: &'a [u8],
    /// Standard output alone; empty when the streams were merged.
    pub(crate) stdout: &'a [u8],
    /// The files of the report directory.
    pub(crate) reports: &'a [(String, Vec<u8>)],
}

/// A report and how far it can be relied on.
pub(crate) struct Reading {
    pub(crate) state: State,
    pub(crate) report: Report,
    pub(crate) notes: Vec<String>,
}

/// Reads what a command left behind.
pub(crate) fn read(reader: Reader, left: &Left<'_>) -> Reading {
    let mut reading = match reader {
        Reader::Libtest => left.libtest(),
        Reader::CargoJson => left.cargo_json(),
        Reader::Junit => left.junit(false),
        Reader::JunitOrExit => left.junit(true),
        Reader::SarifOutput => left.sarif_output(),
        Reader::SarifOrExit => left.sarif_or_exit(),
        Reader::SyntaxJson => left.syntax_json(),
        Reader::GoTest => left.go_test(),
        Reader::GoVet => left.go_vet(),
        Reader::Build => left.build(),
        Reader::PythonBuild => left.python_build(),
    };
    reading.cap();
    // A killed command's report may look complete; it is not.
    if let Some(reason) = left.killed() {
        reading.state = State::Broken { reason };
    }
    reading
}

impl Reading {
    fn tests(state: State, cases: Vec<TestCase>) -> Self {
        Self {
            state,
            report: Report::Tests {
                cases,
                counted: Counted::default(),
            },
            notes: Vec::new(),
        }
    }

    fn findings(state: State, findings: Vec<Finding>) -> Self {
        Self {
            state,
            report: Report::Findings { findings },
            notes: Vec::new(),
        }
    }

    fn cap(&mut self) {
        if let Report::Findings { findings } = &mut self.report
            && findings.len() > MAX_FINDINGS
        {
            let length = findings.len();
            findings.truncate(MAX_FINDINGS);
            self.state = State::Broken {
                reason: format!(
                    "the report has {length} findings; at most {MAX_FINDINGS} are read"
                ),
            };
        }
    }
}

fn broken(reason: impl Into<String>) -> State {
    State::Broken {
        reason: reason.into(),
    }
}

impl Left<'_> {
    fn zero(&self) -> bool {
        *self.ending == Ending::Exited { code: 0 }
    }

    /// What ended the command when it did not end by itself.
    fn killed(&self) -> Option<String> {
        match self.ending {
            Ending::Exited { .. } => None,
            Ending::Signalled { signal } => Some(format!("a signal ended it ({signal})")),
            Ending::Cancelled => Some(String::from("it was cancelled")),
            Ending::LimitExceeded { limit } => Some(match limit {
                Limit::Wall => format!("it took longer than {} s and was ended", self.timeout_s),
                Limit::Cpu => String::from("it used more CPU time than allowed and was ended"),
                Limit::Memory => String::from("it used more memory than allowed and was ended"),
                Limit::Processes => {
                    String::from("it made more processes than allowed and was ended")
                }
                Limit::Output => String::from("it printed more than allowed and was ended"),
                Limit::Disk => String::from("it wrote more than allowed and was ended"),
            }),
        }
    }

    /// How it ended, with its last words.
    fn last_words(&self) -> String {
        let how = match self.ending {
            Ending::Exited { code } => format!("it exited with {code}"),
            _ => self.killed().unwrap_or_default(),
        };
        let start = self.log.len().saturating_sub(16 << 10);
        let tail = String::from_utf8_lossy(self.log.get(start..).unwrap_or_default());
        match words::telling(&tail) {
            words if words.is_empty() => how,
            words => format!("{how}: {}", cut(&words, 300)),
        }
    }

    /// Whether a shell or make says that it found no such program, or could not execute it.
    fn not_found(&self) -> bool {
        let code = match self.ending {
            Ending::Exited { code } => *code,
            _ => 0,
        };
        let told = || {
            let log = String::from_utf8_lossy(self.log);
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            tail.iter().any(|line| {
                line.contains("Error 127")
                    || (line.starts_with("make: ") && line.contains("No such file or directory"))
            })
        };
        matches!(code, 126 | 127) || (code == 2 && told())
    }

    fn prefix(&self) -> String {
        if self.directory.is_empty() {
            String::new()
        } else {
            format!("{}/", self.directory)
        }
    }

    fn libtest(&self) -> Reading {
        let read = libtest::read(&String::from_utf8_lossy(self.log));
        let red = read.cases.iter().any(|case| case.outcome.is_red());
        let state = match read.mismatch {
            Some(mismatch) => broken(mismatch),
            None if self.zero() || red => State::Completed,
            None => broken(self.last_words()),
        };
        Reading::tests(state, read.cases)
    }

    fn cargo_json(&self) -> Reading {
        let read = cargo_json::read(&String::from_utf8_lossy(self.stdout), &self.prefix());
        let errors = read
            .findings
            .iter()
            .any(|finding| finding.level == Level::Error);
        let state = if (self.zero() && read.finished) || errors {
            State::Completed
        } else {
            broken(self.last_words())
        };
        Reading::findings(state, read.findings)
    }

    fn junit(&self, exit_code_serves: bool) -> Reading {
        let mut cases: Vec<TestCase> = Vec::new();
        let mut notes = Vec::new();
        let mut read = 0;
        for (name, bytes) in self.reports.iter().filter(|(name, _)| ends(name, "xml")) {
            match TestReport::from_junit(bytes) {
                Ok(more) => {
                    read += 1;
                    cases.extend(more.cases);
                }
                Err(reason) => notes.push(format!("{name}: {reason}")),
            }
        }
        let red = cases.iter().any(|case| case.outcome.is_red());
        let none_found = *self.ending == Ending::Exited { code: 5 } && cases.is_empty();
        let state = if !notes.is_empty() {
            broken(format!("a report could not be read: {}", notes.join("; ")))
        } else if read > 0 && (self.zero() || red || none_found) {
            State::Completed
        } else if read > 0 {
            broken(format!("no test case failed, but {}", self.last_words()))
        } else if let Some(tap) = exit_code_serves.then(|| self.tap()).flatten() {
            return tap;
        } else if exit_code_serves && self.not_found() {
            broken(format!(
                "a command of it was not found; {}",
                self.last_words()
            ))
        } else if exit_code_serves {
            cases.push(if self.zero() {
                TestCase::new("", self.job, Outcome::Passed)
            } else {
                TestCase::new("", self.job, Outcome::Failed).because(self.last_words())
            });
            State::Completed
        } else {
            broken(format!("it wrote no report; {}", self.last_words()))
        };
        let mut reading = Reading::tests(state, cases);
        reading.notes = notes;
        reading
    }

    /// Cases of an output that is TAP, where the runner writes no report.
    fn tap(&self) -> Option<Reading> {
        let read = tap::read(&String::from_utf8_lossy(self.log))?;
        let red = read.cases.iter().any(|case| case.outcome.is_red());
        let mut notes = Vec::new();
        let state = if let Some(reason) = read.bailed {
            broken(format!("the output is TAP, but {reason}"))
        } else if let Some(reason) = read.broken {
            // Programs that run at the same time print into each other, and that says nothing about
            // the tests of a suite that was green.
            let told = format!("the output is TAP, but {reason}");
            if self.zero() && !red {
                notes.push(format!(
                    "{told}; no test failed and the exit code is 0, so that counts. Where programs \
                     print at the same time, let each write a report or run them one by one"
                ));
                State::Completed
            } else {
                broken(told)
            }
        } else if self.zero() || (red && !read.unplanned) {
            State::Completed
        } else if self.not_found() {
            broken(format!(
                "a command of it was not found; {}",
                self.last_words()
            ))
        } else if read.unplanned {
            broken(format!("a TAP document has no plan; {}", self.last_words()))
        } else {
            broken(format!("no test case failed, but {}", self.last_words()))
        };
        let mut reading = Reading::tests(state, read.cases);
        reading.notes = notes;
        Some(reading)
    }

    fn sarif_output(&self) -> Reading {
        match self.sarif(self.stdout) {
            Ok(findings) if self.zero() || !findings.is_empty() => {
                Reading::findings(State::Completed, findings)
            }
            Ok(findings) => Reading::findings(broken(self.last_words()), findings),
            Err(reason) => {
                let reason = format!("{reason}; {}", self.last_words());
                Reading::findings(broken(reason), Vec::new())
            }
        }
    }

    fn sarif_or_exit(&self) -> Reading {
        let mut findings = Vec::new();
        let (mut wrong, mut notes) = (Vec::new(), Vec::new());
        for (name, bytes) in self.reports {
            if !ends(name, "sarif") && !ends(name, "json") {
                continue;
            }
            match self.sarif(bytes) {
                Ok(more) => findings.extend(more),
                Err(reason) => wrong.push(format!("{name}: {reason}")),
            }
        }
        if self.not_found() && findings.is_empty() {
            let reason = format!("a command of it was not found; {}", self.last_words());
            return Reading::findings(State::NotRun { reason }, findings);
        }
        if !self.zero() && findings.is_empty() {
            // The same on both sides, so that a check that was red before is an old finding.
            findings.push(finding(
                self.job,
                Level::Error,
                "the check failed",
                None,
                "",
            ));
            notes.push(self.last_words());
        }
        let state = if wrong.is_empty() {
            State::Completed
        } else {
            broken(format!("a report could not be read: {}", wrong.join("; ")))
        };
        let mut reading = Reading::findings(state, findings);
        reading.notes = notes;
        reading
    }

    fn sarif(&self, bytes: &[u8]) -> Result<Vec<Finding>, String> {
        let root = inside_work(self.directory);
        let report = FindingReport::from_sarif(bytes, &root.to_string_lossy());
        let mut findings = report.map_err(|error| error.to_string())?.findings;
        let prefix = self.prefix();
        for place in findings
            .iter_mut()
            .filter_map(|finding| finding.place.as_mut())
        {
            place.path.insert_str(0, &prefix);
        }
        Ok(findings)
    }

    fn syntax_json(&self) -> Reading {
        #[derive(Deserialize)]
        struct Error {
            path: String,
            line: u32,
            message: String,
            text: String,
        }
        let prefix = self.prefix();
        let findings: Vec<Finding> = String::from_utf8_lossy(self.stdout)
            .lines()
            .filter_map(|line| serde_json::from_str::<Error>(line).ok())
            .map(|found| {
                let path = format!("{prefix}{}", found.path);
                let place = Some((path.as_str(), found.line));
                finding(
                    "python-syntax",
                    Level::Error,
                    &found.message,
                    place,
                    &found.text,
                )
            })
            .collect();
        let state = if self.zero() || !findings.is_empty() {
            State::Completed
        } else {
            broken(self.last_words())
        };
        Reading::findings(state, findings)
    }

    fn go_test(&self) -> Reading {
        let read = go::tests(&String::from_utf8_lossy(self.stdout));
        let red = read.cases.iter().any(|case| case.outcome.is_red());
        let state = if let Some(package) = read.broken_packages.first() {
            broken(format!("{package} did not run; {}", self.last_words()))
        } else if self.zero() || red {
            State::Completed
        } else {
            broken(self.last_words())
        };
        Reading::tests(state, read.cases)
    }

    fn go_vet(&self) -> Reading {
        let findings = go::vet(&String::from_utf8_lossy(self.log), &self.prefix());
        let state = if self.zero() || !findings.is_empty() {
            State::Completed
        } else {
            broken(self.last_words())
        };
        Reading::findings(state, findings)
    }

    /// A wheel that could not be built: nobody said that this machine has what that takes, so it is
    /// no word about the change, unless the judge finds that base was built.
    fn python_build(&self) -> Reading {
        let mut reading = self.build();
        if !self.zero() {
            reading.state = State::NotRun {
                reason: format!("the wheel cannot be built here; {}", self.last_words()),
            };
            reading.report = Report::Nothing;
        }
        reading
    }

    fn build(&self) -> Reading {
        let success = self.zero();
        let mut notes = Vec::new();
        if !success {
            notes.push(self.last_words());
        }
        Reading {
            state: State::Completed,
            report: Report::Build { success },
            notes,
        }
    }
}

fn ends(name: &str, extension: &str) -> bool {
    name.rsplit_once('.')
        .is_some_and(|(_, end)| end.eq_ignore_ascii_case(extension))
}
