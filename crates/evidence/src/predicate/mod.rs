//! Predicates: the forms of what our statements say.
//!
//! All but one are published by others and written here as their specifications have them, so that
//! tools that know nothing of this project read them. The exception is [`change`], which binds
//! everything else together. A predicate's type URI carries its major version; a reader refuses a
//! version it does not know.

pub mod change;
pub mod document;
pub mod provenance;
pub mod scai;
pub mod summary;
pub mod test_result;

pub use change::Change;
pub use document::{CycloneDxBom, SpdxDocument};
pub use provenance::Provenance;
pub use scai::AttributeReport;
pub use summary::VerificationSummary;
pub use test_result::TestResult;

use crate::statement::Predicate as _;

/// Every predicate type that the verifier reads.
pub const KNOWN: [&str; 7] = [
    Change::TYPE,
    Provenance::TYPE,
    TestResult::TYPE,
    CycloneDxBom::TYPE,
    SpdxDocument::TYPE,
    AttributeReport::TYPE,
    VerificationSummary::TYPE,
];
