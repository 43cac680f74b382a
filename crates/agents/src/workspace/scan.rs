//! Finding what changed in a work tree, without reading what did not.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, Metadata};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ignore::WalkBuilder;
use matrix_store::Blobs;
use rustix::fs::{Mode, OFlags};
use sha1::Sha1;
use sha2::{Digest as _, Sha256};

use super::overlay::{Changed, Overlay};

/// The most files that an agent may have changed, and the most bytes of them together and of one.
pub(super) const FILES_MAX: usize = 5_000;
pub(super) const BYTES_MAX: u64 = 128 << 20;
const FILE_MAX: u64 = 32 << 20;

/// A file that was changed so shortly before it was looked at may change again without a sign.
const RACY_NS: i128 = 50_000_000;

/// Why a tree cannot be kept.
#[derive(Debug, thiserror::Error)]
pub(super) enum ScanError {
    /// There is too much of it, or something of which there can be no copy: the agent is told.
    #[error("{0}")]
    TooMuch(String),
    /// The machine failed.
    #[error("the work tree cannot be read: {0}")]
    Io(#[from] io::Error),
    /// The blobs failed.
    #[error(transparent)]
    Store(#[from] matrix_store::StoreError),
}

/// By what a file is known to be unchanged. Programs inside cannot set the time of a file's status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Stamp {
    inode: u64,
    length: u64,
    mode: u32,
    status_ns: i128,
    racy: bool,
}

impl Stamp {
    fn of(status: &Metadata, now_ns: i128) -> Self {
        let status_ns =
            i128::from(status.ctime()) * 1_000_000_000 + i128::from(status.ctime_nsec());
        Self {
            inode: status.ino(),
            length: status.len(),
            mode: status.mode(),
            status_ns,
            racy: now_ns - status_ns < RACY_NS,
        }
    }

    fn is_same(self, other: Self) -> bool {
        !self.racy
            && (Self {
                racy: false,
                ..self
            }) == (Self {
                racy: false,
                ..other
            })
    }
}

/// A path of the base: its mode and the id of its content, as git says them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Base {
    pub(super) mode: &'static str,
    pub(super) id: String,
}

/// What is known of a work tree.
#[derive(Debug, Default)]
pub(super) struct Scan {
    stamps: HashMap<String, Stamp>,
    /// What the base has.
    base: BTreeMap<String, Base>,
    overlay: Overlay,
}

/// A path that may have changed.
struct Suspect {
    path: String,
    full: PathBuf,
    status: Metadata,
}

impl Scan {
    /// Takes a tree that was just laid out, of a base with these paths and this on top of it.
    pub(super) fn of(
        root: &Path,
        base: BTreeMap<String, Base>,
        overlay: Overlay,
    ) -> io::Result<Self> {
        let mut scan = Self {
            stamps: HashMap::new(),
            base,
            overlay,
        };
        let now = now_ns(root)?;
        for (path, full) in scan.files(root) {
            if let Ok(status) = fs::symlink_metadata(&full) {
                // Nobody else wrote since, so nothing is racy.
                let stamp = Stamp {
                    racy: false,
                    ..Stamp::of(&status, now)
                };
                scan.stamps.insert(path, stamp);
            }
        }
        Ok(scan)
    }

    pub(super) fn overlay(&self) -> &Overlay {
        &self.overlay
    }

    /// Looks at the tree again; contents that are new are kept as blobs.
    pub(super) fn look(&mut self, root: &Path, blobs: &Blobs) -> Result<(), ScanError> {
        let now = now_ns(root)?;
        let mut paths = BTreeMap::new();
        let mut stamps = HashMap::new();
        let mut suspects = Vec::new();
        for (path, full) in self.files(root) {
            let status = match fs::symlink_metadata(&full) {
                Ok(status) => status,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error.into()),
            };
            let stamp = Stamp::of(&status, now);
            let known = self.stamps.get(&path).is_some_and(|old| old.is_same(stamp));
            stamps.insert(path.clone(), stamp);
            match (known, self.overlay.paths.get(&path)) {
                (true, Some(changed)) => drop(paths.insert(path, changed.clone())),
                (true, None) if self.base.contains_key(&path) => {}
                _ => suspects.push(Suspect { path, full, status }),
            }
        }
        // Before anything is kept: there may be far too much.
        enough(&suspects, &paths)?;
        for suspect in suspects {
            let base = self.base.get(&suspect.path);
            if let Some(changed) = taken(&suspect, base, blobs)? {
                paths.insert(suspect.path, changed);
            }
        }
        let gone = self.base.keys().filter(|path| !stamps.contains_key(*path));
        paths.extend(gone.map(|path| (path.clone(), Changed::Gone)));
        self.stamps = stamps;
        self.overlay = Overlay { paths };
        Ok(())
    }

    /// Every file and link that counts: what is not ignored, and what the base has.
    fn files(&self, root: &Path) -> BTreeMap<String, PathBuf> {
        let walk = WalkBuilder::new(root)
            .hidden(false)
            .parents(false)
            .git_global(false)
            .git_exclude(false)
            .ignore(false)
            .require_git(false)
            .filter_entry(|entry| entry.file_name() != ".git")
            .build();
        let mut files = BTreeMap::new();
        for entry in walk.flatten() {
            let kind = entry.file_type();
            if kind.is_some_and(|kind| kind.is_dir()) {
                continue;
            }
            let below = entry.path().strip_prefix(root);
            // A name that is not UTF-8 cannot stand in a plan, and is not kept.
            if let Some(path) = below.ok().and_then(Path::to_str) {
                files.insert(path.to_owned(), entry.path().to_owned());
            }
        }
        for path in self.base.keys() {
            if !files.contains_key(path) {
                let full = root.join(path);
                if is_plainly_there(root, path) {
                    files.insert(path.clone(), full);
                }
            }
        }
        files
    }
}

