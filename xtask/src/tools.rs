//! The validators that tests compare our formats with: independent programs, in a Python
//! environment under the target directory, made again whenever what it should hold has changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::machine;
use crate::process;
use crate::say;
use crate::workspace::Workspace;

/// The variable that tells the tests where the environment is.
pub(crate) const VARIABLE: &str = "MATRIX_TEST_TOOLS";

const REQUIREMENTS: &str = "crates/evidence/tests/requirements.txt";
const STAMP: &str = "requirements.installed";

/// Makes the environment when it is missing or stale; says where it is.
pub(crate) fn prepare(workspace: &Workspace) -> Result<PathBuf> {
    let requirements = workspace.root.join(REQUIREMENTS);
    let folder = workspace.target.join("test-tools");
    let Some(python) = machine::find_program("python3") else {
        bail!("`python3` was not found; the validators of our formats need it");
    };
    let version = process::read(Command::new(&python).arg("--version"))?;
    let wanted =
        fs::read_to_string(&requirements).with_context(|| format!("cannot read {REQUIREMENTS}"))?;
    let stamp = format!("{}\n{wanted}", version.trim());
    if is_fresh(&folder, &stamp) {
        say::progress(&format!("{} is up to date", folder.display()));
        return Ok(folder);
    }
    process::run(
        Command::new(&python)
            .args(["-m", "venv", "--clear"])
            .arg(&folder),
    )
    .context("cannot make a Python environment (some systems package `venv` separately)")?;
    process::run(
        Command::new(folder.join("bin/python"))
            .args(["-m", "pip", "install", "--quiet", "--requirement"])
            .arg(&requirements),
    )
    .with_context(|| format!("cannot install {REQUIREMENTS}"))?;
    // Written last: an installation that was cut off leaves no stamp and is made again.
    fs::write(folder.join(STAMP), stamp)?;
    Ok(folder)
}

fn is_fresh(folder: &Path, stamp: &str) -> bool {
    folder.join("bin/python").exists()
        && fs::read_to_string(folder.join(STAMP)).is_ok_and(|found| found == stamp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_environment_is_fresh_only_with_its_interpreter_and_the_same_stamp() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert!(
            !is_fresh(path, "a"),
            "an empty folder is not an environment"
        );
        fs::write(path.join(STAMP), "a").unwrap();
        assert!(!is_fresh(path, "a"), "there is no interpreter");
        fs::create_dir(path.join("bin")).unwrap();
        fs::write(path.join("bin/python"), "").unwrap();
        assert!(is_fresh(path, "a"));
        assert!(!is_fresh(path, "b"), "the requirements have changed");
    }
}
