//! The port through which a check reaches its sandbox.
//!
//! Behind it stand the sandbox itself, whoever limits how many sandboxes run at once, and, in tests
//! of what happens around an execution, one that refuses. Nothing behind it runs a command without
//! isolation.

use async_trait::async_trait;
use matrix_sandbox::spec::{Outcome, OutputSink, SandboxSpec};
use tokio::sync::watch;

/// The sandbox could not execute the command at all; nothing ran.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the sandbox did not execute the command: {reason}")]
pub struct NotExecuted {
    /// Why, in words for a person.
    pub reason: String,
}

/// Executes one command in isolation.
#[async_trait]
pub trait Executor: Send + Sync {
    /// Runs the command to its end; output goes to the sink as it comes, and the command's whole
    /// process tree is killed when `cancel` turns true.
    async fn execute(
        &self,
        spec: SandboxSpec,
        output: OutputSink,
        cancel: watch::Receiver<bool>,
    ) -> Result<Outcome, NotExecuted>;
}

#[async_trait]
impl Executor for matrix_sandbox::Sandbox {
    async fn execute(
        &self,
        spec: SandboxSpec,
        output: OutputSink,
        cancel: watch::Receiver<bool>,
    ) -> Result<Outcome, NotExecuted> {
        self.run(spec, output, cancel)
            .await
            .map_err(|error| NotExecuted {
                reason: error.to_string(),
            })
    }
}
