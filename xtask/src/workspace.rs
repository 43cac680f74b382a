//! The workspace as cargo and git see it: packages with their dependencies, and files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::machine;
use crate::process;

/// What `cargo metadata` says.
#[derive(Debug, Deserialize)]
pub(crate) struct Workspace {
    /// Every package of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Where the root manifest lies.
    #[serde(rename = "workspace_root")]
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    #[serde(rename = "target_directory")]
    pub(crate) target: PathBuf,
}

/// A package of the workspace.
#[derive(Debug, Deserialize)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// What its manifest asks for, of every kind (normal, build and development).
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest declares it.
#[derive(Debug, Deserialize)]
pub(crate) struct Dependency {
    /// The package's name, whatever it is called in the code.
    pub(crate) name: String,
    /// Where it lies, when it is one of ours.
    pub(crate) path: Option<PathBuf>,
}

impl Workspace {
    /// Reads the workspace that this program was built from.
    pub(crate) fn read() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).with_file_name("Cargo.toml");
        let text = process::read(
            Command::new(machine::cargo())
                .args(["metadata", "--no-deps", "--format-version", "1"])
                .arg("--manifest-path")
                .arg(manifest),
        )?;
        serde_json::from_str(&text).context("cannot understand what `cargo metadata` printed")
    }

    /// A cargo command in the root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(machine::cargo());
        command.current_dir(&self.root);
        command
    }

    /// Builds the product's binary with a profile; says where it is.
    pub(crate) fn build(&self, profile: &str) -> Result<PathBuf> {
        process::run(self.cargo().args([
            "build",
            "--locked",
            "--package",
            "matrix",
            "--bin",
            "matrix",
            "--profile",
            profile,
        ]))?;
        Ok(self.target.join(profile).join("matrix"))
    }

    /// Every file that git tracks or would track, relative to the root, in order.
    pub(crate) fn files(&self) -> Result<Vec<PathBuf>> {
        let text = process::read(Command::new("git").current_dir(&self.root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]))?;
        let mut files: Vec<PathBuf> = text
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(PathBuf::from)
            .filter(|file| self.root.join(file).is_file())
            .collect();
        files.sort();
        files.dedup();
        Ok(files)
    }

    /// The text of a file, or nothing when it is not text.
    pub(crate) fn text(&self, file: &Path) -> Result<Option<String>> {
        let bytes = std::fs::read(self.root.join(file))
            .with_context(|| format!("cannot read {}", file.display()))?;
        Ok(String::from_utf8(bytes).ok())
    }
}
