//! That an entry is in a log, in one text (<https://c2sp.org/tlog-proof>).

use std::fmt;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use matrix_core::Digest;

use super::merkle::{self, PATH_MAX};
use super::{Checkpoint, SignedNote, TlogError};
use crate::keys::PublicKey;

const HEAD: &str = "c2sp.org/tlog-proof@v1";

/// No proof is longer.
const PROOF_BYTES_MAX: usize = 1024 * 1024;

/// That an entry is in a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// What the reader needs to make the leaf; not authenticated by itself.
    pub extra: Option<Vec<u8>>,
    /// The entry's place, from zero.
    pub index: u64,
    /// The siblings from the leaf up to the root.
    pub path: Vec<Digest>,
    /// The head it is proven against.
    pub checkpoint: SignedNote,
}

impl Proof {
    /// Reads a proof; nothing is believed yet.
    pub fn parse(text: &str) -> Result<Self, TlogError> {
        let wrong = |why: &str| TlogError::malformed("proof", why);
        if text.len() > PROOF_BYTES_MAX {
            return Err(wrong("it is too long"));
        }
        let (head, note) = text
            .split_once("\n\n")
            .ok_or_else(|| wrong("no checkpoint follows"))?;
        let mut lines = head.split('\n');
        if lines.next() != Some(HEAD) {
            return Err(wrong("its first line is not `c2sp.org/tlog-proof@v1`"));
        }
        let mut line = lines.next().unwrap_or_default();
        let mut extra = None;
        if let Some(encoded) = line.strip_prefix("extra ") {
            let decoded = BASE64_STANDARD.decode(encoded);
            extra = Some(decoded.map_err(|_| wrong("`extra` is not base 64"))?);
            line = lines.next().unwrap_or_default();
        }
        let index = line
            .strip_prefix("index ")
            .filter(|digits| {
                digits
                    .parse::<u64>()
                    .is_ok_and(|n| n.to_string() == *digits)
            })
            .and_then(|digits| digits.parse().ok())
            .ok_or_else(|| wrong("the line `index N` is missing"))?;
        let path = lines
            .map(|line| {
                let bytes = BASE64_STANDARD.decode(line).ok()?;
                Some(Digest::from_bytes(bytes.try_into().ok()?))
            })
            .collect::<Option<Vec<_>>>()
            .ok_or_else(|| wrong("a line of the path is not a SHA-256 in base 64"))?;
        if path.len() > PATH_MAX {
            return Err(wrong("the path is too long"));
        }
        Ok(Self {
            extra,
            index,
            path,
            checkpoint: SignedNote::parse(note)?,
        })
    }

    /// The signed head, if one of these keys signed it and the leaf is in its tree at this place.
    pub fn verify(&self, leaf: &[u8], keys: &[PublicKey]) -> Result<Checkpoint, TlogError> {
        let checkpoint = Checkpoint::open(&self.checkpoint, keys)?;
        let (index, size) = (self.index, checkpoint.size);
        match merkle::climb(merkle::leaf(leaf), index, size, &self.path) {
            Some(root) if root == checkpoint.root => Ok(checkpoint),
            _ => Err(TlogError::Unproven { index, size }),
        }
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64_STANDARD.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.path {
            writeln!(f, "{}", BASE64_STANDARD.encode(hash.as_bytes()))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}
