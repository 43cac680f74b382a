//! The workspace as cargo and git see it: packages with their dependencies, and files.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::machine;
use crate::process;

/// What `cargo metadata` says.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// Every package of the workspace.
    pub(crate) packages: Vec<Package>,
    /// Where the root manifest lies.
    pub(crate) root: PathBuf,
    /// Where cargo builds.
    pub(crate) target: PathBuf,
}

/// A package of the workspace.
#[derive(Debug)]
pub(crate) struct Package {
    /// Its name.
    pub(crate) name: String,
    /// What its manifest asks for, of every kind (normal, build and development).
    pub(crate) dependencies: Vec<Dependency>,
}

/// A dependency as a manifest declares it.
#[derive(Debug)]
pub(crate) struct Dependency {
    /// The package's name, whatever it is called in the code.
    pub(crate) name: String,
    /// Where it lies, when it is one of ours.
    pub(crate) path: Option<PathBuf>,
}

impl Package {
    fn from_metadata(package: &Value) -> Option<Self> {
        let dependency = |dependency: &Value| {
            Some(Dependency {
                name: dependency["name"].as_str()?.to_owned(),
                path: dependency["path"].as_str().map(PathBuf::from),
            })
        };
        let name = package["name"].as_str()?.to_owned();
        let dependencies: Option<Vec<_>> = package["dependencies"]
            .as_array()?
            .iter()
            .map(dependency)
            .collect();
        // Itself, where its tests want features of its own.
        let mut dependencies = dependencies?;
        dependencies.retain(|dependency| dependency.name != name);
        Some(Self { name, dependencies })
    }
}

/// What cargo tells this program about its own package. Build scripts of others that look at their own
/// would run again, with all that depends on them, each time they are built from here and from a shell.
const ABOUT_US: [&str; 8] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_LINKS",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_NAME",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

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
        let metadata: Value = serde_json::from_str(&text)?;
        Self::from_metadata(&metadata).context("cannot understand what `cargo metadata` printed")
    }

    fn from_metadata(metadata: &Value) -> Option<Self> {
        let path = |member: &str| metadata[member].as_str().map(PathBuf::from);
        Some(Self {
            packages: metadata["packages"]
                .as_array()?
                .iter()
                .map(Package::from_metadata)
                .collect::<Option<_>>()?,
            root: path("workspace_root")?,
            target: path("target_directory")?,
        })
    }

    /// A cargo command in the root, as if a person had typed it.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new(machine::cargo());
        command.current_dir(&self.root);
        for name in ABOUT_US {
            command.env_remove(name);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_workspace_is_read() {
        let workspace = Workspace::read().unwrap();
        let names: Vec<_> = workspace.packages.iter().map(|p| p.name.as_str()).collect();
        assert!(names.contains(&"xtask"), "{names:?}");
        let store = workspace.packages.iter().find(|p| p.name == "matrix-store");
        let ours: Vec<_> = store
            .map(|store| &store.dependencies)
            .into_iter()
            .flatten()
            .filter(|dependency| dependency.path.is_some())
            .map(|dependency| dependency.name.as_str())
            .collect();
        assert_eq!(ours, ["matrix-core"], "what the store uses of ours");
        assert!(workspace.root.join("xtask").is_dir());
    }
}
