//! `demo`: builds the product and lets it show itself.

use std::process::Command;

use anyhow::{Result, bail};

use crate::machine;
use crate::process;
use crate::say;
use crate::stages::show;
use crate::workspace::Workspace;

/// Builds `matrix` and runs `matrix demo` with the given arguments.
pub(crate) fn run(arguments: &[String]) -> Result<()> {
    let workspace = Workspace::read()?;
    for (program, why) in [
        ("git", "the repository under change is one of git's"),
        ("cc", "SQLite is compiled with it"),
    ] {
        if machine::find_program(program).is_none() {
            bail!(
                "`{program}` was not found ({why}); install it with the system's package manager \
                 and run `cargo xtask demo` again"
            );
        }
    }
    say::progress("Building matrix (the first time takes some minutes) …");
    let watch = machine::Stopwatch::start();
    let binary = workspace.build("quick")?;
    say::progress(&format!("Built in {}.", show(watch.elapsed())));
    process::run(
        Command::new(binary)
            .arg("demo")
            .args(arguments)
            .current_dir(&workspace.root),
    )
}
