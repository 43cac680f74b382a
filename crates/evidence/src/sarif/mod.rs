//! Findings of linters and scanners, as SARIF 2.1.0, and which of them a change brought.
//!
//! A [`Finding`] is the part of a SARIF result that decides anything: rule, level, message, place.
//! Two revisions are compared by [`Finding::fingerprint`], which leaves line numbers out, so that a
//! finding that only moved is not new; where one file holds the same finding several times, they
//! are counted.
//!
//! [`FindingReport::from_sarif`] reads any tool's file, [`FindingReport::to_sarif`] writes ours.

mod compare;
mod read;
mod write;

use matrix_core::{Code, Digest, Problem};
use serde::{Deserialize, Serialize};

pub use compare::{FindingComparison, compare};

/// A findings file that cannot be read.
pub const FINDINGS_UNREADABLE: Code = Code::new("REPORT-0002", 422, 1, "findings unreadable");

/// A file is at most this many bytes.
pub const MAX_SARIF_BYTES: usize = 128 * 1024 * 1024;
/// A report has at most this many findings.
pub const MAX_FINDINGS: usize = 200_000;

/// How much a finding matters, in SARIF's words.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Does not apply to this tool's results.
    None,
    /// A remark.
    Note,
    /// A problem; SARIF's default.
    #[default]
    Warning,
    /// A serious problem.
    Error,
}

/// Where a finding is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Path from the root of the repository, with `/`.
    pub path: String,
    /// First line, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// First column, from 1, in Unicode characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

/// One thing a tool found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's id, such as `clippy::needless_return`.
    pub rule: String,
    /// How much it matters.
    pub level: Level,
    /// What is wrong.
    pub message: String,
    /// Where, if the tool said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub place: Option<Place>,
    /// The text at that place, which makes the finding recognisable when lines move. Never the
    /// text of a secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub snippet: Option<String>,
}

impl Finding {
    /// What a finding is known by from one revision to the next: the digest of rule, path, message
    /// and snippet, with runs of white space counted as one space. Lines and columns do not count.
    pub fn fingerprint(&self) -> Digest {
        self.fingerprint_at(self.place.as_ref().map_or("", |place| &place.path))
    }

    fn fingerprint_at(&self, path: &str) -> Digest {
        let snippet = self.snippet.as_deref().unwrap_or_default();
        let parts = [
            &*self.rule,
            path,
            &squeeze(&self.message),
            &squeeze(snippet),
        ];
        // Lengths keep the parts apart.
        let text: Vec<String> = parts
            .iter()
            .map(|part| format!("{} {part}", part.len()))
            .collect();
        Digest::of(text.concat())
    }
}

fn squeeze(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A rule that a tool knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its id.
    pub id: String,
    /// What it is about.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Where more is said.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub help_uri: String,
}

/// What one tool said about one revision.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindingReport {
    /// The tool's name.
    pub tool: String,
    /// Its version, if known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The rules it used; those of findings are added when written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// What it found.
    pub findings: Vec<Finding>,
    /// Results that the source or the tool's configuration suppresses; they do not count.
    #[serde(default)]
    pub suppressed: usize,
}

impl FindingReport {
    /// Reads a SARIF 2.1.0 file; all its runs become one report, named by the first run's tool.
    /// `root` is where the repository lay when the tool ran; paths below it become relative.
    pub fn from_sarif(bytes: &[u8], root: &str) -> Result<Self, SarifError> {
        read::read(bytes, root)
    }

    /// Writes SARIF 2.1.0. The same report gives the same bytes.
    pub fn to_sarif(&self) -> Result<Vec<u8>, SarifError> {
        write::write(self)
    }
}

/// Why a file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum SarifError {
    /// A limit.
    #[error("findings file is too large: {0}")]
    TooLarge(&'static str),
    /// Not JSON of the form that SARIF has.
    #[error("findings file is not SARIF: {0}")]
    Json(#[source] serde_json::Error),
    /// Another version.
    #[error("findings file has SARIF version `{0}`, only 2.1.0 is read")]
    Version(String),
    /// The tool says itself that it did not finish.
    #[error("the tool that wrote the findings says that it did not finish: {0}")]
    Unfinished(String),
}

impl From<SarifError> for Problem {
    fn from(error: SarifError) -> Self {
        Self::new(FINDINGS_UNREADABLE, error.to_string())
            .help("look at the tool's log; have it write SARIF 2.1.0 with `results`")
    }
}
