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

/// A program that runs tests and says at the end how many held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runner {
    /// `cargo nextest`, which reports on standard error.
    Nextest,
    /// `cargo test`, which reports on standard output.
    Cargo,
}

impl Runner {
    /// The one that is installed.
    pub(crate) fn find() -> Self {
        if machine::find_program("cargo-nextest").is_some() {
            Self::Nextest
        } else {
            Self::Cargo
        }
    }

    /// The command for every test of the workspace but those in documentation.
    pub(crate) fn command(self, workspace: &Workspace) -> Command {
        let mut command = workspace.cargo();
        match self {
            Self::Nextest => command.args([
                "nextest",
                "run",
                "--locked",
                "--workspace",
                "--no-fail-fast",
                "--status-level",
                "slow",
            ]),
            Self::Cargo => command.args([
                "test",
                "--locked",
                "--workspace",
                "--no-fail-fast",
                "--lib",
                "--bins",
                "--tests",
            ]),
        };
        command
    }

    /// The command for every test of one package with a feature, those that are marked to be ignored
    /// too.
    pub(crate) fn package(self, workspace: &Workspace, name: &str, feature: &str) -> Command {
        let mut command = workspace.cargo();
        match self {
            Self::Nextest => command.args(["nextest", "run", "--no-fail-fast"]),
            Self::Cargo => command.args(["test", "--no-fail-fast", "--lib", "--tests"]),
        };
        command.args(["--locked", "--package", name, "--features", feature]);
        match self {
            Self::Nextest => command.args(["--status-level", "slow", "--run-ignored", "all"]),
            Self::Cargo => command.args(["--", "--include-ignored"]),
        };
        command
    }

    const fn stream(self) -> Stream {
        match self {
            Self::Nextest => Stream::Error,
            Self::Cargo => Stream::Output,
        }
    }

    /// Runs a command of this runner, adding what it counts.
    pub(crate) fn run(self, command: &mut Command, count: &mut Count) -> Result<()> {
        let what = process::describe(command);
        let good = process::follow(command, self.stream(), |line| {
            if let Some(part) = self.counted(line) {
                count.passed += part.passed;
                count.failed += part.failed;
            }
        })?;
        if !good {
            bail!("`{what}` reports failures");
        }
        Ok(())
    }

    /// The numbers of the runner's own summary line; nothing for every other line, such as the
    /// output of a failed test, which may hold a summary of its own.
    ///
    /// nextest: `     Summary [   0.4s] 12 tests run: 11 passed (1 slow), 1 failed, 2 skipped`;
    /// cargo: `test result: ok. 6 passed; 0 failed; 0 ignored; …`.
    fn counted(self, line: &str) -> Option<Count> {
        let line = without_colour(line);
        let numbers = match self {
            Self::Nextest => {
                line.trim_start()
                    .strip_prefix("Summary [")?
                    .split_once("run:")?
                    .1
            }
            Self::Cargo => line.strip_prefix("test result: ")?,
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
                    // What nextest had to end or could not start did not hold either.
                    "failed" | "timed" | "exec" => count.failed += number,
                    _ => {}
                }
            }
        }
        Some(count)
    }
}

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
    stages.stage("PostgreSQL", tools::postgresql)?;
    stages.stage("brokers", tools::brokers)?;
    let tools = stages.stage("test tools", || tools::prepare(&workspace))?;
    stages.stage("object stores", || tools::stores(&workspace))?;
    stages.stage("clients of models", || tools::clients(&workspace))?;
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
fn tests(workspace: &Workspace, tools: &Path, count: &mut Count) -> Result<()> {
    let runner = Runner::find();
    let mut command = runner.command(workspace);
    command.env(tools::VARIABLE, tools);
    runner.run(&mut command, count)
}

fn doc_tests(workspace: &Workspace, count: &mut Count) -> Result<()> {
    let mut command = workspace.cargo();
    command.args(["test", "--locked", "--workspace", "--doc"]);
    Runner::Cargo.run(&mut command, count)
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
        let count = |passed, failed| Some(Count { passed, failed });
        assert_eq!(Runner::Nextest.counted(nextest), count(10, 2));
        let coloured = "\u{1b}[32;1m     Summary\u{1b}[0m [   0.4s] \u{1b}[1m3\u{1b}[0m tests \
                        run: \u{1b}[1m3\u{1b}[0m \u{1b}[32;1mpassed\u{1b}[0m, 0 skipped";
        assert_eq!(Runner::Nextest.counted(coloured), count(3, 0));
        let cargo = "test result: FAILED. 6 passed; 2 failed; 1 ignored; 0 measured";
        assert_eq!(Runner::Cargo.counted(cargo), count(6, 2));
    }

    #[test]
    fn other_lines_are_not_counted() {
        for line in ["test 3 passed ... ok", "Summary of 3 passed", ""] {
            assert_eq!(Runner::Nextest.counted(line), None, "{line}");
            assert_eq!(Runner::Cargo.counted(line), None, "{line}");
        }
        // nextest shows what a failed test printed, which is the summary of a single test.
        let inner = "    test result: FAILED. 0 passed; 1 failed; 0 ignored";
        assert_eq!(Runner::Nextest.counted(inner), None);
        assert_eq!(Runner::Cargo.counted(inner), None);
    }
}
