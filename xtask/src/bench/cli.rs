//! Starting the command line: what every script pays each time.

use std::process::Command;

use anyhow::Result;

use crate::bench::measure;
use crate::workspace::Workspace;

/// `matrix --version` beside `git --version` and the empty program `true`.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let matrix = workspace.build("quick")?;
    let with_version = |program: &std::ffi::OsStr| {
        let mut command = Command::new(program);
        command.arg("--version");
        command
    };
    let samples = measure::in_turn(
        rounds,
        &mut [
            &mut || Ok(with_version(matrix.as_os_str())),
            &mut || Ok(with_version("git".as_ref())),
            &mut || Ok(Command::new("true")),
        ],
    )?;
    let names = ["matrix --version", "git --version", "true"];
    let rows: Vec<_> = names.into_iter().zip(&samples).collect();
    measure::table("start of the command line", &rows);
    Ok(())
}
