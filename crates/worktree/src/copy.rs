//! Throw-away copies of a work tree, one for each check, and their removal.
//!
//! A copy shares nothing with its original that a write could reach: files are copied (by shared
//! blocks where the file system can), never linked. Modes, times and symbolic links are kept, so
//! that build tools see the same tree; links are copied as they are and never followed.

use std::fs::{self, DirEntry, FileTimes, Metadata, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Why a tree was not copied or removed.
#[derive(Debug, thiserror::Error)]
pub enum CopyError {
    /// A file or directory failed.
    #[error("{action} {path} failed")]
    Io {
        /// `reading`, `writing`, …
        action: &'static str,
        /// Which one.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Something that is neither a file, a directory nor a symbolic link.
    #[error("{path} is a device, socket or pipe and cannot be copied")]
    Special {
        /// Which one.
        path: PathBuf,
    },
    /// The tree is larger than allowed.
    #[error("the tree has more than {limit} {what}")]
    TooLarge {
        /// `files` or `bytes`.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The copying thread ended by itself.
    #[error("the copy was interrupted")]
    Interrupted,
}

/// The most that is copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyLimits {
    /// Files, directories and links.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

impl Default for CopyLimits {
    fn default() -> Self {
        Self {
            entries: 2_000_000,
            bytes: 64 << 30,
        }
    }
}

/// What a copy holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Copied {
    /// Files, directories and links below the top.
    pub entries: u64,
    /// Bytes of files.
    pub bytes: u64,
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CopyError {
    let path = path.to_owned();
    move |source| CopyError::Io {
        action,
        path,
        source,
    }
}

/// Copies a directory to one that does not exist yet; what was copied before a failure stays.
pub async fn copy_tree(
    source: &Path,
    destination: &Path,
    limits: CopyLimits,
) -> Result<Copied, CopyError> {
    let (source, destination) = (source.to_owned(), destination.to_owned());
    tokio::task::spawn_blocking(move || copy_tree_blocking(&source, &destination, limits))
        .await
        .map_err(|_| CopyError::Interrupted)?
}

/// [`copy_tree`] for a thread that may wait.
pub fn copy_tree_blocking(
    source: &Path,
    destination: &Path,
    limits: CopyLimits,
) -> Result<Copied, CopyError> {
    let mut copied = Copied::default();
    let top = fs::symlink_metadata(source).map_err(failed("reading", source))?;
    fs::create_dir(destination).map_err(failed("making", destination))?;
    let mut waiting = vec![(source.to_owned(), destination.to_owned())];
    // Directories get their modes and times last: a read-only one could not be filled.
    let mut made = vec![(destination.to_owned(), top)];
    while let Some((from, to)) = waiting.pop() {
        for entry in fs::read_dir(&from).map_err(failed("reading", &from))? {
            let entry = entry.map_err(failed("reading", &from))?;
            let target = to.join(entry.file_name());
            let metadata = entry.metadata().map_err(failed("reading", &entry.path()))?;
            copied.entries += 1;
            if metadata.is_dir() {
                fs::create_dir(&target).map_err(failed("making", &target))?;
                waiting.push((entry.path(), target.clone()));
                made.push((target, metadata));
            } else {
                copied.bytes += copy_entry(&entry, &metadata, &target)?;
            }
            check(&copied, limits)?;
        }
    }
    for (directory, metadata) in made.iter().rev() {
        dress(directory, metadata)?;
    }
    Ok(copied)
}

fn check(copied: &Copied, limits: CopyLimits) -> Result<(), CopyError> {
    let over = |what, limit| Err(CopyError::TooLarge { what, limit });
    if copied.entries > limits.entries {
        return over("files", limits.entries);
    }
    if copied.bytes > limits.bytes {
        return over("bytes", limits.bytes);
    }
    Ok(())
}

fn copy_entry(entry: &DirEntry, metadata: &Metadata, target: &Path) -> Result<u64, CopyError> {
    let path = entry.path();
    if metadata.is_symlink() {
        let link = fs::read_link(&path).map_err(failed("reading", &path))?;
        std::os::unix::fs::symlink(link, target).map_err(failed("making", target))?;
        return Ok(0);
    }
    if !metadata.is_file() {
        return Err(CopyError::Special { path });
    }
    let bytes = fs::copy(&path, target).map_err(failed("copying", &path))?;
    dress(target, metadata)?;
    Ok(bytes)
}

/// Gives a copy the original's mode, without set-id bits, and its modification time.
fn dress(path: &Path, metadata: &Metadata) -> Result<(), CopyError> {
    let modified = metadata.modified().map_err(failed("reading", path))?;
    let mode = metadata.permissions().mode() & 0o777;
    let set = || -> io::Result<()> {
        // The times first: a file that may not be read cannot be opened for them afterwards.
        fs::set_permissions(path, Permissions::from_mode(mode | 0o600))?;
        fs::File::open(path)?.set_times(FileTimes::new().set_modified(modified))?;
        fs::set_permissions(path, Permissions::from_mode(mode))
    };
    set().map_err(failed("setting the mode and time of", path))
}

/// Removes a directory with everything in it, read-only directories too; nothing there is fine.
/// Symbolic links are removed, never followed.
pub async fn remove_tree(path: &Path) -> Result<(), CopyError> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || remove_tree_blocking(&path))
        .await
        .map_err(|_| CopyError::Interrupted)?
}

/// [`remove_tree`] for a thread that may wait.
pub fn remove_tree_blocking(path: &Path) -> Result<(), CopyError> {
    match fs::remove_dir_all(path) {
        Ok(()) => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
            return Err(failed("removing", path)(error));
        }
        Err(_) => {}
    }
    let mut waiting = vec![path.to_owned()];
    while let Some(directory) = waiting.pop() {
        let open = Permissions::from_mode(0o700);
        fs::set_permissions(&directory, open).map_err(failed("opening", &directory))?;
        for entry in fs::read_dir(&directory).map_err(failed("reading", &directory))? {
            let entry = entry.map_err(failed("reading", &directory))?;
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                waiting.push(entry.path());
            }
        }
    }
    fs::remove_dir_all(path).map_err(failed("removing", path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn sample(top: &Path) {
        fs::create_dir_all(top.join("dir/empty")).unwrap();
        fs::write(top.join("dir/run.sh"), "#!/bin/sh\n").unwrap();
        fs::set_permissions(top.join("dir/run.sh"), Permissions::from_mode(0o755)).unwrap();
        symlink("/etc/passwd", top.join("outside")).unwrap();
        symlink("nowhere", top.join("dangling")).unwrap();
        fs::set_permissions(top.join("dir"), Permissions::from_mode(0o555)).unwrap();
    }

    #[test]
    fn a_copy_has_the_same_links_modes_and_times_and_no_shared_file() {
        let place = tempfile::tempdir().unwrap();
        let (from, to) = (place.path().join("from"), place.path().join("to"));
        fs::create_dir(&from).unwrap();
        sample(&from);
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
        let file = fs::File::open(from.join("dir/run.sh")).unwrap();
        file.set_times(FileTimes::new().set_modified(old)).unwrap();

        let copied = copy_tree_blocking(&from, &to, CopyLimits::default()).unwrap();
        assert_eq!(copied.entries, 5);
        assert_eq!(copied.bytes, 10);
        let script = fs::metadata(to.join("dir/run.sh")).unwrap();
        assert_eq!(script.permissions().mode() & 0o777, 0o755);
        assert_eq!(script.modified().unwrap(), old);
        let directory = fs::metadata(to.join("dir")).unwrap();
        assert_eq!(directory.permissions().mode() & 0o777, 0o555);
        assert_eq!(
            fs::read_link(to.join("outside")).unwrap(),
            Path::new("/etc/passwd")
        );
        fs::set_permissions(to.join("dir/run.sh"), Permissions::from_mode(0o600)).unwrap();
        fs::write(to.join("dir/run.sh"), "changed").unwrap();
        let original = fs::read_to_string(from.join("dir/run.sh")).unwrap();
        assert_eq!(original, "#!/bin/sh\n");
        remove_tree_blocking(&to).unwrap();
        assert!(!to.exists());
        assert!(Path::new("/etc/passwd").exists());
        remove_tree_blocking(&to).unwrap();
        remove_tree_blocking(&from).unwrap();
    }

    #[test]
    fn limits_and_special_files_stop_a_copy() {
        let place = tempfile::tempdir().unwrap();
        let from = place.path().join("from");
        fs::create_dir(&from).unwrap();
        fs::write(from.join("a"), [0; 100]).unwrap();
        let small = CopyLimits {
            entries: 10,
            bytes: 99,
        };
        let error = copy_tree_blocking(&from, &place.path().join("one"), small).unwrap_err();
        assert!(matches!(error, CopyError::TooLarge { what: "bytes", .. }));
        let _socket = std::os::unix::net::UnixListener::bind(from.join("socket")).unwrap();
        let two = place.path().join("two");
        let error = copy_tree_blocking(&from, &two, CopyLimits::default()).unwrap_err();
        assert!(matches!(error, CopyError::Special { .. }), "{error}");
    }
}
