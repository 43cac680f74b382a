//! Which checks a repository has, read from its own files.
//!
//! Detection looks, it never executes: manifests are parsed with limits and everything that is
//! not understood is simply not a check. It runs on each revision by itself, since a change may
//! add the first test of a repository or remove the last.

mod cargo;
mod files;
mod go;
mod make;
mod node;
mod python;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use matrix_evidence::Kind;
pub use matrix_sandbox::toolchain::Ecosystem;
use serde::{Deserialize, Serialize};

pub(crate) use files::{directories, own_files, text};

/// Who runs a `package.json`'s scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NodeManager {
    /// npm.
    Npm,
    /// pnpm.
    Pnpm,
}

/// Which Python test runner the repository is written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PythonRunner {
    /// pytest, because a file declares it.
    Pytest,
    /// The standard library's unittest.
    Unittest,
}

/// What is to be executed; the command itself is made when the toolchain is known.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "recipe")]
pub enum Recipe {
    /// `cargo clippy`, or `cargo check` where clippy is not installed.
    CargoLint,
    /// `cargo test`.
    CargoTest,
    /// `cargo build`.
    CargoBuild,
    /// A script of `package.json`.
    NodeScript {
        /// Who runs it.
        manager: NodeManager,
        /// Its name.
        script: String,
    },
    /// `node --test` with these further arguments, as a shell would read them.
    NodeTest {
        /// What follows `node --test` in the script; empty when there was no script.
        arguments: String,
    },
    /// The repository's Python tests.
    PythonTest {
        /// By which runner.
        runner: PythonRunner,
    },
    /// ruff where it is declared or installed, otherwise the compiler's syntax check.
    PythonLint,
    /// The wheel that `pyproject.toml` describes.
    PythonBuild,
    /// `go test`.
    GoTest,
    /// `go vet`.
    GoLint,
    /// `go build`.
    GoBuild,
    /// A target of the makefile.
    Make {
        /// Its name.
        target: String,
    },
    /// A command line given in `matrix.yaml`.
    Custom {
        /// For `/bin/sh`.
        run: String,
        /// When it is ended, in milliseconds.
        timeout_ms: u64,
    },
}

/// One check that a revision has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// What it gives evidence of.
    pub kind: Kind,
    /// Where it comes from.
    pub ecosystem: Ecosystem,
    /// Its directory, relative to the root; empty for the root.
    pub directory: String,
    /// What is to be executed.
    pub recipe: Recipe,
}

impl Found {
    /// The same for the same check of two revisions.
    pub fn key(&self) -> String {
        let (kind, ecosystem) = (self.kind, self.ecosystem.as_str());
        if self.directory.is_empty() {
            format!("{kind}/{ecosystem}")
        } else {
            format!("{kind}/{ecosystem}/{}", self.directory)
        }
    }
}

const MAX_PROJECTS: usize = 32;

/// Every check found in a tree. A file that cannot be read or understood is not a check.
pub fn detect(root: &Path) -> Vec<Found> {
    let mut found = Vec::new();
    let mut claimed: BTreeMap<Ecosystem, Vec<PathBuf>> = BTreeMap::new();
    for directory in directories(root) {
        if found.len() >= MAX_PROJECTS * 3 {
            break;
        }
        let here = root.join(&directory);
        let mut kinds = BTreeSet::new();
        for (ecosystem, checks) in [
            (Ecosystem::Cargo, cargo::checks(&here)),
            (Ecosystem::Node, node::checks(&here)),
            (Ecosystem::Python, python::checks(&here)),
            (Ecosystem::Go, go::checks(&here)),
        ] {
            let owners = claimed.entry(ecosystem).or_default();
            if checks.is_empty() || owners.iter().any(|owner| directory.starts_with(owner)) {
                continue;
            }
            owners.push(directory.clone());
            for (kind, recipe) in checks {
                kinds.insert(kind);
                found.push(entry(kind, ecosystem, &directory, recipe));
            }
        }
        // A makefile beside a language's own manifest usually calls the same tools again.
        if directory.as_os_str().is_empty() {
            for (kind, recipe) in make::checks(&here) {
                if !kinds.contains(&kind) {
                    found.push(entry(kind, Ecosystem::Make, &directory, recipe));
                }
            }
        }
    }
    found.sort_by_key(Found::key);
    found
}

fn entry(kind: Kind, ecosystem: Ecosystem, directory: &Path, recipe: Recipe) -> Found {
    Found {
        kind,
        ecosystem,
        directory: directory.to_string_lossy().into_owned(),
        recipe,
    }
}

#[cfg(test)]
mod tests;
