//! The lock files of a tree, read without following symlinks.

use std::collections::BTreeSet;
use std::path::Path;

use matrix_evidence::lockfile::{self, Inventory, MAX_LOCK_FILE_BYTES};

use super::detect;
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
