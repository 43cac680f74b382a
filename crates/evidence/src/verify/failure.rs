//! Everything that can be wrong with a bundle.

use matrix_core::{Code, Digest, Problem};

use crate::record::Kind;

/// Nothing is in it.
pub const BUNDLE_EMPTY: Code = Code::new("BUNDLE-0001", 422, 1, "bundle empty");
/// It has not the form of a bundle.
pub const BUNDLE_MALFORMED: Code = Code::new("BUNDLE-0002", 422, 1, "bundle malformed");
/// No key was given.
pub const BUNDLE_NO_KEY: Code = Code::new("BUNDLE-0003", 422, 1, "no key to verify with");
/// A line is not signed by a key that was given.
pub const BUNDLE_SIGNATURE: Code = Code::new("BUNDLE-0004", 422, 1, "signature not valid");
/// A statement of unknown form.
pub const BUNDLE_STATEMENT: Code = Code::new("BUNDLE-0005", 422, 1, "statement not understood");
/// Statements are missing, added or doubled.
pub const BUNDLE_STATEMENTS: Code = Code::new("BUNDLE-0006", 422, 1, "statements do not match");
/// A statement is about something else.
pub const BUNDLE_SUBJECT: Code = Code::new("BUNDLE-0007", 422, 1, "wrong subject");
/// A file at hand is not what the bundle speaks about.
pub const BUNDLE_ARTIFACT: Code = Code::new("BUNDLE-0008", 422, 1, "artifact not in bundle");
/// Evidence failed.
pub const BUNDLE_EVIDENCE: Code = Code::new("BUNDLE-0009", 422, 1, "evidence failed");
/// Evidence that the policy required is not there.
pub const BUNDLE_REQUIRED: Code = Code::new("BUNDLE-0010", 422, 1, "required evidence missing");
/// Approvals are stale, too few or not allowed.
pub const BUNDLE_APPROVAL: Code = Code::new("BUNDLE-0011", 422, 1, "approval does not count");
/// Statements contradict each other.
pub const BUNDLE_CONTRADICTS: Code = Code::new("BUNDLE-0012", 422, 1, "bundle contradicts itself");

/// One thing that is wrong with a bundle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// The file has no statement.
    #[error("the bundle holds no statement")]
    Empty,
    /// The file is too long.
    #[error("the bundle is too large: {what}")]
    TooLarge {
        /// Which limit.
        what: String,
    },
    /// The last line has no end.
    #[error("the bundle is cut off: its last line does not end")]
    CutOff,
    /// A line is not an envelope.
    #[error("line {line} is not a signed envelope: {why}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A line is an envelope, but not in the one form a bundle has.
    #[error("line {line} is not written as this bundle's maker writes it; it was changed")]
    Rewritten {
        /// Counted from 1.
        line: usize,
    },
    /// No key was given.
    #[error("no public key was given, so nothing can be verified")]
    NoKeys,
    /// None of the keys signed this line.
    #[error("line {line} is not signed by any of the given keys; it names {named}")]
    Unsigned {
        /// Counted from 1.
        line: usize,
        /// The key ids the line names.
        named: String,
    },
    /// Every line is signed, but not all by one of the keys.
    #[error("no single one of the given keys signed every statement")]
    MixedKeys,
    /// The envelope carries something else than a statement.
    #[error("line {line} carries {found}, not an in-toto statement")]
    PayloadType {
        /// Counted from 1.
        line: usize,
        /// The type it names.
        found: String,
    },
    /// The payload is not a statement of the form its type asks for.
    #[error("line {line} is not a readable statement: {why}")]
    Statement {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        why: String,
    },
    /// A predicate type or version this verifier does not know.
    #[error("line {line} has predicate type {predicate_type}, which this verifier does not know")]
    UnknownPredicate {
        /// Counted from 1.
        line: usize,
        /// The type.
        predicate_type: String,
    },
    /// None or several change statements.
    #[error("a bundle holds exactly one change statement, this one {found}")]
    Changes {
        /// How many.
        found: usize,
    },
    /// Named by the change, not in the file.
    #[error("statement {digest} ({predicate_type}) is missing")]
    Missing {
        /// Its payload's digest.
        digest: Digest,
        /// Its type.
        predicate_type: String,
    },
    /// In the file, not named by the change.
    #[error("line {line} ({predicate_type}) does not belong to this change")]
    Extra {
        /// Counted from 1.
        line: usize,
        /// Its type.
        predicate_type: String,
    },
    /// The same statement twice.
    #[error("line {line} repeats an earlier statement")]
    Duplicate {
        /// Counted from 1.
        line: usize,
    },
    /// A statement about something that the change is not about.
    #[error("line {line} is about `{subject}`, which is not a subject of this change")]
    Subject {
        /// Counted from 1.
        line: usize,
        /// The subject's name or digest.
        subject: String,
    },
    /// A statement about nothing.
    #[error("line {line} is about nothing: it has no subject with a digest")]
    NoSubject {
        /// Counted from 1.
        line: usize,
    },
    /// The change speaks of something that is not among its subjects.
    #[error("{what} is not a subject of the change statement")]
    NotASubject {
        /// What is missing there.
        what: String,
    },
    /// A file at hand that the bundle does not speak about.
    #[error("`{name}` (SHA-256 {digest}) is not what this bundle speaks about")]
    Artifact {
        /// The name given by the caller.
        name: String,
        /// Its digest.
        digest: Digest,
    },
    /// Evidence failed.
    #[error("{kind} failed: {reason}")]
    Failed {
        /// Which.
        kind: Kind,
        /// Why.
        reason: String,
    },
    /// Required, but skipped.
    #[error("{kind} was required by the policy, but skipped: {reason}")]
    RequiredSkipped {
        /// Which.
        kind: Kind,
        /// Why it was skipped.
        reason: String,
    },
    /// Required, but not there.
    #[error("{kind} was required by the policy, but there is no evidence of it")]
    RequiredMissing {
        /// Which.
        kind: Kind,
    },
    /// Skipped, but nobody says why.
    #[error("{kind} was skipped without a reason")]
    SkippedSilently {
        /// Which.
        kind: Kind,
    },
    /// The approval was given for something else.
    #[error("the approval of {who} is stale: it was given for another {what}")]
    StaleApproval {
        /// Who.
        who: String,
        /// Which bound digests differ.
        what: String,
    },
    /// Too few people agreed.
    #[error("the policy asked for {needed} approval{}, of which {given} {}",
        if *needed == 1 { "" } else { "s" }, if *given == 1 { "counts" } else { "count" })]
    TooFewApprovals {
        /// How many the policy asked for.
        needed: u32,
        /// How many distinct people's approvals count.
        given: usize,
    },
    /// An approval that may not count.
    #[error("the approval of {who} may not count: {why}")]
    InvalidApproval {
        /// Who.
        who: String,
        /// Why.
        why: &'static str,
    },
    /// The sandbox let something through.
    #[error("the sandbox's self-test failed: {escaped} escape attempts got through")]
    SandboxEscaped {
        /// How many.
        escaped: u32,
    },
    /// Two parts of the bundle do not agree.
    #[error("the bundle contradicts itself: {what}")]
    Contradiction {
        /// What.
        what: String,
    },
}

