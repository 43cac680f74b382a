//! Peers that are Node programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use crate::machine;
use crate::process;
use crate::workspace::Workspace;

/// Node itself.
pub(super) fn program() -> Result<PathBuf> {
    let Some(node) = machine::find_program("node") else {
        bail!("`node` was not found; a peer is a Node program");
    };
    Ok(node)
}

/// The programs of a folder of `xtask/peers` with what they need, in a folder of the target
/// directory.
pub(super) fn install(workspace: &Workspace, name: &str) -> Result<PathBuf> {
    let Some(npm) = machine::find_program("npm") else {
        bail!("`npm` was not found; it installs the peers");
    };
    let from = workspace.root.join("xtask/peers").join(name);
    let to = workspace.target.join(format!("peers-{name}"));
    fs::create_dir_all(&to)?;
    let lock = |folder: &Path| fs::read_to_string(folder.join("package-lock.json")).ok();
    let is_fresh = to.join("node_modules").exists() && lock(&from) == lock(&to);
    for file in fs::read_dir(from)? {
        let file = file?;
        fs::copy(file.path(), to.join(file.file_name()))?;
    }
    if !is_fresh {
        process::run(Command::new(npm).current_dir(&to).args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
        ]))?;
    }
    Ok(to)
}
