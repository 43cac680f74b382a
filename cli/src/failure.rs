//! Why a command did not do what it was asked: one line and an exit code.

use matrix_core::Problem;
use matrix_server::ClientError;

/// A failure of this process, or one that the host told us.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    /// What happened to which thing, and what to do next.
    pub(crate) line: String,
    /// The exit code.
    pub(crate) exit: u8,
}

impl<E> From<E> for Failure
where
    Problem: From<E>,
{
    fn from(error: E) -> Self {
        let problem = Problem::from(error);
        Self {
            line: problem.to_string(),
            exit: problem.code.exit,
        }
    }
}

/// What the host, or the way to it, says.
pub(crate) fn told(error: &ClientError) -> Failure {
    let help = error
        .help()
        .map(|help| format!("; {help}"))
        .unwrap_or_default();
    Failure {
        line: format!("{error}{help}"),
        exit: error.exit_code(),
    }
}
