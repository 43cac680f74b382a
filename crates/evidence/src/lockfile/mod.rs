//! What a repository depends on, read from its lock files.
//!
//! Every format becomes the same [`Component`]s. Nothing is guessed: a file of a version that is not
//! understood, or a line that pins nothing, is named in the [`Inventory`] beside what was read, so
//! that a bill of materials says what it does not know. Nothing is resolved over the network.
//!
//! The same files give the same inventory, in whatever order they are passed.

mod cargo;
mod component;
mod go;
mod npm;
mod pnpm;
mod python;
mod python_flat;
mod requirements;
mod yarn;
mod yarn_berry;

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::Digest;
use serde::{Deserialize, Serialize};

pub use component::{Component, Ecosystem, HashValue, Origin};

/// A lock file is at most this many bytes.
pub const MAX_LOCK_FILE_BYTES: usize = 64 * 1024 * 1024;
/// One lock file names at most this many components.
pub const MAX_COMPONENTS: usize = 200_000;

/// The names of files that are read, whatever folder they are in.
pub const LOCK_FILE_NAMES: [&str; 13] = [
    "Cargo.lock",
    "package-lock.json",
    "npm-shrinkwrap.json",
    "pnpm-lock.yaml",
    "yarn.lock",
    "requirements.txt",
    "poetry.lock",
    "uv.lock",
    "pdm.lock",
    "pylock.toml",
    "Pipfile.lock",
    "go.mod",
    "go.sum",
];

/// Whether [`read`] knows files of this name. Requirements may have a suffix or prefix, as in
/// `requirements-dev.txt`.
pub fn is_lock_file(path: &str) -> bool {
    parser_of(path).is_some()
}

/// A lock file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReadFile {
    /// Path from the root of the repository.
    pub path: String,
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many components it names.
    pub components: usize,
}

/// A file, or a part of one, that says nothing we understand.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NotUnderstood {
    /// Path from the root of the repository.
    pub path: String,
    /// What and why.
    pub reason: String,
}

/// Everything the lock files of one revision say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// In order of package URL, each once.
    pub components: Vec<Component>,
    /// The files that were read, in order of path.
    pub files: Vec<ReadFile>,
    /// What was not understood, in order of path.
    pub not_understood: Vec<NotUnderstood>,
}

impl Inventory {
    /// Components that are not the repository's own.
    pub fn third_party(&self) -> impl Iterator<Item = &Component> {
        self.components
            .iter()
            .filter(|component| component.origin != Origin::Local)
    }

    /// Third-party components that `base` has in no version: what a change newly depends on.
    pub fn new_dependencies<'a>(&'a self, base: &Inventory) -> Vec<&'a Component> {
        let known: BTreeSet<(Ecosystem, &str)> = base
            .third_party()
            .map(|component| (component.ecosystem, component.name.as_str()))
            .collect();
        self.third_party()
            .filter(|component| !known.contains(&(component.ecosystem, &component.name)))
            .collect()
    }
}

/// What one file gives.
#[derive(Debug, Default)]
struct Parsed {
    components: Vec<Component>,
    notes: Vec<String>,
}

/// `name@reference` or `@scope/name@reference`, at its first `@` but not at the first character.
fn npm_alias(text: &str) -> Option<(&str, &str)> {
    let at = text.get(1..)?.find('@')? + 1;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

type Parser = fn(&str) -> Result<Parsed, String>;

fn parser_of(path: &str) -> Option<Parser> {
    let name = path.rsplit('/').next().unwrap_or(path);
    match name {
        "Cargo.lock" => Some(cargo::parse),
        "package-lock.json" | "npm-shrinkwrap.json" => Some(npm::parse),
        "pnpm-lock.yaml" => Some(pnpm::parse),
        "yarn.lock" => Some(yarn::parse),
        "poetry.lock" => Some(python::parse_poetry),
        "uv.lock" => Some(python::parse_uv),
        "pdm.lock" => Some(python_flat::parse_pdm),
        "pylock.toml" => Some(python_flat::parse_pylock),
        "Pipfile.lock" => Some(python_flat::parse_pipfile),
        "go.mod" => Some(go::parse_mod),
        "go.sum" => Some(go::parse_sum),
        other => {
            let stem = other.strip_suffix(".txt")?;
            let folder = path.rsplit('/').nth(1);
            let known = stem == "requirements"
                || folder == Some("requirements")
                || stem.starts_with("requirements-")
                || stem.starts_with("requirements_")
                || stem.ends_with("-requirements");
            known.then_some((|text| Ok(requirements::parse(text))) as Parser)
        }
    }
}

/// Reads the given files, each with its path from the root of the repository. Files of other names
/// are passed over.
pub fn read<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Inventory {
    let mut by_purl: BTreeMap<String, Component> = BTreeMap::new();
    let mut inventory = Inventory::default();
    for (path, bytes) in files {
        let Some(parser) = parser_of(path) else {
            continue;
        };
        let mut refuse = |reason: String| {
            inventory.not_understood.push(NotUnderstood {
                path: path.to_owned(),
                reason,
            });
        };
        match parse(parser, bytes) {
            Ok(parsed) => {
                parsed.notes.into_iter().for_each(&mut refuse);
                inventory.files.push(ReadFile {
                    path: path.to_owned(),
                    digest: Digest::of(bytes),
                    components: parsed.components.len(),
                });
                for mut component in parsed.components {
                    component.files.insert(path.to_owned());
                    match by_purl.get_mut(&component.purl) {
                        Some(known) => known.merge(component),
                        None => drop(by_purl.insert(component.purl.clone(), component)),
                    }
                }
            }
            Err(reason) => refuse(reason),
        }
    }
    inventory.components = by_purl.into_values().collect();
    inventory.files.sort_by(|a, b| a.path.cmp(&b.path));
    inventory.not_understood.sort();
    inventory
}

fn parse(parser: Parser, bytes: &[u8]) -> Result<Parsed, String> {
    if bytes.len() > MAX_LOCK_FILE_BYTES {
        return Err("the file is longer than 64 MiB".into());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "the file is not UTF-8 text".to_owned())?;
    let parsed = parser(text.trim_start_matches('\u{feff}'))?;
    if parsed.components.len() > MAX_COMPONENTS {
        return Err("the file names more than 200000 components".into());
    }
    Ok(parsed)
}
