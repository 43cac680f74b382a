//! Giving trees to the sandbox's user for the time of a run, and taking them back.
//!
//! Only root does this; an ordinary user's sandbox runs as that user. `.git` at the top of a tree
//! stays with its owner: it is read-only inside, and its files may be shared with the repository
//! they were cloned from. Taking back also clears set-id bits, because the kernel does that
//! whenever a file changes its owner.

use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Gid, Uid};

use crate::limits::disk::{DEPTH, open};

/// A change of owner.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Change {
    /// Only files of this user change; `None` means all.
    pub(crate) from: Option<u32>,
    /// The new user and group.
    pub(crate) to: u32,
}

/// Gives everything below `path`, and `path` itself, to another owner. Nothing is followed out of
/// the tree. What is deeper than can be walked keeps its owner.
pub(crate) fn change(path: &Path, change: Change) -> rustix::io::Result<()> {
    let root = match open(CWD, path) {
        Ok(root) => root,
        Err(rustix::io::Errno::NOTDIR) => return one(None, path, change),
        Err(error) => return Err(error),
    };
    one(None, path, change)?;
    below(&root, change, 0)
}

fn one(
    directory: Option<&OwnedFd>,
    name: impl rustix::path::Arg + Copy,
    change: Change,
) -> rustix::io::Result<()> {
    let at = directory.map_or(CWD, std::os::fd::AsFd::as_fd);
    let status = rustix::fs::statat(at, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let wanted = change.from.is_none_or(|from| status.st_uid == from);
    if wanted && (status.st_uid, status.st_gid) != (change.to, change.to) {
        rustix::fs::chownat(
            at,
            name,
            Some(Uid::from_raw(change.to)),
            Some(Gid::from_raw(change.to)),
            AtFlags::SYMLINK_NOFOLLOW,
        )?;
    }
    Ok(())
}

fn below(directory: &OwnedFd, change: Change, depth: usize) -> rustix::io::Result<()> {
    if depth > DEPTH {
        return Ok(());
    }
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if matches!(name.to_bytes(), b"." | b"..") || (depth == 0 && name == c".git") {
            continue;
        }
        one(Some(directory), name, change)?;
        let kind = match entry.file_type() {
            FileType::Unknown => {
                let status = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
                FileType::from_raw_mode(status.st_mode)
            }
            known => known,
        };
        if kind == FileType::Directory {
            below(&open(directory, name)?, change, depth + 1)?;
        }
    }
    Ok(())
}
