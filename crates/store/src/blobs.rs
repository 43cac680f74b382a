//! Immutable bytes under their SHA-256, compressed with zstd.
//!
//! A blob is durable when [`Blobs::put`] returns: written beside its place, flushed, renamed, and
//! the directory flushed, so that a journal entry never names bytes that a power cut took away.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use matrix_core::Digest;

use crate::error::StoreError;

const LEVEL: i32 = 3;

/// The content-addressed store of one data directory.
#[derive(Debug, Clone)]
pub struct Blobs {
    root: PathBuf,
}

impl Blobs {
    /// A store in this directory, which is made if it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        let root = root.into();
        fs::create_dir_all(root.join("incoming"))?;
        Ok(Self { root })
    }

    /// A store for reading only; the directory may be missing.
    pub fn open_read_only(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    fn place(&self, digest: &Digest) -> PathBuf {
        let text = digest.to_string();
        self.root
            .join(&text[..2])
            .join(format!("{}.zst", &text[2..]))
    }

    /// Whether these bytes are here.
    pub fn contains(&self, digest: &Digest) -> bool {
        self.place(digest).is_file()
    }

    /// Keeps some bytes and gives their digest. The same bytes are kept once.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        let digest = Digest::of(bytes);
        if !self.contains(&digest) {
            self.insert(bytes)?;
        }
        Ok(digest)
    }

    /// Keeps the bytes of a file, read once, and gives their digest and number.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
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
        if self.contains(&digest) {
            return Ok((digest, size));
        }
        incoming.as_file().sync_all()?;
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
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
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

    /// Removes the bytes of a digest; retention decides when.
    pub fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        match fs::remove_file(self.place(digest)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(()),
        }
    }
}

/// A reader that writes what it reads to a second place as well.
struct Tee<R, W> {
    reader: R,
    copy: W,
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
        let blobs = Blobs::open(directory.path()).unwrap();
        let digest = blobs.put(b"hello").unwrap();
        assert_eq!(blobs.put(b"hello").unwrap(), digest);
        assert_eq!(blobs.get(&digest).unwrap().as_deref(), Some(&b"hello"[..]));
        fs::write(blobs.place(&digest), b"nonsense").unwrap();
        assert!(matches!(blobs.get(&digest), Err(StoreError::Corrupt(_))));
        blobs.remove(&digest).unwrap();
        assert!(blobs.get(&digest).unwrap().is_none());
    }

    #[test]
    fn a_file_is_read_once_and_kept_whole() {
        let directory = tempfile::tempdir().unwrap();
        let blobs = Blobs::open(directory.path().join("blobs")).unwrap();
        let file = directory.path().join("file");
        fs::write(&file, vec![7_u8; 300_000]).unwrap();
        let (digest, size) = blobs.put_file(&file).unwrap();
        assert_eq!(
            (blobs.get(&digest).unwrap().unwrap().len() as u64, size),
            (300_000, size)
        );
    }
}
