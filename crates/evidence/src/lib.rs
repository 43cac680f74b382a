//! Evidence and proof: what checks say about a change, in the formats other tools read, signed so
//! that anyone can verify it.
//!
//! This room turns values into bytes and back; it runs nothing, opens no socket and knows neither
//! the engine nor the store, so that the part a stranger must trust when verifying is small. Times
//! are passed in; the same input gives the same bytes.
//!
//! Read in this order:
//!
//! - [`record`] is the evidence itself: one kind of check, how it ended, which files stand behind
//!   it.
//! - Those files: [`junit`] for tests and [`sarif`] for findings, each with the comparison of base
//!   and change that decides; [`lockfile`] reads what a repository depends on, [`cyclonedx`] and
//!   [`spdx`] write it down, [`osv`] says what is known to be wrong with it.
//! - The proof: [`keys`] sign, [`dsse`] is the envelope, [`statement`] what is in it, [`predicate`]
//!   the forms of what is said.
//! - [`bundle`] puts the statements of one change into one file, [`mod@verify`] takes it apart
//!   again and believes nothing.
//! - [`tlog`] is the journal seen from outside: a Merkle tree over its entries, signed heads, and
//!   proofs of one entry.

pub mod bom;
pub mod bundle;
pub mod cyclonedx;
pub mod dsse;
pub mod junit;
pub mod keys;
pub mod lockfile;
pub mod osv;
pub mod predicate;
pub mod record;
pub mod sarif;
pub mod spdx;
pub mod statement;
pub mod tlog;
pub mod verify;

pub use keys::{KeyId, PublicKey, Signer, SigningKey};
pub use record::{ArtifactRef, Evidence, Kind, Status};
pub use verify::{Artifact, Verified, VerifyError, verify};
