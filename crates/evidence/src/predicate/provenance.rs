//! SLSA provenance v1: how the artifacts came to be.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::statement::{Predicate, Resource, Time};

/// The `buildType` of a change: sources at a base revision, a plan applied to them, the
/// repository's own checks run in sandboxes. `docs/reference/bundle.md` describes its parameters.
pub const BUILD_TYPE: &str = "urn:matrix:build:change:v1";

/// The predicate of `https://slsa.dev/provenance/v1`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Provenance {
    /// What was to be built, from what.
    pub build_definition: BuildDefinition,
    /// What happened.
    pub run_details: RunDetails,
}

impl Predicate for Provenance {
    const TYPE: &'static str = "https://slsa.dev/provenance/v1";
}

/// The inputs of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BuildDefinition {
    /// [`BUILD_TYPE`].
    pub build_type: String,
    /// What the submitter chose: plan, base, target.
    pub external_parameters: Map<String, Value>,
    /// What the operator chose.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub internal_parameters: Map<String, Value>,
    /// Sources, lock files, toolchains.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resolved_dependencies: Vec<Resource>,
}

/// The execution of a build.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RunDetails {
    /// Who ran it.
    pub builder: Builder,
    /// Which run, and when.
    pub metadata: Metadata,
    /// What it left besides the subjects, such as logs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub byproducts: Vec<Resource>,
}

/// The platform that ran the build and is trusted to say so.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Builder {
    /// A URI for the platform; one id for each level of trust.
    pub id: String,
    /// Versions of its parts.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub version: Map<String, Value>,
}

/// Which run, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Metadata {
    /// The run's id.
    pub invocation_id: String,
    /// When it began.
    pub started_on: Time,
    /// When it ended.
    pub finished_on: Time,
}
