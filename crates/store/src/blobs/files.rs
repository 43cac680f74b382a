//! Blobs as files of our own: written beside their place, flushed, renamed, and the directory
//! flushed.
//!
//! A blob's file carries the time it was last put, also when the bytes were there already. Putting
//! and removing exclude each other for the moment in which it is decided whether a blob is young, in
//! one process and across those that share the directory.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use matrix_core::{Digest, Timestamp};
use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, utimensat};

use super::{LEVEL, Stored};
use crate::error::StoreError;

/// The content-addressed store of one data directory. What its functions promise stands at
/// [`super::Blobs`].
#[derive(Debug, Clone)]
pub(super) struct Files {
    root: PathBuf,
}

impl Files {
    /// A store in this directory, which is made if it is missing.
    pub(super) fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        fs::create_dir_all(root.join("incoming"))?;
        Ok(Self::open_read_only(root))
    }

    /// A store for reading only; the directory may be missing.
    pub(super) fn open_read_only(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        let text = digest.to_string();
        self.root
            .join(&text[..2])
            .join(format!("{}.zst", &text[2..]))
    }

    /// Whether something can be written; leaves nothing behind.
    pub(super) fn probe(&self) -> Result<(), StoreError> {
        let mut file = tempfile::NamedTempFile::new_in(self.root.join("incoming"))?;
        file.write_all(b"probe")?;
        file.as_file().sync_all()?;
        file.close()?;
        Ok(())
    }

    /// Whether these bytes are here.
    pub(super) fn contains(&self, digest: &Digest) -> bool {
        self.place(digest).is_file()
    }

    /// Keeps some bytes and gives their digest. The same bytes are kept once.
    pub(super) fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        let known = self.renew(&digest, &self.putting()?)?;
        if !known {
            self.insert(bytes)?;
        }
        Ok(digest)
    }

    /// The lock that those who put share, and that is held alone while one blob is removed. It
    /// ends with the file.
    fn removing(&self) -> Result<File, StoreError> {
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(self.root.join("removing.lock"))?;
        Ok(file)
    }

    fn putting(&self) -> Result<File, StoreError> {
        let file = self.removing()?;
        file.lock_shared()?;
        Ok(file)
    }

    /// Gives bytes that are here the present time, so that a removal that began earlier leaves
    /// them; tells whether they are here.
    fn renew(&self, digest: &Digest, _putting: &File) -> Result<bool, StoreError> {
        let special = |nanoseconds| Timespec {
            tv_sec: 0,
            tv_nsec: nanoseconds,
        };
        let times = Timestamps {
            last_access: special(UTIME_OMIT),
            last_modification: special(UTIME_NOW),
        };
        match utimensat(CWD, self.place(digest), &times, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(()) => Ok(true),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => Ok(false),
            Err(error) => Err(std::io::Error::from(error).into()),
        }
    }

    /// Keeps the bytes of a file, read once, and gives their digest and number.
    pub(super) fn put_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        self.insert(File::open(path)?)
    }

    fn insert(&self, bytes: impl Read) -> Result<(Digest, u64), StoreError> {
        let mut incoming = tempfile::NamedTempFile::new_in(self.root.join("incoming"))?;
        let mut encoder = zstd::Encoder::new(&mut incoming, LEVEL)?;
        let (digest, size) = Digest::of_reader(Tee {
            reader: bytes,
            copy: &mut encoder,
        })?;
        // Small bytes are written here and nowhere else; a full disk shows itself now or never.
        encoder.finish()?;
        incoming.as_file().sync_all()?;
        let putting = self.putting()?;
        if self.renew(&digest, &putting)? {
            return Ok((digest, size));
        }
        let place = self.place(&digest);
        let parent = place.parent().unwrap_or(&self.root);
        if !parent.is_dir() {
            fs::create_dir_all(parent)?;
            File::open(&self.root)?.sync_all()?;
        }
        incoming.persist(&place).map_err(|error| error.error)?;
        File::open(parent)?.sync_all()?;
        Ok((digest, size))
    }

    /// The bytes of a digest, if they are here. Bytes that no longer match are damage.
    pub(super) fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        let file = match File::open(self.place(digest)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let damaged = || StoreError::corrupt(format_args!("blob {digest}"));
        let mut bytes = Vec::new();
        zstd::Decoder::new(file)
            .and_then(|mut decoder| decoder.read_to_end(&mut bytes))
            .map_err(|_| damaged())?;
        if Digest::of(&bytes) == *digest {
            Ok(Some(bytes))
        } else {
            Err(damaged())
        }
    }

    /// Every blob, in no order. What was removed meanwhile may be missing or not.
    pub(super) fn stored(&self) -> Result<Vec<Stored>, StoreError> {
        let mut stored = Vec::new();
        for directory in entries(&self.root)? {
            let prefix = directory?.file_name();
            let Some(prefix) = prefix.to_str().filter(|name| name.len() == 2) else {
                continue;
            };
            for file in entries(&self.root.join(prefix))? {
                let file = file?;
                let name = file.file_name();
                let rest = name.to_str().and_then(|name| name.strip_suffix(".zst"));
                let digest = rest.and_then(|rest| format!("{prefix}{rest}").parse().ok());
                let (Some(digest), Ok(metadata)) = (digest, file.metadata()) else {
                    continue;
                };
                stored.push(Stored {
                    digest,
                    size: metadata.len(),
                    put_at: put_at(&metadata),
                });
            }
        }
        Ok(stored)
    }

    /// Removes a blob unless it was put at `since` or later; gives the bytes that are free now, or
    /// nothing when it stays or is not there. The caller has made sure, and made durable, that
    /// nothing refers to it.
    pub(super) fn remove_unused(
        &self,
        digest: &Digest,
        since: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        let alone = self.removing()?;
        alone.lock()?;
        let place = self.place(digest);
        let metadata = match fs::symlink_metadata(&place) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        if put_at(&metadata) >= since {
            return Ok(None);
        }
        fs::remove_file(&place)?;
        drop(alone);
        Ok(Some(metadata.len()))
    }

    /// Removes what a killed process left half written before `until`; gives how many files that
    /// were. What is written at this moment by anybody must be younger.
    pub(super) fn clear_incoming(&self, until: Timestamp) -> Result<usize, StoreError> {
        let mut cleared = 0;
        for file in entries(&self.root.join("incoming"))? {
            let file = file?;
            // Another process may have finished or removed it by now.
            let left = file.metadata().is_ok_and(|data| put_at(&data) < until);
            if left && fs::remove_file(file.path()).is_ok() {
                cleared += 1;
            }
        }
        Ok(cleared)
    }
}

