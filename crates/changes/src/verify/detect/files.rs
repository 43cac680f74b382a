//! Looking at a tree with limits, never through a symlink.

use std::io::Read as _;
use std::path::{Path, PathBuf};

const MAX_MANIFEST: u64 = 4 << 20;
const MAX_DIRECTORIES: usize = 400;
const MAX_WALKED: usize = 200_000;
const DEPTH: usize = 2;
/// Directories that hold other people's code, products or test data.
const SKIPPED: &[&str] = &[
    "node_modules",
    "vendor",
    "third_party",
    "target",
    "dist",
    "build",
    "venv",
    "__pycache__",
    "testdata",
    "fixtures",
];

/// The root and its directories down to [`DEPTH`], parents first, in the order of their names.
pub(crate) fn directories(root: &Path) -> Vec<PathBuf> {
    let mut all = vec![PathBuf::new()];
    let mut level = vec![PathBuf::new()];
    for _ in 0..DEPTH {
        let mut next = Vec::new();
        for parent in &level {
            let Ok(entries) = std::fs::read_dir(root.join(parent)) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name();
                // A name that is not UTF-8 cannot stand in a key; nor does it in practice.
                let Some(text) = name.to_str() else { continue };
                let real = entry.file_type().is_ok_and(|kind| kind.is_dir());
                if real && !text.starts_with('.') && !SKIPPED.contains(&text) {
                    next.push(parent.join(text));
                }
            }
        }
        next.sort();
        next.truncate(MAX_DIRECTORIES);
        all.extend(next.iter().cloned());
        level = next;
    }
    all
}

/// The text of a regular file, not through a symlink, up to the limit.
pub(crate) fn text(path: &Path) -> Option<String> {
    let metadata = std::fs::symlink_metadata(path).ok()?;
    if !metadata.is_file() || metadata.len() > MAX_MANIFEST {
        return None;
    }
    let mut text = String::new();
    let file = std::fs::File::open(path).ok()?;
    file.take(MAX_MANIFEST).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Whether a file with such a relative path exists, looking at a bounded number of files.
pub(super) fn any_file(root: &Path, wanted: impl Fn(&str) -> bool) -> bool {
    let mut found = false;
    walk(root, &mut |path| {
        found = wanted(path);
        !found
    });
    found
}

/// The relative paths of regular files that are the repository's own, sorted and bounded.
pub(crate) fn own_files(root: &Path) -> Vec<String> {
    let mut files = Vec::new();
    walk(root, &mut |path| {
        files.push(path.to_owned());
        true
    });
    files.sort();
    files
}

/// Shows every regular file's relative path until `visit` says that it has seen enough.
fn walk(root: &Path, visit: &mut dyn FnMut(&str) -> bool) {
    let mut waiting = vec![(PathBuf::new(), 0_usize)];
    let mut walked = 0;
    while let Some((directory, depth)) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            walked += 1;
            if walked > MAX_WALKED {
                return;
            }
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            let path = directory.join(name);
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {
                    let hidden = name.starts_with('.') || SKIPPED.contains(&name);
                    if !hidden && depth < 8 {
                        waiting.push((path, depth + 1));
                    }
                }
                Ok(kind) if kind.is_file() && !visit(&path.to_string_lossy()) => return,
                _ => {}
            }
        }
    }
}
