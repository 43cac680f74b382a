//! Reading a file that somebody else's program made, without leaving its directory.
//!
//! After a check ran, its copy of the tree may hold anything: links to the host's files, pipes that
//! block, files that grow. The kernel resolves the path here, beneath the directory and through no
//! link (`openat2`), and only regular files of a limited size are read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Opens a regular file at a relative path beneath a directory.
///
/// A path that leaves the directory, passes a symbolic link or names anything but a regular file
/// is an error.
pub fn open(directory: &Path, path: &Path) -> io::Result<File> {
    let top = rustix::fs::open(
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let descriptor = rustix::fs::openat2(
        top,
        path,
        // Opening a pipe must not wait for a writer.
        OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )?;
    let file = File::from(descriptor);
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    Ok(file)
}

/// Reads such a file whole; one with more than `limit` bytes is an error.
pub fn read(directory: &Path, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let file = open(directory, path)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit {
        return Err(io::Error::other(format!("more than {limit} bytes")));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn only_plain_files_inside_are_read() {
        let place = tempfile::tempdir().unwrap();
        let top = place.path().join("top");
        std::fs::create_dir_all(top.join("dir")).unwrap();
        std::fs::write(top.join("dir/file"), "inside").unwrap();
        std::fs::write(place.path().join("secret"), "outside").unwrap();
        symlink(place.path(), top.join("out")).unwrap();
        symlink("file", top.join("dir/link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            top.join("pipe"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR | Mode::WUSR,
            0,
        )
        .unwrap();
        assert_eq!(read(&top, Path::new("dir/file"), 6).unwrap(), b"inside");
        for path in [
            "../secret",
            "out/secret",
            "dir/link",
            "dir",
            "pipe",
            "/etc/passwd",
            "dir/../../secret",
        ] {
            assert!(read(&top, Path::new(path), 100).is_err(), "{path}");
        }
        assert!(read(&top, Path::new("dir/file"), 5).is_err(), "the limit");
    }
}
