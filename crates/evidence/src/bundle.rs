//! Bundles: everything said about one change, one signed envelope a line (`.intoto.jsonl`).
//!
//! The file as a whole is not signed. What holds it together is the change statement, which names
//! every other statement by digest; [`mod@crate::verify`] checks that nothing is missing and nothing
//! was added. [`Builder`] therefore takes the change last:
//!
//! 1. [`Builder::new`] with the subjects that all statements share,
//! 2. [`Builder::state`] for each statement,
//! 3. [`Builder::summarise`] for the gate's verdict, which lists the statements so far,
//! 4. [`Builder::seal`] with the change and the signers.
//!
//! The same inputs and keys give the same bytes.

use matrix_core::{Code, Digest, Problem, canonical};
use serde::Serialize;

use crate::dsse::{Envelope, EnvelopeError, PAYLOAD_TYPE};
use crate::keys::{KeyError, Signer};
use crate::predicate::change::StatementRef;
use crate::predicate::summary::Input;
use crate::predicate::{Change, VerificationSummary};
use crate::statement::{DigestSet, Predicate, Resource, Statement};

/// A bundle could not be made.
pub const BUNDLE_UNMADE: Code = Code::new("BUNDLE-0013", 500, 1, "bundle not made");

/// The media type of a bundle.
pub const MEDIA_TYPE: &str = "application/jsonl";
/// What a bundle's file name ends with.
pub const FILE_SUFFIX: &str = ".intoto.jsonl";

/// A bundle is at most this long.
pub const MAX_BUNDLE_BYTES: usize = 256 * 1024 * 1024;
/// A bundle has at most this many statements.
pub const MAX_STATEMENTS: usize = 1000;

/// Why a bundle could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// A predicate has no canonical JSON.
    #[error("statement {predicate_type} has no canonical form")]
    Form {
        /// Which.
        predicate_type: &'static str,
        /// Why.
        #[source]
        source: canonical::NotCanonical,
    },
    /// The signer failed.
    #[error("bundle could not be signed")]
    Sign(#[from] KeyError),
    /// The envelope could not be written.
    #[error("envelope could not be written")]
    Envelope(#[from] EnvelopeError),
    /// Nobody would sign.
    #[error("a bundle needs at least one signer")]
    NoSigner,
    /// Two statements are the same.
    #[error("statement {predicate_type} with digest {digest} was made twice")]
    Twice {
        /// Its type.
        predicate_type: &'static str,
        /// Its payload's digest.
        digest: Digest,
    },
}

impl From<BundleError> for Problem {
    fn from(error: BundleError) -> Self {
        match error {
            BundleError::Sign(error) => error.into(),
            other => Self::new(BUNDLE_UNMADE, other.to_string())
                .help("this is a fault of the program; its log says more"),
        }
    }
}

/// Makes a bundle, statement by statement.
#[derive(Debug)]
pub struct Builder {
    subjects: Vec<Resource>,
    payloads: Vec<(StatementRef, Vec<u8>)>,
}

impl Builder {
    /// A bundle about these subjects: the published artifacts and the source's tree and commit.
    pub fn new(subjects: Vec<Resource>) -> Self {
        Self {
            subjects,
            payloads: Vec::new(),
        }
    }

    /// Adds a statement about all subjects; gives its digest.
    pub fn state<P: Predicate>(&mut self, predicate: P) -> Result<Digest, BundleError> {
        self.state_about(self.subjects.clone(), predicate)
    }

    /// Adds a statement about some of the subjects, such as a bill of materials about the source.
    pub fn state_about<P: Predicate>(
        &mut self,
        subjects: Vec<Resource>,
        predicate: P,
    ) -> Result<Digest, BundleError> {
        let payload = payload(&Statement::new(subjects, predicate), P::TYPE)?;
        let digest = Digest::of(&payload);
        if self
            .payloads
            .iter()
            .any(|(known, _)| known.digest == digest)
        {
            return Err(BundleError::Twice {
                predicate_type: P::TYPE,
                digest,
            });
        }
        let reference = StatementRef {
            digest,
            predicate_type: P::TYPE.to_owned(),
        };
        self.payloads.push((reference, payload));
        Ok(digest)
    }

    /// Adds the gate's verdict, with every statement so far as its input.
    pub fn summarise(&mut self, mut summary: VerificationSummary) -> Result<Digest, BundleError> {
        summary.input_attestations = self
            .references()
            .into_iter()
            .map(|statement| Input {
                uri: statement.predicate_type,
                digest: DigestSet::from([("sha256".into(), statement.digest.to_string())]),
            })
            .collect();
        self.state(summary)
    }

    /// Adds the change, which names every other statement, signs them all and gives the file.
    /// The change comes first in it, for readers who look at one line only.
    pub fn seal(self, mut change: Change, signers: &[&dyn Signer]) -> Result<Vec<u8>, BundleError> {
        if signers.is_empty() {
            return Err(BundleError::NoSigner);
        }
        change.statements = self.references();
        let statement = Statement::new(self.subjects, change);
        let first = payload(&statement, Change::TYPE)?;
        let others = self.payloads.into_iter().map(|(_, payload)| payload);
        let mut file = Vec::new();
        for payload in std::iter::once(first).chain(others) {
            let envelope = Envelope::sign(PAYLOAD_TYPE, payload, signers)?;
            file.extend_from_slice(envelope.to_json()?.as_bytes());
            file.push(b'\n');
        }
        Ok(file)
    }

    fn references(&self) -> Vec<StatementRef> {
        let mut references: Vec<StatementRef> = self
            .payloads
            .iter()
            .map(|(reference, _)| reference.clone())
            .collect();
        references.sort();
        references
    }
}

fn payload<T: Serialize>(
    statement: &T,
    predicate_type: &'static str,
) -> Result<Vec<u8>, BundleError> {
    canonical::to_vec(statement).map_err(|source| BundleError::Form {
        predicate_type,
        source,
    })
}
