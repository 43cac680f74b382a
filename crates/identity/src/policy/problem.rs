//! What can be wrong with policies, with file, line and column.

use matrix_core::{Code, Problem};
use serde::Serialize;

/// A policy file or directory that cannot be read.
pub const UNREADABLE: Code = Code::new("POLICY-0001", 500, 1, "policy cannot be read");
/// Policies that do not parse or do not fit the schema.
pub const INVALID: Code = Code::new("POLICY-0002", 500, 1, "policy is not valid");
/// More or larger policy files than are read.
pub const OVER_LIMIT: Code = Code::new("POLICY-0003", 500, 1, "policy is too large");

/// One mistake in a policy file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The file, such as `policy/release.cedar`.
    pub file: String,
    /// The line, counted from 1; none when the mistake has no place.
    pub line: Option<u32>,
    /// The column in characters, counted from 1.
    pub column: Option<u32>,
    /// What is wrong.
    pub message: String,
}

impl Finding {
    /// A mistake at a byte offset of a file's text.
    pub(crate) fn at(file: &str, text: &str, offset: Option<usize>, message: String) -> Self {
        let place = offset.map(|offset| place_of(text, offset));
        Self {
            file: file.to_owned(),
            line: place.map(|(line, _)| line),
            column: place.map(|(_, column)| column),
            message,
        }
    }
}

impl std::fmt::Display for Finding {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if let Some(column) = self.column {
            write!(f, ":{column}")?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Line and column, both counted from 1, of a byte offset.
pub(crate) fn place_of(text: &str, offset: usize) -> (u32, u32) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before
        .rsplit('\n')
        .next()
        .map_or(0, |last| last.chars().count())
        + 1;
    let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    (small(line), small(column))
}

/// Why the policies of a data directory cannot be used. Until it is mended everything is denied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A file or directory could not be read.
    #[error("policy {path} cannot be read: {reason}")]
    Unreadable {
        /// The file or directory.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// A limit on files was passed.
    #[error("policy {path} is over the limit of {limit}")]
    OverLimit {
        /// The file or directory.
        path: String,
        /// The limit, in words.
        limit: String,
    },
    /// Some policies do not parse or do not fit the schema.
    #[error("policy is not valid: {}", listed(.0))]
    Invalid(
        /// Every mistake found, in the order of the files.
        Vec<Finding>,
    ),
}

/// The findings as one line; a long list is cut.
fn listed(findings: &[Finding]) -> String {
    const SHOWN: usize = 5;
    let mut shown: Vec<String> = findings
        .iter()
        .take(SHOWN)
        .map(ToString::to_string)
        .collect();
    if findings.len() > SHOWN {
        shown.push(format!("and {} more", findings.len() - SHOWN));
    }
    shown.join("; ")
}

impl From<PolicyError> for Problem {
    fn from(error: PolicyError) -> Self {
        let detail = error.to_string();
        match error {
            PolicyError::Unreadable { .. } => Problem::new(UNREADABLE, detail)
                .help("let the owner of the data directory read it, or remove it"),
            PolicyError::OverLimit { .. } => {
                Problem::new(OVER_LIMIT, detail).help("split or shorten the policies")
            }
            PolicyError::Invalid(findings) => Problem::new(INVALID, detail)
                .help("mend the policy; until then every request is denied")
                .with(
                    "findings",
                    serde_json::to_value(findings).unwrap_or_default(),
                ),
        }
    }
}
