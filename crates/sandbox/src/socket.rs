//! Unix sockets at paths of any length.
//!
//! A socket's address holds some hundred bytes and data directories can be deep, so sockets are
//! named through a descriptor of their directory, which is always short.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags};

/// A short name for a path, good as long as the descriptor is open.
fn short(path: &Path) -> io::Result<(OwnedFd, PathBuf)> {
    let wrong = || {
        io::Error::new(
            io::ErrorKind::InvalidInput,
            "a socket needs a directory and a name",
        )
    };
    let (directory, name) = (
        path.parent().ok_or_else(wrong)?,
        path.file_name().ok_or_else(wrong)?,
    );
    let directory = rustix::fs::openat(
        CWD,
        directory,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let name = Path::new("/proc/self/fd")
        .join(directory.as_raw_fd().to_string())
        .join(name);
    Ok((directory, name))
}

/// Listens at `path`, in the place of a socket that was left there. Anybody who can reach the path
/// may connect; its directory keeps others away.
pub(crate) fn bind(path: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let (directory, name) = short(path)?;
    let listener = UnixListener::bind(&name)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o666))?;
    drop(directory);
    Ok(listener)
}

/// Connects to the socket at `path`.
pub(crate) async fn connect(path: &Path) -> io::Result<tokio::net::UnixStream> {
    let (directory, name) = short(path)?;
    let stream = tokio::net::UnixStream::connect(&name).await;
    drop(directory);
    stream
}
