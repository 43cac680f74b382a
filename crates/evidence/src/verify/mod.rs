//! Verification of a bundle, offline, trusting nothing but the keys given.
//!
//! The order matters and is the order of the files. `envelopes`: the file's form and every
//! signature; nothing inside is looked at before. `statements`: exactly the statements that the
//! change names, each about subjects that the change is about. `contents`: what they say:
//! evidence, approvals, the gate's verdict and the artifacts at hand. Each stage collects all its
//! failures, and a later stage runs only if the one before found none, since a failure there makes
//! later ones meaningless.
//!
//! A bundle verifies only if all holds. What was skipped with a reason, and was not required by
//! the policy that the bundle names, is listed in [`Verified`] for a person to judge.

mod contents;
mod envelopes;
mod failure;
mod statements;

use matrix_core::{Digest, Principal};
use serde::Serialize;

use crate::keys::{KeyId, PublicKey};
use crate::predicate::change::{RiskLevel, StatementRef};
use crate::record::Kind;
use crate::statement::Time;

pub use failure::{
    BUNDLE_APPROVAL, BUNDLE_ARTIFACT, BUNDLE_CONTRADICTS, BUNDLE_EMPTY, BUNDLE_EVIDENCE,
    BUNDLE_MALFORMED, BUNDLE_NO_KEY, BUNDLE_REQUIRED, BUNDLE_SIGNATURE, BUNDLE_STATEMENT,
    BUNDLE_STATEMENTS, BUNDLE_SUBJECT, VerifyError,
};

/// A file at hand that the bundle should speak about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Artifact {
    /// Its name, for messages only.
    pub name: String,
    /// The SHA-256 of its bytes; [`Digest::of_reader`] makes it from a file of any size.
    pub digest: Digest,
}

/// Evidence that did not run, which the policy allowed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Skipped {
    /// What was not checked.
    pub kind: Kind,
    /// Why not.
    pub reason: String,
}

/// Somebody's agreement that counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approver {
    /// Who.
    pub principal: Principal,
    /// When.
    pub at: Time,
    /// Whether the submitter agreed to their own change.
    pub self_approval: bool,
}

/// A file at hand and the name the bundle has for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Matched {
    /// The name given by the caller.
    pub name: String,
    /// The subject's name.
    pub subject: String,
    /// The digest both have.
    pub digest: Digest,
}

/// What a bundle proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// The run that made the change.
    pub run: String,
    /// The plan's title.
    pub title: String,
    /// Who submitted it.
    pub submitter: Principal,
    /// The commit it was applied to.
    pub base_commit: String,
    /// The tree that resulted.
    pub tree: String,
    /// How dangerous it was.
    pub risk: RiskLevel,
    /// Which of the given keys signed every statement.
    pub keys: Vec<KeyId>,
    /// The statements, the change's own first.
    pub statements: Vec<StatementRef>,
    /// Evidence that passed.
    pub passed: Vec<Kind>,
    /// Evidence that did not run.
    pub skipped: Vec<Skipped>,
    /// Who agreed.
    pub approvals: Vec<Approver>,
    /// The files at hand that it speaks about.
    pub artifacts: Vec<Matched>,
    /// What was checked, one sentence each, in order.
    pub checks: Vec<String>,
}

/// Verifies a bundle's bytes with the keys that the caller trusts, for the files at hand.
///
/// A key inside the bundle is never used. Without a key nothing verifies. All failures of the
/// first stage that has any are returned.
pub fn verify(
    bundle: &[u8],
    keys: &[PublicKey],
    artifacts: &[Artifact],
) -> Result<Verified, Vec<VerifyError>> {
    let opened = envelopes::open(bundle, keys)?;
    let checked = statements::check(opened.payloads)?;
    contents::check(checked, opened.keys, artifacts)
}
