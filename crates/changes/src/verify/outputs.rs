//! What lies in a throw-away copy after a check: reports and artifacts.
//!
//! Everything here was written by the code under change and is read by us with our own rights, so
//! no symlink is followed, nothing but regular files is opened, and everything is bounded. The
//! sandbox's processes are dead by then: what is looked at does not move.

use std::io::Read as _;
use std::path::{Path, PathBuf};

use globset::{GlobBuilder, GlobSet, GlobSetBuilder};

use matrix_worktree::copy::{CopyLimits, copy_tree_blocking};

use super::error::VerifyError;
use super::result::Produced;

const MAX_REPORT_FILES: usize = 200;
const MAX_REPORT_BYTES: u64 = 64 << 20;
const MAX_ARTIFACT_FILES: usize = 1000;
const MAX_ARTIFACT_BYTES: u64 = 512 << 20;
const MAX_ENTRIES: usize = 500_000;
const MAX_DEPTH: usize = 64;

/// Copies a tree for one attempt.
pub(crate) fn copy_tree(source: &Path, target: &Path) -> Result<(), VerifyError> {
    copy_tree_blocking(source, target, CopyLimits::default())
        .map(drop)
        .map_err(|error| VerifyError::Io {
            what: "copying the tree",
            path: source.to_owned(),
            source: std::io::Error::other(error),
        })
}

/// Lets every user read what was fetched: archives keep modes that only their author needed, and
/// checks run as another user than the fetch.
pub(crate) fn open_to_readers(root: &Path) -> Result<(), VerifyError> {
    use std::os::unix::fs::PermissionsExt as _;
    let io = |path: &Path| VerifyError::io("opening dependencies to readers", path);
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let found = path.symlink_metadata().map_err(io(&path))?;
        let executable = found.permissions().mode() & 0o100 != 0;
        let wanted = if found.is_dir() || executable {
            0o555
        } else if found.is_file() {
            0o444
        } else {
            continue;
        };
        if found.is_symlink() {
            continue;
        }
        let mode = found.permissions().mode() & 0o7777;
        if mode | wanted != mode {
            let readable = std::fs::Permissions::from_mode(mode | wanted);
            std::fs::set_permissions(&path, readable).map_err(io(&path))?;
        }
        if found.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(io(&path))? {
                open.push(entry.map_err(io(&path))?.path());
            }
        }
    }
    Ok(())
}

/// The reports a check left, and what was left out and why.
pub(crate) fn report_files(directory: &Path) -> (Vec<(String, Vec<u8>)>, Vec<String>) {
    let mut files = Vec::new();
    let mut notes = Vec::new();
    let mut room = MAX_REPORT_BYTES;
    for path in regular_files(directory) {
        let name = path.to_string_lossy().into_owned();
        if files.len() >= MAX_REPORT_FILES {
            notes.push(format!(
                "more than {MAX_REPORT_FILES} report files; the rest was not read"
            ));
            break;
        }
        match read_within(&directory.join(&path), room) {
            Ok(bytes) => {
                room = room.saturating_sub(bytes.len() as u64);
                files.push((name, bytes));
            }
            Err(reason) => notes.push(format!("{name}: {reason}")),
        }
    }
    (files, notes)
}

/// The files that the globs name, in the order of their paths. A glob that names nothing is an
/// error: the release would lack what the repository says it has.
pub(crate) fn artifacts(root: &Path, globs: &[String]) -> Result<Vec<Produced>, String> {
    let set = glob_set(globs)?;
    let mut used = vec![false; globs.len()];
    let mut found = Vec::new();
    let mut room = MAX_ARTIFACT_BYTES;
    for path in regular_files(root) {
        let matching = set.matches(&path);
        if matching.is_empty() || path.starts_with(".git") {
            continue;
        }
        for index in matching {
            if let Some(used) = used.get_mut(index) {
                *used = true;
            }
        }
        let Some(name) = path.to_str() else {
            return Err(format!(
                "the artifact `{}` has a name that is not UTF-8",
                path.display()
            ));
        };
        if found.len() >= MAX_ARTIFACT_FILES {
            return Err(format!(
                "more than {MAX_ARTIFACT_FILES} files are named as artifacts"
            ));
        }
        let bytes = read_within(&root.join(&path), room)
            .map_err(|reason| format!("the artifact `{name}`: {reason}"))?;
        room = room.saturating_sub(bytes.len() as u64);
        found.push(Produced::new(name, "application/octet-stream", bytes));
    }
    match used.iter().position(|used| !used) {
        Some(index) => Err(format!(
            "there is nothing that `{}` in matrix.yaml names",
            globs.get(index).map_or("", String::as_str)
        )),
        None => Ok(found),
    }
}

fn glob_set(globs: &[String]) -> Result<GlobSet, String> {
    let mut builder = GlobSetBuilder::new();
    for glob in globs {
        let compiled = GlobBuilder::new(glob)
            .literal_separator(true)
            .build()
            .map_err(|error| format!("`{glob}` in matrix.yaml is not a glob: {}", error.kind()))?;
        builder.add(compiled);
    }
    builder.build().map_err(|error| {
        format!(
            "the artifacts of matrix.yaml are not globs: {}",
            error.kind()
        )
    })
}

/// A regular file's bytes, if it is no longer than `most`.
fn read_within(path: &Path, most: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(most.saturating_add(1))
        .read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    if bytes.len() as u64 > most {
        return Err(format!(
            "it is too large; {most} bytes are left of what is kept"
        ));
    }
    Ok(bytes)
}

/// Every regular file below a directory, relative to it and sorted, without following a symlink.
pub(crate) fn regular_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut waiting = vec![(PathBuf::new(), 0_usize)];
    let mut seen = 0;
    while let Some((directory, depth)) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            seen += 1;
            if seen > MAX_ENTRIES {
                return files;
            }
            let path = directory.join(entry.file_name());
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && depth < MAX_DEPTH => waiting.push((path, depth + 1)),
                Ok(kind) if kind.is_file() => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn artifacts_are_regular_files_that_a_glob_names() {
        let root = tempfile::tempdir().unwrap();
        let secret = tempfile::tempdir().unwrap();
        std::fs::write(secret.path().join("key"), "secret").unwrap();
        std::fs::create_dir_all(root.path().join("dist/deep")).unwrap();
        std::fs::write(root.path().join("dist/a.whl"), "a").unwrap();
        std::fs::write(root.path().join("dist/deep/b.whl"), "b").unwrap();
        std::os::unix::fs::symlink(secret.path().join("key"), root.path().join("dist/c.whl"))
            .unwrap();
        std::os::unix::fs::symlink(secret.path(), root.path().join("dist/out")).unwrap();
        let names = |globs: &[&str]| {
            let globs: Vec<String> = globs.iter().map(|glob| (*glob).to_owned()).collect();
            artifacts(root.path(), &globs)
                .map(|found| found.into_iter().map(|file| file.name).collect::<Vec<_>>())
        };
        assert_eq!(names(&["dist/*.whl"]).unwrap(), ["dist/a.whl"]);
        assert_eq!(
            names(&["dist/**"]).unwrap(),
            ["dist/a.whl", "dist/deep/b.whl"]
        );
        assert!(
            names(&["dist/*.whl", "bin/*"])
                .unwrap_err()
                .contains("bin/*")
        );
    }
}