/// Whether a path leads to something through directories alone.
fn is_plainly_there(root: &Path, path: &str) -> bool {
    let mut place = root.to_owned();
    let mut parts = Path::new(path).components().peekable();
    while let Some(part) = parts.next() {
        place.push(part);
        let Ok(status) = fs::symlink_metadata(&place) else {
            return false;
        };
        if parts.peek().is_none() {
            return !status.is_dir();
        }
        if !status.is_dir() {
            return false;
        }
    }
    false
}

/// Refuses what is too much, or of which there can be no copy.
fn enough(suspects: &[Suspect], kept: &BTreeMap<String, Changed>) -> Result<(), ScanError> {
    for Suspect { path, status, .. } in suspects {
        if !status.is_file() && !status.is_symlink() {
            let what = format!("`{path}` is neither a file nor a directory; remove it");
            return Err(ScanError::TooMuch(what));
        }
        if status.len() > FILE_MAX {
            return Err(ScanError::TooMuch(format!(
                "`{path}` has {} MiB; a file of a change may have {} MiB",
                status.len() >> 20,
                FILE_MAX >> 20
            )));
        }
    }
    let known = Overlay {
        paths: kept.clone(),
    };
    let bytes = suspects.iter().map(|suspect| suspect.status.len());
    if suspects.len() + kept.len() > FILES_MAX || bytes.sum::<u64>() + known.bytes() > BYTES_MAX {
        return Err(ScanError::TooMuch(format!(
            "more than {FILES_MAX} files or {} MiB are new or changed; write what is not part of the \
             change to /tmp, or name it in .gitignore",
            BYTES_MAX >> 20
        )));
    }
    Ok(())
}

/// A path as it is now; nothing if it is as the base has it.
fn taken(
    suspect: &Suspect,
    base: Option<&Base>,
    blobs: &Blobs,
) -> Result<Option<Changed>, ScanError> {
    let Suspect { full, status, .. } = suspect;
    let is_base = |mode: &str, content: &[u8]| {
        base.is_some_and(|base| base.mode == mode && base.id == git_id(content, base.id.len()))
    };
    if status.is_symlink() {
        let target = fs::read_link(full)?;
        if is_base("120000", target.as_os_str().as_bytes()) {
            return Ok(None);
        }
        let target = target.to_string_lossy().into_owned();
        return Ok(Some(Changed::Link { target }));
    }
    // Never through a link that was put there meanwhile, and never waiting for a pipe.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = rustix::fs::open(full, flags, Mode::empty()).map_err(io::Error::from)?;
    let mut content = Vec::new();
    fs::File::from(file)
        .take(FILE_MAX + 1)
        .read_to_end(&mut content)?;
    let executable = status.mode() & 0o111 != 0;
    let mode = if executable { "100755" } else { "100644" };
    if is_base(mode, &content) {
        return Ok(None);
    }
    Ok(Some(Changed::File {
        bytes: content.len() as u64,
        content: blobs.put(&content)?,
        executable,
    }))
}

/// The id by which git knows a content, of so many digits.
fn git_id(content: &[u8], digits: usize) -> String {
    let head = format!("blob {}\0", content.len());
    if digits == 64 {
        return hex(&Sha256::new()
            .chain_update(head)
            .chain_update(content)
            .finalize());
    }
    hex(&Sha1::new()
        .chain_update(head)
        .chain_update(content)
        .finalize())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The file system's own time, by which it marks files.
fn now_ns(root: &Path) -> io::Result<i128> {
    let mark = tempfile::tempfile_in(root.parent().unwrap_or(root))?;
    let status = mark.metadata()?;
    Ok(i128::from(status.ctime()) * 1_000_000_000 + i128::from(status.ctime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn contents_are_known_by_the_ids_that_git_gives_them() {
        let sha1 = "ce013625030ba8dba906f756967f9e9ca394464a";
        assert_eq!(git_id(b"hello\n", 40), sha1);
        let sha256 = "2cf8d83d9ee29543b34a87727421fdecb7e3f3a183d337639025de576db9ebb4";
        assert_eq!(git_id(b"hello\n", 64), sha256);
    }
}
