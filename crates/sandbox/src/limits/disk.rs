//! How much a sandbox has written to its trees, without having counted them before.
//!
//! What a program wrote or created has a change time after the start, and no program can set a
//! change time back. So growth is the sum of the blocks of everything changed since then, plus
//! [`PER_FILE`] bytes for each such file, which bounds inodes with the same number. A file that
//! was merely touched counts in full; the limit is for runaways, not for accounting.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags};
use rustix::io::Errno;

/// What a file costs beyond its blocks.
pub(crate) const PER_FILE: u64 = 4096;
/// Directories deeper than this are refused: nothing sensible is, and each level holds a file
/// descriptor open.
pub(crate) const DEPTH: usize = 400;

/// Bytes written to the tree at `path` since `start` (microseconds since 1970); `None` when the tree is
/// deeper than [`DEPTH`]. What cannot be read counts as nothing.
pub(crate) fn grown(path: &Path, start: i64) -> Option<u64> {
    let Ok(root) = open(CWD, path) else {
        return Some(0);
    };
    let mut total = 0;
    sum(&root, start, 0, &mut total).ok()?;
    Some(total)
}

struct TooDeep;

pub(crate) fn open(at: impl AsFd, path: impl rustix::path::Arg) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(
        at,
        path,
        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::RDONLY,
        Mode::empty(),
    )
}

fn sum(directory: &OwnedFd, start: i64, depth: usize, total: &mut u64) -> Result<(), TooDeep> {
    if depth > DEPTH {
        return Err(TooDeep);
    }
    let Ok(entries) = Dir::read_from(directory) else {
        return Ok(());
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") {
            continue;
        }
        let Ok(status) = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else {
            continue;
        };
        let nanos = i64::try_from(status.st_ctime_nsec).unwrap_or(0);
        if status
            .st_ctime
            .saturating_mul(1_000_000)
            .saturating_add(nanos / 1000)
            > start
        {
            let blocks = u64::try_from(status.st_blocks).unwrap_or(0);
            *total = total.saturating_add(blocks.saturating_mul(512).saturating_add(PER_FILE));
        }
        if FileType::from_raw_mode(status.st_mode) == FileType::Directory
            && let Ok(child) = open(directory, name)
        {
            sum(&child, start, depth + 1, total)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_since_the_start_counts() {
        let tree = tempfile::tempdir().unwrap();
        std::fs::create_dir(tree.path().join("a")).unwrap();
        std::fs::write(tree.path().join("a/b"), vec![1_u8; 100_000]).unwrap();
        let grown_since = |start| grown(tree.path(), start).unwrap();
        assert!(grown_since(0) >= 100_000 + 2 * PER_FILE);
        assert_eq!(grown_since(i64::MAX), 0);
    }

    #[test]
    fn a_tree_too_deep_to_measure_is_told_apart() {
        let tree = tempfile::tempdir().unwrap();
        let mut path = tree.path().to_owned();
        for _ in 0..DEPTH + 2 {
            path.push("d");
        }
        std::fs::create_dir_all(&path).unwrap();
        assert_eq!(grown(tree.path(), 0), None);
    }
}
