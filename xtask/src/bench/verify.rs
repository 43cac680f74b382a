//! Verifying the bundle of the Rust example's change, beside the one-file verifier in Python, which
//! reads the same bundle and asks the same questions.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::bench::change::{Example, last_object};
use crate::bench::measure;
use crate::process;
use crate::workspace::Workspace;

/// Makes one bundle, then verifies it again and again.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let matrix = workspace.build("quick")?;
    let example = Example::prepare(workspace, "verify")?;
    let said = process::read(&mut example.change(&matrix, &example.place("data")?))?;
    let result = last_object(&said)?;
    let path = |member: &str| {
        result
            .get(member)
            .and_then(Value::as_str)
            .map(str::to_owned)
            .with_context(|| format!("the change named no {member}: {result}"))
    };
    let (bundle, key) = (path("bundle")?, path("key")?);
    let script = workspace.root.join("examples/verify/verify.py");
    let samples = measure::in_turn(
        rounds,
        &mut [
            &mut || {
                let mut command = Command::new(&matrix);
                command.args(["verify", &bundle, "--key", &key]);
                Ok(command)
            },
            &mut || {
                let mut command = Command::new("python3");
                command.arg(&script).args([&bundle, "--key", &key]);
                Ok(command)
            },
        ],
    )?;
    let names = ["matrix verify", "examples/verify/verify.py"];
    let rows: Vec<_> = names.into_iter().zip(&samples).collect();
    measure::table("verifying a bundle", &rows);
    Ok(())
}
