//! Test results: what ran, how each test ended, and what a change did to that.
//!
//! `JUnit` XML has no specification, only habits. [`TestReport`] is the part of it that decides
//! anything; [`TestReport::from_junit`] reads what the usual runners write, and
//! [`TestReport::to_junit`] writes a form that they read. Reports may also be put together from
//! other output, case by case.
//!
//! A test is known by its [`TestCase::id`]. Where a runner gives several cases one id (one case for
//! each parameter, say), they count as one test that is as bad as the worst of them.

mod compare;
mod read;
mod write;

use matrix_core::{Code, Problem};
use serde::{Deserialize, Serialize};

pub use compare::{Comparison, compare, merge_rerun};

/// A test report that cannot be read.
pub const TESTS_UNREADABLE: Code = Code::new("REPORT-0001", 422, 1, "test report unreadable");

/// A report is at most this many bytes.
pub const MAX_REPORT_BYTES: usize = 128 * 1024 * 1024;
/// A report has at most this many cases.
pub const MAX_CASES: usize = 500_000;
/// Elements are nested at most this deep.
pub const MAX_DEPTH: usize = 64;
/// Messages and names are cut to this many bytes.
pub const MAX_TEXT_BYTES: usize = 64 * 1024;

/// How a test ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was not run.
    Skipped,
    /// It did what it should.
    Passed,
    /// What it asserts does not hold.
    Failed,
    /// It could not be carried out: a crash, a time-out, a broken fixture.
    Error,
}

impl Outcome {
    /// Failed or error.
    pub const fn is_red(self) -> bool {
        matches!(self, Self::Failed | Self::Error)
    }
}

/// One test of one run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestCase {
    /// Where it stands: a class, module, crate and binary, or file. May be empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub class: String,
    /// Its name within that.
    pub name: String,
    /// How it ended.
    pub outcome: Outcome,
    /// It was red at first and green when run again.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub flaky: bool,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_ms: Option<u64>,
    /// Why it failed or was skipped, as the runner said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

impl TestCase {
    /// A case of which no more is known than how it ended.
    pub fn new(class: impl Into<String>, name: impl Into<String>, outcome: Outcome) -> Self {
        Self {
            class: class.into(),
            name: name.into(),
            outcome,
            flaky: false,
            time_ms: None,
            message: None,
        }
    }

    /// Adds what the runner said.
    #[must_use]
    pub fn because(mut self, message: impl Into<String>) -> Self {
        self.message = Some(message.into());
        self
    }

    /// Adds how long it took.
    #[must_use]
    pub fn took(mut self, time_ms: u64) -> Self {
        self.time_ms = Some(time_ms);
        self
    }

    /// What a test is known by from one revision to the next: `class::name`.
    pub fn id(&self) -> String {
        if self.class.is_empty() {
            self.name.clone()
        } else {
            format!("{}::{}", self.class, self.name)
        }
    }
}

/// Everything one run of the tests said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TestReport {
    /// The tests, in the order they were reported.
    pub cases: Vec<TestCase>,
}

/// How many tests ended how.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// All cases.
    pub total: usize,
    /// Passed, flaky ones too.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
    /// Errors.
    pub errors: usize,
    /// Skipped.
    pub skipped: usize,
}

impl TestReport {
    /// How many cases ended how.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts {
            total: self.cases.len(),
            ..Counts::default()
        };
        for case in &self.cases {
            match case.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed => counts.failed += 1,
                Outcome::Error => counts.errors += 1,
                Outcome::Skipped => counts.skipped += 1,
            }
        }
        counts
    }

    /// Reads `JUnit` XML as the usual runners write it. What is not understood is passed over; a
    /// file that is cut off or not well-formed is an error, because what it does not say may be
    /// the failure.
    pub fn from_junit(bytes: &[u8]) -> Result<Self, JunitError> {
        read::read(bytes)
    }

    /// Writes `JUnit` XML, one suite for each class. Characters that XML cannot hold become U+FFFD.
    pub fn to_junit(&self, name: &str) -> String {
        write::write(self, name)
    }
}

/// Why a report cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JunitError {
    /// A limit.
    #[error("test report is too large: {0}")]
    TooLarge(&'static str),
    /// Not XML, or cut off.
    #[error("test report is not well-formed XML at byte {at}: {why}")]
    Xml {
        /// The offset.
        at: u64,
        /// What the parser said.
        why: String,
    },
    /// XML, but something else.
    #[error("test report begins with <{0}>, not with <testsuites> or <testsuite>")]
    NotJunit(String),
    /// No element at all.
    #[error("test report is empty")]
    Empty,
}

impl From<JunitError> for Problem {
    fn from(error: JunitError) -> Self {
        Self::new(TESTS_UNREADABLE, error.to_string())
            .help("look at the log of the test run; a runner that was killed leaves half a file")
    }
}
