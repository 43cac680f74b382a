//! What keeps a check from giving any result, and how it reaches a person.

use std::path::PathBuf;

use matrix_core::{Code, Problem};
use matrix_engine::StepError;

use super::config::ConfigError;

/// `matrix.yaml` of the base revision cannot be used.
pub const CONFIG_REFUSED: Code = Code::new("VERIFY-0001", 422, 2, "matrix.yaml refused");
/// The sandbox could not execute a check.
pub const NO_SANDBOX: Code = Code::new("VERIFY-0002", 503, 1, "sandbox unavailable");
/// The machine failed while a check was prepared or its files were read.
pub const MACHINE: Code = Code::new("VERIFY-0003", 500, 1, "check could not be prepared");
/// The caller cancelled the check.
pub const CANCELLED: Code = Code::new("VERIFY-0004", 409, 3, "check cancelled");
/// The vulnerability database cannot be read.
pub const BAD_DATABASE: Code =
    Code::new("VERIFY-0005", 422, 1, "vulnerability database unreadable");
/// The name of a job is not one of the project's.
pub const UNKNOWN_SIDE: Code = Code::new("VERIFY-0006", 422, 2, "check does not run on this side");

/// A check gave no result through no fault of the change; trying again may help.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The base revision's `matrix.yaml` is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The sandbox refused to start.
    #[error("the check `{job}` was not executed: {reason}")]
    Sandbox {
        /// The check.
        job: String,
        /// Why.
        reason: String,
    },
    /// A file operation of ours failed.
    #[error("{what} at `{path}` failed")]
    Io {
        /// What was done.
        what: &'static str,
        /// To which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// The caller cancelled it.
    #[error("the check `{job}` was cancelled")]
    Cancelled {
        /// The check.
        job: String,
    },
    /// The vulnerability database is not there or not understood.
    #[error("the vulnerability database at `{path}` cannot be used: {reason}")]
    Database {
        /// Where it was looked for.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The job has nothing to do on that side.
    #[error("the check `{job}` does not run on the {side} side")]
    Side {
        /// The check.
        job: String,
        /// The side.
        side: &'static str,
    },
}

impl VerifyError {
    pub(crate) fn io(
        what: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

impl From<VerifyError> for StepError {
    /// What only a person can put right ends the step at once; the rest may go away by itself.
    fn from(error: VerifyError) -> Self {
        let lasting = matches!(
            error,
            VerifyError::Config(_) | VerifyError::Database { .. } | VerifyError::Side { .. }
        );
        let problem = Problem::from(error);
        let text = match &problem.help {
            Some(help) => format!("{}; {help}", problem.detail),
            None => problem.detail.clone(),
        };
        if lasting {
            Self::permanent(problem.code.text, text)
        } else {
            Self::transient(problem.code.text, text)
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        let (code, help) = match &error {
            VerifyError::Config(_) => (
                CONFIG_REFUSED,
                "correct the file on the base revision; a change to it counts after its release",
            ),
            VerifyError::Sandbox { .. } => (
                NO_SANDBOX,
                "see what `matrix doctor --sandbox` says; nothing runs without isolation",
            ),
            VerifyError::Io { .. } => (
                MACHINE,
                "see that the disk has space and the data directory can be written, then resume",
            ),
            VerifyError::Cancelled { .. } => {
                (CANCELLED, "run the change again if it is still wanted")
            }
            VerifyError::Database { .. } => (
                BAD_DATABASE,
                "give the path of a directory with OSV records, or none to skip the audit",
            ),
            VerifyError::Side { .. } => (UNKNOWN_SIDE, "ask the job for its sides"),
        };
        let mut detail = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            detail = format!("{detail}: {cause}");
            source = cause.source();
        }
        Problem::new(code, detail).help(help)
    }
}
