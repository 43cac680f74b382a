//! Bills of materials as predicates: the whole document, signed.

use serde::Serialize;
use serde_json::Value;

use crate::statement::Predicate;

/// A `CycloneDX` document (predicate type `https://cyclonedx.org/bom`).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct CycloneDxBom(pub Value);

impl Predicate for CycloneDxBom {
    const TYPE: &'static str = "https://cyclonedx.org/bom";
}

/// An SPDX 2.3 document (predicate type `https://spdx.dev/Document/v2.3`).
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(transparent)]
pub struct SpdxDocument(pub Value);

impl Predicate for SpdxDocument {
    const TYPE: &'static str = "https://spdx.dev/Document/v2.3";
}
