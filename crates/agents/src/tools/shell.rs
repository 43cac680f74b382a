//! Commands.

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use matrix_engine::{EffectClass, StepError};
use matrix_sandbox::SandboxError;
use matrix_sandbox::live::LiveCommand;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::files::declared;
use super::{Declaration, OUTPUT_MAX, Output, Tool, excerpt, inside, read, schema};
use crate::workspace::{Bench, later};

/// How long a command takes at most, unless it asks for more, in seconds.
const WALL: u64 = 120;
/// How much it may ask for.
const WALL_MAX: u64 = 1_800;
/// The most bytes of output that are kept.
const KEPT: u64 = 4 << 20;

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Line {
    /// The command line, for `bash`.
    command: String,
    /// The directory it runs in, from the top of the repository; the top itself if it is left out.
    directory: Option<String>,
    /// How long it may take; 120 if it is left out, 1800 at most.
    timeout_seconds: Option<u64>,
}

declared!(
    Shell,
    Line,
    "shell",
    EffectClass::Workspace,
    "Runs a command line with bash in the repository: builds, tests, git and other programs. There is \
     no network and no terminal; what it leaves running is ended. A pipe fails where one of its commands \
     does. Standard output and error are given \
     together, with the exit code."
);

#[async_trait]
impl Tool for Shell {
    fn declaration(&self) -> &Declaration {
        &self.0
    }

    async fn call(&self, bench: &Bench<'_>, arguments: &Value) -> Result<Output, StepError> {
        let asked = match read::<Line>(arguments) {
            Ok(asked) => asked,
            Err(bad) => return Ok(bad),
        };
        let cwd = match inside(asked.directory.as_deref().unwrap_or(".")) {
            Ok(cwd) => cwd,
            Err(bad) => return Ok(bad),
        };
        let seconds = asked.timeout_seconds.unwrap_or(WALL).clamp(1, WALL_MAX);
        let line = LiveCommand {
            command: ["bash", "-o", "pipefail", "-c", &asked.command]
                .map(Into::into)
                .into(),
            cwd,
            env: BTreeMap::new(),
            wall: Duration::from_secs(seconds),
            output_bytes: KEPT,
        };
        let mut output = Vec::new();
        let done = bench
            .live()?
            .execute(&line, &mut |_, bytes| output.extend_from_slice(bytes))
            .await;
        let done = match done {
            Ok(done) => done,
            Err(SandboxError::Program { detail, .. }) => {
                return Ok(Output::bad(format!(
                    "the command was not started: {detail}"
                )));
            }
            Err(error) => return Err(later(error)),
        };
        let said = String::from_utf8_lossy(&output);
        let how = match (done.late, done.code, done.signal) {
            (true, _, _) => format!("it was ended after {seconds} seconds"),
            (_, Some(code), _) => format!("exit code {code}"),
            (_, None, Some(signal)) => format!("ended by signal {signal}"),
            _ => "it ended in a way that is not known".into(),
        };
        let cut = done.output_bytes > KEPT;
        let more = if cut { ", more output was dropped" } else { "" };
        let text = format!("{}\n[{how}{more}]", excerpt(said.trim_end()));
        let failed = !done.success();
        let whole = (said.len() > OUTPUT_MAX).then(|| output.clone());
        Ok(Output {
            text,
            failed,
            whole,
        })
    }
}
