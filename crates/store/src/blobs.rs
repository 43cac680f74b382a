//! Immutable bytes under their SHA-256, compressed with zstd.
//!
//! A blob is durable when [`Blobs::put`] returns, so that a journal entry never names bytes that a
//! power cut took away, and is compared with its digest when it is read.
//!
//! What nobody refers to any more is removed by whoever knows what refers to what
//! ([`Blobs::stored`], [`Blobs::remove_unused`]). Bytes that are put while others are being removed
//! are young, and young bytes are never removed.
//!
//! Two adapters keep them, behind one type: files of our own ([`files`]), and a store that speaks
//! the protocol of S3 or of Google Cloud Storage (`remote`, with the feature `object-store`). Every
//! function is a call that blocks. Those of a remote store wait for the network; the tasks of a
//! runtime with several threads go on meanwhile.

use std::path::{Path, PathBuf};

use matrix_core::{Digest, Timestamp};

use crate::error::StoreError;

#[cfg(feature = "object-store")]
pub mod address;
#[cfg(feature = "object-store")]
mod client;
mod files;
#[cfg(feature = "object-store")]
mod generations;
#[cfg(feature = "object-store")]
pub mod remote;

#[cfg(feature = "object-store")]
pub use address::Address;
use files::Files;
#[cfg(feature = "object-store")]
pub use remote::RemoteOptions;

const LEVEL: i32 = 3;

/// A content-addressed store.
#[derive(Debug, Clone)]
pub struct Blobs(Adapter);

#[derive(Debug, Clone)]
enum Adapter {
    Files(Files),
    #[cfg(feature = "object-store")]
    Remote(std::sync::Arc<remote::Remote>),
}

/// A blob as it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The SHA-256 of its bytes.
    pub digest: Digest,
    /// How many bytes it takes, compressed.
    pub size: u64,
    /// When it was last put, by the store's own clock.
    pub put_at: Timestamp,
}

impl Blobs {
    /// A store in this directory, which is made if it is missing.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, StoreError> {
        Files::open(root).map(|files| Self(Adapter::Files(files)))
    }

    /// A store for reading only; the directory may be missing.
    pub fn open_read_only(root: impl Into<PathBuf>) -> Self {
        Self(Adapter::Files(Files::open_read_only(root)))
    }

    /// A store elsewhere; nothing is sent yet.
    #[cfg(feature = "object-store")]
    pub fn connect(options: RemoteOptions) -> Result<Self, StoreError> {
        let remote = remote::Remote::connect(options)?;
        Ok(Self(Adapter::Remote(std::sync::Arc::new(remote))))
    }

    /// The name of the store's owner, if it has one; see [`Self::claim`].
    pub fn owner(&self) -> Result<Option<String>, StoreError> {
        match &self.0 {
            Adapter::Files(_) => Ok(None),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.owner(),
        }
    }

    /// Gives the store a name of its owner if it has none; gives the name that it has.
    ///
    /// # Errors
    /// When the store cannot be reached. A directory, which is nobody else's, keeps no name.
    pub fn claim(&self, owner: &str) -> Result<String, StoreError> {
        match &self.0 {
            Adapter::Files(_) => Ok(owner.to_owned()),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.claim(owner),
        }
    }

    /// Whether something can be written, read and removed now; leaves nothing behind.
    pub fn probe(&self) -> Result<(), StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.probe(),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.probe(),
        }
    }

    /// Whether these bytes are here.
    pub fn contains(&self, digest: &Digest) -> Result<bool, StoreError> {
        match &self.0 {
            Adapter::Files(files) => Ok(files.contains(digest)),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.contains(digest),
        }
    }

    /// Keeps some bytes and gives their digest. The same bytes are kept once.
    pub fn put(&self, bytes: &[u8]) -> Result<Digest, StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.put(bytes),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.put(bytes),
        }
    }

    /// Keeps the bytes of a file, read once, and gives their digest and number.
    pub fn put_file(&self, path: &Path) -> Result<(Digest, u64), StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.put_file(path),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.put_file(path),
        }
    }

    /// The bytes of a digest, if they are here. Bytes that no longer match are damage.
    pub fn get(&self, digest: &Digest) -> Result<Option<Vec<u8>>, StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.get(digest),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.get(digest),
        }
    }

    /// Every blob, in no order. What was removed meanwhile may be missing or not.
    pub fn stored(&self) -> Result<Vec<Stored>, StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.stored(),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.stored(),
        }
    }

    /// Removes a blob unless it was put at `since` or later; gives the bytes that are free now, or
    /// nothing when it stays or is not there. The caller has made sure, and made durable, that
    /// nothing refers to it. A remote store may count bytes as put up to an hour before they were:
    /// `since` must leave that much time to whoever puts them.
    pub fn remove_unused(
        &self,
        digest: &Digest,
        since: Timestamp,
    ) -> Result<Option<u64>, StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.remove_unused(digest, since),
            #[cfg(feature = "object-store")]
            Adapter::Remote(remote) => remote.remove_unused(digest, since),
        }
    }

    /// Removes what a killed process left half written before `until`; gives how many files that
    /// were. What is written at this moment by anybody must be younger. A remote store shows
    /// nothing that is half written.
    pub fn clear_incoming(&self, until: Timestamp) -> Result<usize, StoreError> {
        match &self.0 {
            Adapter::Files(files) => files.clear_incoming(until),
            #[cfg(feature = "object-store")]
            Adapter::Remote(_) => Ok(0),
        }
    }
}
