//! What can go wrong, with the code a person can look up.

use matrix_core::problem::{Code, Problem};

/// The machine cannot isolate.
pub const UNAVAILABLE: Code = Code::new("SANDBOX-0001", 503, 1, "no isolation on this machine");
/// The request names something that cannot be shown inside.
pub const BAD_SPEC: Code = Code::new("SANDBOX-0002", 422, 2, "sandbox request refused");
/// The machine refused a step of the isolation.
pub const SETUP: Code = Code::new("SANDBOX-0003", 503, 1, "sandbox could not be set up");
/// The program does not exist inside.
pub const NOT_FOUND: Code = Code::new("SANDBOX-0004", 422, 1, "program not found in the sandbox");
/// The launcher ended without a result.
pub const LOST: Code = Code::new("SANDBOX-0005", 500, 1, "sandbox launcher lost");
/// A service could not be recorded, found or ended.
pub const SERVICE: Code = Code::new("SANDBOX-0006", 500, 1, "service cannot be controlled");

/// Why this machine cannot isolate, and exactly what to do about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("this machine cannot isolate programs: {reason}")]
pub struct Unavailable {
    /// What is missing.
    pub reason: String,
    /// The command or setting that changes it.
    pub fix: String,
}

/// Why an execution gave no outcome.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// The request names something that is missing or may not be shown inside.
    #[error("the sandbox request is refused: {detail}")]
    Spec {
        /// What is wrong.
        detail: String,
    },
    /// A step of the isolation failed; the program was not started.
    #[error("the sandbox could not be set up: {detail}")]
    Setup {
        /// Which step.
        detail: String,
    },
    /// The program does not exist in the sandbox or cannot be executed there.
    #[error("the program `{program}` cannot be executed in the sandbox: {detail}")]
    Program {
        /// As it stood in the request.
        program: String,
        /// The system's reason.
        detail: String,
    },
    /// The launcher ended without saying how the program ended.
    #[error("the sandbox launcher was lost: {detail}")]
    Lost {
        /// What was seen of it.
        detail: String,
    },
    /// A service could not be recorded, found or ended.
    #[error("the service cannot be controlled: {detail}")]
    Service {
        /// What was tried on which service.
        detail: String,
    },
}

impl From<Unavailable> for Problem {
    fn from(error: Unavailable) -> Self {
        Self::new(UNAVAILABLE, error.to_string()).help(error.fix)
    }
}

impl From<SandboxError> for Problem {
    fn from(error: SandboxError) -> Self {
        let code = match &error {
            SandboxError::Spec { .. } => BAD_SPEC,
            SandboxError::Setup { .. } => SETUP,
            SandboxError::Program { .. } => NOT_FOUND,
            SandboxError::Lost { .. } => LOST,
            SandboxError::Service { .. } => SERVICE,
        };
        Self::new(code, error.to_string())
    }
}
