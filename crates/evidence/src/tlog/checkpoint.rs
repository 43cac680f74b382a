//! The head of a log at one size (<https://c2sp.org/tlog-checkpoint>): origin, size and root, a
//! line each.

use base64::prelude::{BASE64_STANDARD, Engine as _};
use matrix_core::Digest;

use super::{SignedNote, TlogError};
use crate::keys::{PublicKey, Signer};

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// Which log; also the name of its key.
    pub origin: String,
    /// How many entries.
    pub size: u64,
    /// The root over them.
    pub root: Digest,
}

impl Checkpoint {
    /// The note's text.
    pub fn text(&self) -> String {
        let root = BASE64_STANDARD.encode(self.root.as_bytes());
        format!("{}\n{}\n{root}\n", self.origin, self.size)
    }

    /// Signs it under its origin.
    pub fn sign(&self, signer: &dyn Signer, public: &PublicKey) -> Result<SignedNote, TlogError> {
        SignedNote::sign(self.text(), &self.origin, signer, public)
    }

    /// Reads a note's text; nothing is believed yet. Lines after the third are other tools'.
    pub fn parse(text: &str) -> Result<Self, TlogError> {
        let wrong = |why: &str| TlogError::malformed("checkpoint", why);
        let mut lines = text.lines();
        let mut line = |what: &str| {
            let line = lines.next().filter(|line| !line.is_empty());
            line.ok_or_else(|| wrong(what))
        };
        let origin = line("it has no origin")?.to_owned();
        let digits = line("it has no size")?;
        let size: u64 = digits.parse().map_err(|_| wrong("its size is no number"))?;
        if size.to_string() != digits || i64::try_from(size).is_err() {
            return Err(wrong("its size is not written as it should be"));
        }
        let root = BASE64_STANDARD
            .decode(line("it has no root")?)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| wrong("its root is not a SHA-256 in base 64"))?;
        Ok(Self {
            origin,
            size,
            root: Digest::from_bytes(root),
        })
    }

    /// The head in a note that one of these keys signed under the log's own name.
    pub fn open(note: &SignedNote, keys: &[PublicKey]) -> Result<Self, TlogError> {
        let checkpoint = Self::parse(note.text())?;
        if note.signers(&checkpoint.origin, keys).is_empty() {
            return Err(TlogError::Untrusted(checkpoint.origin));
        }
        Ok(checkpoint)
    }
}
