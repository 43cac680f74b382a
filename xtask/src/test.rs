//! `test`: says whether the tree is good. Its last line is `N passed, N failed`.

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Result, bail};

use crate::check;
use crate::machine;
use crate::process::{self, Stream};
use crate::say;
use crate::stages::Stages;
use crate::tools;
use crate::workspace::Workspace;

/// How many tests passed and failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// They ran and held.
    pub(crate) passed: u64,
    /// They ran and did not hold.
    pub(crate) failed: u64,
}

/// Runs every stage; stops at the first that fails. The failure is already told when this returns,
/// so that the count stays the last line.
pub(crate) fn run() -> ExitCode {
    let mut stages = Stages::new();
    let mut count = Count::default();
    let result = all(&mut stages, &mut count);
    say::progress(&format!("\n{}", stages.summary()));
    if let Err(error) = &result {
        say::error(&format!("{error:#}"));
        // A stage that is not a test, such as the linter, counts as one failure.
        count.failed = count.failed.max(1);
    }
    say::line(&format!("{} passed, {} failed", count.passed, count.failed));
    if result.is_ok() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn all(stages: &mut Stages, count: &mut Count) -> Result<()> {
    let workspace = Workspace::read()?;
    stages.stage("programs", programs)?;
    stages.stage("format", || {
        process::run(workspace.cargo().args(["fmt", "--all", "--check"]))
    })?;
    stages.stage("check", || check::all(&workspace))?;
    stages.stage("lint", || {
        let mut clippy = workspace.cargo();
        clippy.args(["clippy", "--locked", "--workspace", "--all-targets", "--"]);
        process::run(clippy.args(["--deny", "warnings"]))
    })?;
    let tools = stages.stage("test tools", || tools::prepare(&workspace))?;
    stages.stage("tests", || tests(&workspace, &tools, count))?;
    stages.stage("doc tests", || doc_tests(&workspace, count))
}

/// Everything the tests start. A missing program is an error here rather than a test that is
/// silently left out.
fn programs() -> Result<()> {
    let missing: Vec<&str> = ["git", "cc", "python3", "node", "npm"]
        .into_iter()
        .filter(|program| machine::find_program(program).is_none())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!(
        "the tests need programs that were not found: {}; install them with the system's package \
         manager",
        missing.join(", ")
    )
}

/// Every unit, property, conformance, crash and command-line test.
pub(crate) fn tests(workspace: &Workspace, tools: &Path, count: &mut Count) -> Result<()> {
    let (mut command, stream) = runner(workspace);
    command.env(tools::VARIABLE, tools);
    followed(&mut command, stream, count)
}

fn doc_tests(workspace: &Workspace, count: &mut Count) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--workspace", "--doc"]);
    followed(&mut command, Stream::Output, count)
}

/// The test runner that is there, and the stream it reports on.
pub(crate) fn runner(workspace: &Workspace) -> (Command, Stream) {
    let mut command = workspace.cargo();
    if machine::find_program("cargo-nextest").is_some() {
        command.args(["nextest", "run", "--locked", "--workspace"]);
        command.args(["--no-fail-fast", "--status-level", "slow"]);
        (command, Stream::Error)
    } else {
        command.args(["test", "--locked", "--workspace", "--no-fail-fast"]);
        command.args(["--lib", "--bins", "--tests"]);
        (command, Stream::Output)
    }
}

/// Runs a test runner, adding what it counts.
pub(crate) fn followed(command: &mut Command, stream: Stream, count: &mut Count) -> Result<()> {
    let what = process::describe(command);
    let good = process::follow(command, stream, |line| {
        if let Some(part) = counted(line) {
            count.passed += part.passed;
            count.failed += part.failed;
        }
    })?;
    if !good {
        bail!("`{what}` reports failures");
    }
    Ok(())
}

/// The numbers of a runner's summary line; nothing for every other line.
///
/// nextest: `     Summary [   0.4s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`;
/// cargo: `test result: ok. 6 passed; 0 failed; 0 ignored; …`.
fn counted(line: &str) -> Option<Count> {
    let line = without_colour(line);
    let line = line.trim_start();
    let numbers = if let Some(rest) = line.strip_prefix("Summary [") {
        rest.split_once("run:")?.1
    } else {
        line.strip_prefix("test result: ")?
    };
    let mut count = Count::default();
    let words: Vec<&str> = numbers
        .split(|letter: char| !letter.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty())
        .collect();
    for pair in words.windows(2) {
        if let [number, word] = pair
            && let Ok(number) = number.parse::<u64>()
        {
            match *word {
                "passed" => count.passed += number,
                // A test that nextest had to end or could not start did not hold either.
                "failed" | "timed" | "exec" => count.failed += number,
                _ => {}
            }
        }
    }
    Some(count)
}

fn without_colour(line: &str) -> String {
    let mut plain = String::with_capacity(line.len());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        if letter == '\u{1b}' {
            letters.by_ref().find(char::is_ascii_alphabetic);
        } else {
            plain.push(letter);
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_summaries_of_both_runners_are_counted() {
        let nextest = "     Summary [   0.441s] 12 tests run: 10 passed (1 slow), 1 failed, \
                       1 timed out, 2 skipped";
        assert_eq!(
            counted(nextest),
            Some(Count {
                passed: 10,
                failed: 2
            })
        );
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.4s] \u{1b}[1m3\u{1b}[0m tests \
                        run: \u{1b}[1m3\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(
            counted(coloured),
            Some(Count {
                passed: 3,
                failed: 0
            })
        );
        let cargo = "test result: FAILED. 6 passed; 2 failed; 1 ignored; 0 measured";
        assert_eq!(
            counted(cargo),
            Some(Count {
                passed: 6,
                failed: 2
            })
        );
    }

    #[test]
    fn other_lines_are_not_counted() {
        assert_eq!(counted("test 3 passed ... ok"), None);
        assert_eq!(counted("Summary of 3 passed"), None);
        assert_eq!(counted(""), None);
    }
}
