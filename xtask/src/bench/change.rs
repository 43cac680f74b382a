//! A whole change: the Rust example from its plan to its release, in a data directory that is new
//! each time, beside the bare tools doing the same checks by hand with no isolation and no record.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::bench::measure;
use crate::process;
use crate::workspace::Workspace;

/// A repository made of the Rust example, and room beside it.
pub(crate) struct Example {
    folder: PathBuf,
    plan: PathBuf,
}

impl Example {
    /// Makes it anew under the target directory.
    pub(crate) fn prepare(workspace: &Workspace, name: &str) -> Result<Self> {
        let folder = workspace.target.join("bench").join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        let example = workspace.root.join("examples/rust");
        let repository = folder.join("repository");
        process::run(
            Command::new("cp")
                .arg("-R")
                .arg(example.join("repository"))
                .arg(&repository),
        )?;
        let git = |arguments: &[&str]| {
            process::read(
                Command::new("git")
                    .current_dir(&repository)
                    .args([
                        "-c",
                        "user.name=Bench",
                        "-c",
                        "user.email=bench@example.org",
                    ])
                    .args(arguments),
            )
        };
        git(&["init", "--quiet", "--initial-branch", "main"])?;
        git(&["add", "--all"])?;
        git(&["commit", "--quiet", "--message", "The ledger"])?;
        Ok(Self {
            folder,
            plan: example.join("plans/fix.yaml"),
        })
    }

    /// The command that takes the plan through, with this data directory.
    pub(crate) fn change(&self, matrix: &Path, data: &Path) -> Command {
        let mut command = Command::new(matrix);
        command.args(["change", "run", "--json", "--data-dir"]);
        command.arg(data).arg("--repo").arg(self.repository());
        command.arg("--plan").arg(&self.plan);
        command
    }

    /// A new, empty place beside the repository.
    pub(crate) fn place(&self, name: &str) -> Result<PathBuf> {
        let place = self.folder.join(name);
        fs::create_dir_all(&place)?;
        Ok(place)
    }

    fn repository(&self) -> PathBuf {
        self.folder.join("repository")
    }

    /// What a person without Matrix would type: the change in a clone, linted, built and tested
    /// there, and tested at its base to know which failures are new.
    fn by_hand(&self, place: &Path) -> Command {
        let mut command = Command::new("sh");
        command.current_dir(place);
        command.env("REPOSITORY", self.repository());
        // Somebody's shared directory would hold what another clone has built.
        command.env_remove("CARGO_TARGET_DIR");
        command.args([
            "-euc",
            "git clone --quiet \"$REPOSITORY\" tree && cd tree
             cargo clippy --quiet --all-targets && { cargo test --quiet || true; }
             sed -i 's/rest >= divisor - rest/rest > divisor - rest || (rest == divisor - rest \
             \\&\\& quotient % 2 != 0)/' src/round.rs
             cargo clippy --quiet --all-targets && cargo build --quiet && cargo test --quiet",
        ]);
        command
    }
}

/// What a command with `--json` said last.
pub(crate) fn last_object(output: &str) -> Result<Value> {
    let line = output.lines().last().unwrap_or_default();
    serde_json::from_str(line).with_context(|| format!("not a JSON object: `{line}`"))
}

/// Measures it.
pub(crate) fn run(workspace: &Workspace, rounds: usize) -> Result<()> {
    let matrix = workspace.build("quick")?;
    let example = Example::prepare(workspace, "change")?;
    let said = process::read(&mut example.change(&matrix, &example.place("proof")?))?;
    let verdict = last_object(&said)?;
    if verdict["state"] != "succeeded" {
        bail!("the example did not succeed, so there is nothing to measure: {verdict}");
    }
    let (mut ours, mut theirs) = (0, 0);
    let samples = measure::in_turn(
        rounds,
        &mut [
            &mut || {
                ours += 1;
                Ok(example.change(&matrix, &example.place(&format!("data-{ours}"))?))
            },
            &mut || {
                theirs += 1;
                Ok(example.by_hand(&example.place(&format!("hand-{theirs}"))?))
            },
        ],
    )?;
    let names = ["matrix change run", "the bare tools by hand"];
    let rows: Vec<_> = names.into_iter().zip(&samples).collect();
    measure::table("a whole change, new data directory", &rows);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_object() {
        let output = "{\"stage\":\"plan\"}\n{\"state\":\"succeeded\"}\n";
        assert_eq!(last_object(output).unwrap()["state"], "succeeded");
        assert!(last_object("").is_err());
    }
}
