//! Writing SARIF 2.1.0.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde::Serialize;

use super::{Finding, FindingReport, Level, Rule, SarifError};

const SCHEMA: &str =
    "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json";
/// The name of our fingerprint; its number changes when [`Finding::fingerprint`] does.
const FINGERPRINT: &str = "matrixFinding/v1";

#[derive(Serialize)]
struct Log<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    version: &'static str,
    runs: [Run<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Run<'a> {
    tool: Tool<'a>,
    column_kind: &'static str,
    results: Vec<SarifResult<'a>>,
}

#[derive(Serialize)]
struct Tool<'a> {
    driver: Driver<'a>,
}

#[derive(Serialize)]
struct Driver<'a> {
    name: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    rules: Vec<SarifRule<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifRule<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    short_description: Option<Text<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    help_uri: &'a str,
}

#[derive(Serialize)]
struct Text<'a> {
    text: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SarifResult<'a> {
    rule_id: &'a str,
    rule_index: usize,
    level: Level,
    message: Text<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    locations: Vec<Location<'a>>,
    partial_fingerprints: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Location<'a> {
    physical_location: PhysicalLocation<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PhysicalLocation<'a> {
    artifact_location: ArtifactLocation,
    #[serde(skip_serializing_if = "Option::is_none")]
    region: Option<Region<'a>>,
}

#[derive(Serialize)]
struct ArtifactLocation {
    uri: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Region<'a> {
    start_line: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_column: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    snippet: Option<Text<'a>>,
}

pub(super) fn write(report: &FindingReport) -> Result<Vec<u8>, SarifError> {
    let mut rules: BTreeMap<&str, Option<&Rule>> = BTreeMap::new();
    for rule in &report.rules {
        rules.entry(&rule.id).or_insert(Some(rule));
    }
    for finding in &report.findings {
        rules.entry(&finding.rule).or_insert(None);
    }
    let indices: BTreeMap<&str, usize> = rules.keys().copied().zip(0..).collect();
    let results = report
        .findings
        .iter()
        .map(|finding| result(finding, indices.get(finding.rule.as_str()).copied()))
        .collect();
    let log = Log {
        schema: SCHEMA,
        version: "2.1.0",
        runs: [Run {
            tool: Tool {
                driver: Driver {
                    name: if report.tool.is_empty() {
                        "unknown"
                    } else {
                        &report.tool
                    },
                    version: report.version.as_deref(),
                    rules: rules
                        .into_iter()
                        .map(|(id, rule)| write_rule(id, rule))
                        .collect(),
                },
            },
            column_kind: "unicodeCodePoints",
            results,
        }],
    };
    serde_json::to_vec_pretty(&log).map_err(SarifError::Json)
}

fn write_rule<'a>(id: &'a str, rule: Option<&'a Rule>) -> SarifRule<'a> {
    let description = rule.map_or("", |rule| &rule.description);
    SarifRule {
        id,
        short_description: (!description.is_empty()).then_some(Text { text: description }),
        help_uri: rule.map_or("", |rule| &rule.help_uri),
    }
}

fn result(finding: &Finding, rule_index: Option<usize>) -> SarifResult<'_> {
    let location = finding.place.as_ref().map(|place| Location {
        physical_location: PhysicalLocation {
            artifact_location: ArtifactLocation {
                uri: percent_encode(&place.path),
            },
            region: place.line.map(|line| Region {
                start_line: line.max(1),
                start_column: place.column.map(|column| column.max(1)),
                snippet: finding.snippet.as_deref().map(|text| Text { text }),
            }),
        },
    });
    SarifResult {
        rule_id: &finding.rule,
        rule_index: rule_index.unwrap_or_default(),
        level: finding.level,
        message: Text {
            text: &finding.message,
        },
        locations: location.into_iter().collect(),
        partial_fingerprints: BTreeMap::from([(FINGERPRINT, finding.fingerprint().to_string())]),
    }
}

/// A path as a URI reference (RFC 3986): everything but unreserved characters and `/` is escaped.
fn percent_encode(path: &str) -> String {
    let mut uri = String::with_capacity(path.len());
    for byte in path.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                uri.push(byte.into());
            }
            // Writing to a string cannot fail.
            other => drop(write!(uri, "%{other:02X}")),
        }
    }
    uri
}
