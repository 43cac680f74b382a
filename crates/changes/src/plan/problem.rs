//! Everything that can be wrong with a plan, as a person gets to see it.

use std::fmt;

use matrix_core::{Code, Problem};

/// The text is neither YAML nor JSON as plans use them.
pub const PLAN_SYNTAX: Code = Code::new("PLAN-0001", 422, 2, "plan cannot be read");
/// A member is missing, unknown or of the wrong kind.
pub const NOT_A_PLAN: Code = Code::new("PLAN-0002", 422, 2, "plan is not of the form");
/// A member's value is not allowed.
pub const PLAN_VALUE: Code = Code::new("PLAN-0003", 422, 2, "plan has a value that is not allowed");
/// The plan is larger than allowed.
pub const PLAN_TOO_LARGE: Code = Code::new("PLAN-0004", 422, 2, "plan is too large");

/// A place in a text, both from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

impl Place {
    /// Where a text begins.
    pub const START: Self = Self { line: 1, column: 1 };
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanFault {
    /// Its code; paths and diffs have those of patches.
    pub code: Code,
    /// Where.
    pub place: Place,
    /// Which member, such as `operations[2].update.diff`; empty for the document as a whole.
    pub member: String,
    /// What is wrong, in a sentence.
    pub message: String,
    /// What was probably meant.
    pub suggestion: Option<&'static str>,
}

impl PlanFault {
    pub(super) fn new(code: Code, place: Place, message: impl Into<String>) -> Self {
        Self {
            code,
            place,
            member: String::new(),
            message: message.into(),
            suggestion: None,
        }
    }

    #[must_use]
    pub(super) fn member(mut self, member: impl Into<String>) -> Self {
        self.member = member.into();
        self
    }

    #[must_use]
    pub(super) fn suggest(mut self, suggestion: Option<&'static str>) -> Self {
        self.suggestion = suggestion;
        self
    }
}

impl fmt::Display for PlanFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.place.line, self.place.column)?;
        if !self.member.is_empty() {
            write!(f, "{}: ", self.member)?;
        }
        f.write_str(&self.message)?;
        match self.suggestion {
            Some(suggestion) => write!(f, "; did you mean `{suggestion}`?"),
            None => Ok(()),
        }
    }
}

/// Everything that is wrong with a plan, in the order of the text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanErrors {
    /// The file, as it was named.
    pub file_name: String,
    /// At least one.
    pub faults: Vec<PlanFault>,
}

impl PlanErrors {
    pub(super) fn new(file_name: &str, mut faults: Vec<PlanFault>) -> Self {
        faults.sort_by_key(|fault| fault.place);
        Self {
            file_name: file_name.to_owned(),
            faults,
        }
    }
}

impl fmt::Display for PlanErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, fault) in self.faults.iter().enumerate() {
            let line_end = if index == 0 { "" } else { "\n" };
            write!(f, "{line_end}{}:{fault}", self.file_name)?;
        }
        Ok(())
    }
}

impl std::error::Error for PlanErrors {}

impl From<PlanErrors> for Problem {
    fn from(errors: PlanErrors) -> Self {
        let code = errors.faults.first().map_or(NOT_A_PLAN, |fault| fault.code);
        let listed: Vec<serde_json::Value> = errors
            .faults
            .iter()
            .map(|fault| {
                serde_json::json!({
                    "code": fault.code.text,
                    "line": fault.place.line,
                    "column": fault.place.column,
                    "member": fault.member,
                    "reason": fault.message,
                    "suggestion": fault.suggestion,
                })
            })
            .collect();
        Self::new(code, errors.to_string())
            .help("correct the plan and try again")
            .with("file", errors.file_name)
            .with("faults", listed)
    }
}
