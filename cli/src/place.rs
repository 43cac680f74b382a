//! The place of a data directory and its lock.
//!
//! A host that keeps its state in the directory holds the lock alone. Hosts on a database that
//! others reach, too, share it, so that a look at the lock says whether there is one.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::Path;
use std::time::Duration;

use matrix_changes::Layout;
use matrix_core::{Code, Problem};

/// The data directory cannot be used.
pub(crate) const UNUSABLE: Code = Code::new("HOST-0002", 500, 1, "data directory cannot be used");
/// Another process holds the data directory and does not let go.
pub(crate) const BUSY: Code = Code::new("HOST-0003", 409, 1, "data directory is in use");
/// The data directory was removed or replaced while a process was its host.
pub(crate) const GONE: Code = Code::new("HOST-0004", 500, 1, "data directory is gone");

/// How often a host looks whether its data directory is still there.
const GONE_CHECK: Duration = Duration::from_secs(1);

/// How long a lock may be held by somebody who only looks, or who makes what all share.
const PATIENCE: Duration = Duration::from_secs(30);

/// How often a lock is tried meanwhile.
const INTERVAL: Duration = Duration::from_millis(20);

/// How often a lock is found taken before somebody is believed to stay; whoever only looks holds
/// it for a moment.
const LOOKS: u32 = 3;

/// The place where a host's lock lies: a path, and the file that was behind it.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    layout: Layout,
    device: u64,
    inode: u64,
}

impl Place {
    /// The place of a lock file that is open.
    pub(crate) fn of(layout: &Layout, lock: &File) -> io::Result<Self> {
        let data = lock.metadata()?;
        Ok(Self {
            layout: layout.clone(),
            device: data.dev(),
            inode: data.ino(),
        })
    }

    /// Whether the path still leads to the lock that is held.
    pub(crate) fn stands(&self) -> bool {
        match fs::metadata(self.layout.lock()) {
            Ok(data) => (data.dev(), data.ino()) == (self.device, self.inode),
            // Only what is certain counts: a file system may fail for a while.
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        }
    }

    /// Ready when the data directory is not there any more, or is another one; whatever this
    /// process still wrote would be lost.
    pub(crate) async fn lost(&self) -> Problem {
        while self.stands() {
            tokio::time::sleep(GONE_CHECK).await;
        }
        self.gone()
    }

    /// What is said of it when it does not stand any more.
    pub(crate) fn gone(&self) -> Problem {
        let text = format!(
            "{} was removed or replaced while this process was its host",
            self.layout.root().display()
        );
        Problem::new(GONE, text).help("what was recorded in it is gone with it; restore a copy")
    }
}

/// Opens a lock file of a data directory, which is made if it is missing; locks nothing.
pub(crate) fn open(layout: &Layout, path: &Path) -> Result<File, Problem> {
    let open = || {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(layout.root())?;
        File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
    };
    open().map_err(|error| unusable(layout.root(), &error))
}

/// Takes the lock of a data directory alone, or gives nothing when another process has it.
pub(crate) fn try_lock(layout: &Layout) -> Result<Option<File>, Problem> {
    let lock = open(layout, &layout.lock())?;
    match lock.try_lock() {
        Ok(()) => Ok(Some(lock)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(unusable(layout.root(), &error)),
    }
}

/// Takes the lock together with other hosts on the same database.
pub(crate) async fn share(layout: &Layout) -> Result<File, Problem> {
    let lock = open(layout, &layout.lock())?;
    let shared = patiently(&lock, File::try_lock_shared).await;
    if shared.map_err(|error| unusable(layout.root(), &error))? {
        return Ok(lock);
    }
    let text = format!(
        "another process hosts {} and keeps its state in it",
        layout.root().display()
    );
    Err(Problem::new(BUSY, text).help("end it, or use another --data-dir"))
}

/// Takes the lock like [`share`] unless some other host has it.
pub(crate) async fn share_if_first(layout: &Layout) -> Result<Option<File>, Problem> {
    for _ in 0..LOOKS {
        if let Some(alone) = try_lock(layout)? {
            drop(alone);
            return share(layout).await.map(Some);
        }
        tokio::time::sleep(INTERVAL).await;
    }
    Ok(None)
}

/// Holds up other processes that begin, while this one makes what all of them share; until the
/// file is dropped.
pub(crate) async fn begin_alone(layout: &Layout) -> Result<File, Problem> {
    let lock = open(layout, &layout.starting())?;
    let alone = patiently(&lock, File::try_lock).await;
    if alone.map_err(|error| unusable(layout.root(), &error))? {
        return Ok(lock);
    }
    let text = format!(
        "another process has been beginning in {} for too long",
        layout.root().display()
    );
    Err(Problem::new(BUSY, text).help("end it, and try again"))
}

async fn patiently(
    lock: &File,
    take: fn(&File) -> Result<(), fs::TryLockError>,
) -> io::Result<bool> {
    let taken = async {
        loop {
            match take(lock) {
                Ok(()) => return Ok(true),
                Err(fs::TryLockError::WouldBlock) => tokio::time::sleep(INTERVAL).await,
                Err(fs::TryLockError::Error(error)) => return Err(error),
            }
        }
    };
    tokio::time::timeout(PATIENCE, taken)
        .await
        .unwrap_or(Ok(false))
}

/// Whether some process hosts the data directory now.
pub(crate) fn is_hosted(layout: &Layout) -> bool {
    File::options()
        .write(true)
        .open(layout.lock())
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(fs::TryLockError::WouldBlock)))
}

/// A place of the data directory that cannot be used.
pub(crate) fn unusable(path: &Path, error: &io::Error) -> Problem {
    let text = format!("{} cannot be used: {error}", path.display());
    let code = match error.kind() {
        io::ErrorKind::StorageFull => matrix_store::error::FULL,
        _ => UNUSABLE,
    };
    Problem::new(code, text).help("name a directory that you may write with --data-dir")
}
