//! The lock files of a tree, read without following symlinks.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use matrix_evidence::lockfile::{self, Inventory, MAX_LOCK_FILE_BYTES};

use super::detect;
use super::judge::plural;
use super::requires;
use super::result::Dependency;

const MAX_FILES: usize = 500;

/// What the lock files of a tree say.
pub(crate) fn inventory(root: &Path) -> Inventory {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut too_long = Vec::new();
    for path in detect::own_files(root) {
        if files.len() >= MAX_FILES || !lockfile::is_lock_file(&path) {
            continue;
        }
        let full = root.join(&path);
        let length = std::fs::symlink_metadata(&full).map_or(0, |metadata| metadata.len());
        if length > MAX_LOCK_FILE_BYTES as u64 {
            too_long.push(path);
        } else if let Ok(bytes) = std::fs::read(&full) {
            files.push((path, bytes));
        }
    }
    let pairs = files
        .iter()
        .map(|(path, bytes)| (path.as_str(), bytes.as_slice()));
    let mut inventory = lockfile::read(pairs);
    for path in too_long {
        inventory.not_understood.push(lockfile::NotUnderstood {
            path,
            reason: String::from("the file is too long to be read"),
        });
    }
    inventory
}

/// Third-party components of one inventory that another does not have in that version.
pub(crate) fn beyond(inventory: &Inventory, other: &Inventory) -> Vec<Dependency> {
    let known: BTreeSet<&str> = other
        .third_party()
        .map(|component| component.purl.as_str())
        .collect();
    let mut list: Vec<Dependency> = inventory
        .third_party()
        .filter(|component| !known.contains(component.purl.as_str()))
        .map(|component| Dependency {
            ecosystem: component.ecosystem.purl_type().to_owned(),
            name: component.name.clone(),
            version: component.version.clone(),
        })
        .collect();
    list.sort();
    list.dedup();
    list
}

/// What a reader of the evidence should know about files that were not understood.
pub(crate) fn notes(inventory: &Inventory) -> Vec<String> {
    inventory
        .not_understood
        .iter()
        .take(50)
        .map(|note| format!("{}: {}", note.path, note.reason))
        .collect()
}

/// The lock files that pin what a manifest names.
fn pinned_by(manifest: &str) -> &'static [&'static str] {
    match manifest {
        "Cargo.toml" => &["Cargo.lock"],
        "package.json" => &[
            "package-lock.json",
            "npm-shrinkwrap.json",
            "pnpm-lock.yaml",
            "yarn.lock",
        ],
        "pyproject.toml" => &[
            "uv.lock",
            "poetry.lock",
            "pdm.lock",
            "pylock.toml",
            "Pipfile.lock",
            "requirements.txt",
        ],
        _ => &[],
    }
}

/// Manifests that name dependencies which no lock file pins, here or in a directory above: what
/// is then used is not known, and a bill of materials does not have it.
pub(crate) fn unpinned(root: &Path) -> Vec<String> {
    let mut notes = Vec::new();
    for directory in detect::directories(root) {
        let mut counts: BTreeMap<String, usize> = BTreeMap::new();
        for (file, requirement) in requires::requirements(&root.join(&directory)) {
            let local = ["path = ", "workspace = true"];
            let own = local.iter().any(|sign| requirement.contains(sign));
            let interpreter = file == "pyproject.toml" && requirement.starts_with("python ");
            if !own && !interpreter {
                *counts.entry(file).or_default() += 1;
            }
        }
        for (file, count) in counts {
            let locks = pinned_by(&file);
            let pinned = directory.ancestors().any(|above| {
                let has = |name: &&str| root.join(above).join(name).is_file();
                locks.iter().any(has)
            });
            if !locks.is_empty() && !pinned {
                let path = directory.join(&file);
                notes.push(format!(
                    "{}: no lock file pins its {}, so {} not looked at",
                    path.display(),
                    plural(count, "requirement", "requirements"),
                    if count == 1 { "it was" } else { "they were" }
                ));
            }
        }
    }
    notes.truncate(20);
    notes
}

/// Why nothing was looked at, where a tree has no lock file.
pub(crate) fn none_found(root: &Path) -> String {
    let mut reason = String::from("no lock file was found");
    if let Some(first) = unpinned(root).first() {
        reason.push_str("; ");
        reason.push_str(first);
    }
    reason
}

/// Why a change's lock files cannot be judged: one that base's tools could read says nothing any
/// more.
pub(crate) fn lost(base: &Inventory, head: &Inventory) -> Option<String> {
    let read =
        |inventory: &Inventory, path: &str| inventory.files.iter().any(|file| file.path == path);
    let gone = head.not_understood.iter().find(|note| {
        !read(head, &note.path) && (read(base, &note.path) || head.files.is_empty())
    })?;
    Some(format!("{}: {}", gone.path, gone.reason))
}

/// The lock files that base has and head has not.
pub(crate) fn removed(base: &Path, head: &Path) -> Vec<String> {
    let after: BTreeSet<String> = detect::own_files(head).into_iter().collect();
    detect::own_files(base)
        .into_iter()
        .filter(|path| lockfile::is_lock_file(path) && !after.contains(path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements_that_nothing_pins_are_told() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        write(
            "package.json",
            r#"{"dependencies": {"a": "^1", "b": "^2"}}"#,
        );
        write("package-lock.json", "{}");
        write("web/package.json", r#"{"dependencies": {"c": "1"}}"#);
        write(
            "core/Cargo.toml",
            "[dependencies]\nown = { path = '../own' }\n",
        );
        assert_eq!(unpinned(root.path()), Vec::<String>::new());
        write(
            "tool/pyproject.toml",
            "[project]\ndependencies = ['x', 'y']\n",
        );
        let notes = unpinned(root.path());
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with("tool/pyproject.toml: no lock file pins its 2"));
        assert!(none_found(root.path()).contains("tool/pyproject.toml"));
    }
}
