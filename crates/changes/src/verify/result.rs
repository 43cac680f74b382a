//! What one attempt of one check gives back: small, self-contained and fit for the journal.
//!
//! Bytes that are larger than a journal entry should be (logs, reports, artifacts) travel beside
//! the result as [`Produced`] and stand in it only by digest.

use std::collections::BTreeMap;

use matrix_core::Digest;
use matrix_evidence::junit::TestCase;
use matrix_evidence::sarif::{Finding, Level, Place};
use matrix_evidence::{ArtifactRef, Kind};
use matrix_sandbox::spec::Denial;
use serde::{Deserialize, Serialize};

use super::counted::Counted;
use super::security::Weakening;

/// Which revision a check ran on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The revision the change starts from.
    Base,
    /// The change.
    Head,
}

impl Side {
    /// The name used in file names and step names.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Head => "head",
        }
    }
}

/// Bytes that a check produced; the caller keeps them in the blob store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Produced {
    /// File name, such as `test_results.cargo.head.1.junit.xml`.
    pub name: String,
    /// Media type.
    pub media_type: String,
    /// The bytes.
    pub bytes: Vec<u8>,
}

impl Produced {
    /// Names some bytes.
    pub fn new(name: impl Into<String>, media_type: &str, bytes: Vec<u8>) -> Self {
        Self {
            name: name.into(),
            media_type: media_type.to_owned(),
            bytes,
        }
    }

    /// What stands in a result for these bytes.
    pub fn reference(&self) -> ArtifactRef {
        ArtifactRef {
            name: self.name.clone(),
            media_type: self.media_type.clone(),
            digest: Digest::of(&self.bytes),
            size: self.bytes.len() as u64,
        }
    }
}

/// A result with the bytes behind it.
#[derive(Debug, Clone, PartialEq)]
pub struct Checked {
    /// For the journal.
    pub result: CheckResult,
    /// For the blob store; every one is named in [`CheckResult::files`] or
    /// [`CheckResult::artifacts`].
    pub produced: Vec<Produced>,
}

/// One attempt of one check on one side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CheckResult {
    /// The check's key: `test_results/cargo`.
    pub job: String,
    /// What it gives evidence of.
    pub kind: Kind,
    /// Which revision.
    pub side: Side,
    /// The attempt, counted from 1.
    pub attempt: u32,
    /// Whether there is a usable report.
    pub state: State,
    /// What it found.
    pub report: Report,
    /// The command as executed; empty for checks that execute nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub command: Vec<String>,
    /// Log and reports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ArtifactRef>,
    /// What the build gave that `matrix.yaml` names.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub artifacts: Vec<ArtifactRef>,
    /// What the sandbox refused.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denials: Vec<Denial>,
    /// What enforced the limits; empty when nothing was executed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub mechanism: String,
    /// The tools' versions that matter for repeating it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tools: BTreeMap<String, String>,
    /// Things a reader should know, such as files that were not understood.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// How the diff weakens the repository's checks; only the security scan looks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub weakening: Option<Weakening>,
    /// Whether an earlier result for the same tree, command and tools was taken.
    #[serde(default)]
    pub cached: bool,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

impl CheckResult {
    /// A result that says why there is none.
    pub fn not_run(job: &str, kind: Kind, side: Side, attempt: u32, reason: String) -> Self {
        Self {
            job: job.to_owned(),
            kind,
            side,
            attempt,
            state: State::NotRun { reason },
            report: Report::Nothing,
            command: Vec::new(),
            files: Vec::new(),
            artifacts: Vec::new(),
            denials: Vec::new(),
            mechanism: String::new(),
            tools: BTreeMap::new(),
            notes: Vec::new(),
            weakening: None,
            cached: false,
            duration_ms: 0,
        }
    }

    /// Its test cases; none when it has no report of tests.
    pub fn cases(&self) -> &[TestCase] {
        match &self.report {
            Report::Tests { cases, .. } => cases,
            _ => &[],
        }
    }

    /// Its tests that passed and are not named.
    pub fn counted(&self) -> Option<&Counted> {
        match &self.report {
            Report::Tests { counted, .. } => Some(counted),
            _ => None,
        }
    }

    /// Its findings; none when it has no report of findings.
    pub fn findings(&self) -> &[Finding] {
        match &self.report {
            Report::Findings { findings } => findings,
            _ => &[],
        }
    }
}

/// Whether a check gave a usable report.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum State {
    /// It ran to its end and its report is complete.
    Completed,
    /// It ran, and ended without a complete report: it did not compile, passed a limit, crashed.
    Broken {
        /// What happened.
        reason: String,
    },
    /// It did not run, through no fault of the change: a tool or a dependency is missing.
    NotRun {
        /// What is missing and how to get it.
        reason: String,
    },
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "what")]
pub enum Report {
    /// Test cases.
    Tests {
        /// The cases; where several have one id, the worst counts.
        cases: Vec<TestCase>,
        /// Tests that passed and are not named, because there are too many.
        #[serde(default, skip_serializing_if = "Counted::is_empty")]
        counted: Counted,
    },
    /// Findings of a linter, a scan or an audit.
    Findings {
        /// In the order the tool gave them.
        findings: Vec<Finding>,
    },
    /// A build, which has only its end.
    Build {
        /// Whether the command ended with zero.
        success: bool,
    },
    /// A bill of materials.
    Bill {
        /// How many components.
        components: u64,
        /// Components of head's lock files that base's do not have.
        added: Vec<Dependency>,
        /// Components of base's lock files that head's do not have.
        removed: Vec<Dependency>,
        /// Which lock files were read.
        lock_files: Vec<String>,
    },
    /// There is no report.
    Nothing,
}

/// A finding at a line (counted from 1; 0 is no line) with what the line says.
pub(crate) fn finding(
    rule: &str,
    level: Level,
    message: &str,
    place: Option<(&str, u32)>,
    text: &str,
) -> Finding {
    Finding {
        rule: rule.to_owned(),
        level,
        message: cut(message, 400),
        place: place.map(|(path, line)| Place {
            path: path.to_owned(),
            line: (line > 0).then_some(line),
            column: None,
        }),
        snippet: (!text.is_empty()).then(|| cut(text, 400)),
    }
}

/// A component of a lock file.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Dependency {
    /// `cargo`, `npm`, `pypi`, `golang`.
    pub ecosystem: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
}

impl std::fmt::Display for Dependency {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} ({})", self.name, self.version, self.ecosystem)
    }
}

/// A text cut to `most` characters, with a sign that it was.
pub(crate) fn cut(text: &str, most: usize) -> String {
    let text = text.trim();
    match text.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
