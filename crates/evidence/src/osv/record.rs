//! The part of an OSV record that is looked at (OSV schema 1.x).

use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
pub(super) struct Record {
    pub(super) id: String,
    #[serde(default)]
    pub(super) aliases: Vec<String>,
    pub(super) withdrawn: Option<String>,
    #[serde(default)]
    pub(super) summary: String,
    #[serde(default)]
    pub(super) details: String,
    #[serde(default)]
    pub(super) severity: Vec<Score>,
    #[serde(default)]
    pub(super) affected: Vec<Affected>,
    #[serde(default)]
    pub(super) database_specific: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Score {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) score: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Affected {
    pub(super) package: Option<Package>,
    pub(super) ranges: Vec<Range>,
    pub(super) versions: Vec<String>,
    pub(super) severity: Vec<Score>,
    pub(super) database_specific: Value,
    pub(super) ecosystem_specific: Value,
}

#[derive(Debug, Deserialize)]
pub(super) struct Package {
    pub(super) ecosystem: String,
    pub(super) name: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Range {
    #[serde(rename = "type")]
    pub(super) kind: String,
    #[serde(default)]
    pub(super) events: Vec<Event>,
}

/// Exactly one of these is there.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event {
    pub(super) introduced: Option<String>,
    pub(super) fixed: Option<String>,
    pub(super) last_affected: Option<String>,
}