impl VerifyError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Empty => BUNDLE_EMPTY,
            Self::TooLarge { .. } | Self::CutOff | Self::Line { .. } | Self::Rewritten { .. } => {
                BUNDLE_MALFORMED
            }
            Self::NoKeys => BUNDLE_NO_KEY,
            Self::Unsigned { .. } | Self::MixedKeys => BUNDLE_SIGNATURE,
            Self::PayloadType { .. } | Self::Statement { .. } | Self::UnknownPredicate { .. } => {
                BUNDLE_STATEMENT
            }
            Self::Changes { .. }
            | Self::Missing { .. }
            | Self::Extra { .. }
            | Self::Duplicate { .. } => BUNDLE_STATEMENTS,
            Self::Subject { .. } | Self::NoSubject { .. } | Self::NotASubject { .. } => {
                BUNDLE_SUBJECT
            }
            Self::Artifact { .. } => BUNDLE_ARTIFACT,
            Self::Failed { .. } => BUNDLE_EVIDENCE,
            Self::RequiredSkipped { .. }
            | Self::RequiredMissing { .. }
            | Self::SkippedSilently { .. } => BUNDLE_REQUIRED,
            Self::StaleApproval { .. }
            | Self::TooFewApprovals { .. }
            | Self::InvalidApproval { .. } => BUNDLE_APPROVAL,
            Self::SandboxEscaped { .. } | Self::Contradiction { .. } => BUNDLE_CONTRADICTS,
        }
    }
}

impl From<VerifyError> for Problem {
    fn from(error: VerifyError) -> Self {
        let problem = Self::new(error.code(), error.to_string());
        match error {
            VerifyError::NoKeys => problem.help("give the publisher's public key with --key"),
            VerifyError::Unsigned { .. } => {
                problem.help("check that the key is the publisher's and the file is unchanged")
            }
            VerifyError::UnknownPredicate { .. } => {
                problem.help("use a newer version of the verifier")
            }
            VerifyError::Artifact { .. } => {
                problem.help("fetch the file again from where the release was published")
            }
            _ => problem.help("do not use this release; ask its publisher for a valid bundle"),
        }
    }
}