/// The entries of a directory, which may be missing.
fn entries(
    directory: &Path,
) -> Result<impl Iterator<Item = std::io::Result<fs::DirEntry>> + use<>, StoreError> {
    let read = match fs::read_dir(directory) {
        Ok(read) => Some(read),
        Err(error)
            if matches!(
                error.kind(),
                std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory
            ) =>
        {
            None
        }
        Err(error) => return Err(error.into()),
    };
    Ok(read.into_iter().flatten())
}

fn put_at(metadata: &fs::Metadata) -> Timestamp {
    use std::os::unix::fs::MetadataExt as _;
    let micros = metadata.mtime().saturating_mul(1_000_000);
    Timestamp::from_micros(micros.saturating_add(metadata.mtime_nsec() / 1_000))
}

/// A reader that writes what it reads to a second place as well.
pub(super) struct Tee<R, W> {
    pub(super) reader: R,
    pub(super) copy: W,
}

impl<R: Read, W: Write> Read for Tee<R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.copy.write_all(&buffer[..read])?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_come_back_and_damage_is_seen() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Files::open(directory.path()).unwrap();
        let digest = blobs.put(b"hello").unwrap();
        assert_eq!(blobs.put(b"hello").unwrap(), digest);
        assert_eq!(blobs.get(&digest).unwrap().as_deref(), Some(&b"hello"[..]));
        fs::write(blobs.place(&digest), b"nonsense").unwrap();
        assert!(matches!(blobs.get(&digest), Err(StoreError::Corrupt(_))));
        assert!(blobs.remove_unused(&digest, END).unwrap().is_some());
        assert!(blobs.get(&digest).unwrap().is_none());
        assert_eq!(blobs.remove_unused(&digest, END).unwrap(), None);
    }

    #[test]
    fn bytes_put_again_are_young_and_stay() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Files::open(directory.path()).unwrap();
        let digests = [b"once", b"more"].map(|bytes| blobs.put(bytes).unwrap());
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        for digest in &digests {
            let file = File::options().write(true).open(blobs.place(digest));
            file.unwrap().set_modified(old).unwrap();
        }
        let since = Timestamp::from_micros(2_000_000_000);
        assert!(
            blobs
                .stored()
                .unwrap()
                .iter()
                .all(|blob| blob.put_at < since)
        );

        // One is put again between the moment it was listed and its removal.
        blobs.put(b"more").unwrap();
        let [once, more] = digests.map(|digest| blobs.remove_unused(&digest, since).unwrap());
        assert!(once.is_some(), "nobody put it again");
        assert_eq!(more, None, "it was put again");
        assert_eq!(
            blobs.get(&digests[1]).unwrap().as_deref(),
            Some(&b"more"[..])
        );
        let left = blobs.stored().unwrap();
        assert_eq!(left.len(), 1);
        assert_eq!(left[0].digest, digests[1]);
    }

    #[test]
    fn puts_and_removals_at_once_lose_nothing_that_was_put() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Files::open(directory.path()).unwrap();
        let digest = Digest::of(b"contended");
        let old = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000);
        let since = Timestamp::from_micros(2_000_000_000);
        for _ in 0..200 {
            blobs.put(b"contended").unwrap();
            let file = File::options().write(true).open(blobs.place(&digest));
            file.unwrap().set_modified(old).unwrap();
            std::thread::scope(|scope| {
                scope.spawn(|| blobs.remove_unused(&digest, since).unwrap());
                scope.spawn(|| blobs.put(b"contended").unwrap());
            });
            assert!(blobs.contains(&digest), "what was put is gone");
        }
    }

    #[test]
    fn what_a_killed_process_left_is_cleared() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Files::open(directory.path()).unwrap();
        let kept = blobs.put(b"kept").unwrap();
        fs::write(directory.path().join("incoming/.tmpAbC"), "half").unwrap();
        let long_ago = Timestamp::from_micros(2_000_000_000);
        assert_eq!(blobs.clear_incoming(long_ago).unwrap(), 0, "it is young");
        assert_eq!(blobs.clear_incoming(END).unwrap(), 1);
        assert_eq!(blobs.clear_incoming(END).unwrap(), 0);
        assert!(blobs.contains(&kept));
        let missing = Files::open_read_only(directory.path().join("nowhere"));
        assert!(missing.stored().unwrap().is_empty());
    }

    const END: Timestamp = Timestamp::from_micros(i64::MAX);

    #[test]
    fn a_file_is_read_once_and_kept_whole() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Files::open(directory.path().join("blobs")).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, vec![7_u8; 300_000]).unwrap();
        let (digest, size) = blobs.put_file(&file).unwrap();
        assert_eq!(
            (blobs.get(&digest).unwrap().unwrap().len() as u64, size),
            (300_000, size)
        );
    }
}
