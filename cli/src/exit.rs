//! Exit codes.

use std::process::ExitCode;

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Done,
    /// It did not work.
    Failed,
    /// Cancelled.
    Cancelled,
    /// The run ended without success.
    Unsuccessful,
    /// It waits for a person.
    Waiting,
    /// Interrupted by the person at the terminal.
    Interrupted,
}

impl Exit {
    /// The exit code of showing a run: a run that nobody drives is not as it should be.
    pub(crate) fn of_showing(forsaken: bool) -> Self {
        if forsaken { Self::Failed } else { Self::Done }
    }

    /// The exit code of a run's state.
    pub(crate) fn of_state(state: &str) -> Self {
        match state {
            "succeeded" => Self::Done,
            "failed" => Self::Unsuccessful,
            "cancelled" => Self::Cancelled,
            _ => Self::Waiting,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Done => 0,
            Exit::Failed => 1,
            Exit::Cancelled => 3,
            Exit::Unsuccessful => 5,
            Exit::Waiting => 8,
            Exit::Interrupted => 130,
        })
    }
}
