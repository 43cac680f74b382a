//! A log that can be checked from outside: a Merkle tree over entries, its signed heads, and proofs
//! that an entry is in it.
//!
//! The tree is the one of RFC 6962 ([`merkle`]). Its head is a C2SP checkpoint
//! (<https://c2sp.org/tlog-checkpoint>, [`checkpoint`]) in a signed note
//! (<https://c2sp.org/signed-note>, [`note`]). A proof is one text file
//! (<https://c2sp.org/tlog-proof>, [`proof`]): the entry's place, the hashes on the way to the root,
//! and the checkpoint. Any tool that knows these forms can check what is written here; this room
//! only turns values into text and back.

pub mod checkpoint;
pub mod merkle;
pub mod note;
pub mod proof;

use matrix_core::{Code, Problem};

use crate::keys::KeyError;

pub use checkpoint::Checkpoint;
pub use note::SignedNote;
pub use proof::Proof;

/// Not a signed note, a checkpoint or a proof.
pub const MALFORMED: Code = Code::new("PROOF-0001", 422, 1, "not a proof or a checkpoint");
/// No trusted key signed it.
pub const UNTRUSTED: Code = Code::new("PROOF-0002", 422, 1, "no trusted signature");
/// The hashes do not lead to the checkpoint's root.
pub const UNPROVEN: Code = Code::new("PROOF-0003", 422, 1, "the proof does not hold");

/// Why a checkpoint or a proof is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TlogError {
    /// The text does not have the form.
    #[error("not a {wanted}: {why}")]
    Malformed {
        /// `signed note`, `checkpoint` or `proof`.
        wanted: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// None of the keys given made a signature on it.
    #[error("no trusted key has signed the checkpoint of `{0}`")]
    Untrusted(String),
    /// The hashes lead elsewhere.
    #[error("the hashes do not lead from entry {index} to the root of {size} entries")]
    Unproven {
        /// The entry's place.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// The key did not sign.
    #[error(transparent)]
    Key(#[from] KeyError),
}

impl TlogError {
    fn malformed(wanted: &'static str, why: impl std::fmt::Display) -> Self {
        Self::Malformed {
            wanted,
            why: why.to_string(),
        }
    }
}

impl From<TlogError> for Problem {
    fn from(error: TlogError) -> Self {
        let text = error.to_string();
        match error {
            TlogError::Malformed { .. } => Self::new(MALFORMED, text)
                .help("give the file as `matrix journal prove` or `checkpoint` wrote it"),
            TlogError::Untrusted(_) => Self::new(UNTRUSTED, text)
                .help("give the publisher's public key with --key; get it by a way you trust"),
            TlogError::Unproven { .. } => Self::new(UNPROVEN, text)
                .help("the file was changed, or the entry is not in this journal"),
            TlogError::Key(error) => error.into(),
        }
    }
}
