//! Bills of materials as `CycloneDX` 1.6 JSON.
//!
//! The same inventory and time give the same bytes; the serial number is derived from them. What
//! the lock files did not say is said too: such a bill is marked incomplete, with the reasons.

use std::collections::BTreeSet;

use matrix_core::{Code, Digest, Problem, canonical};
use serde::Serialize;
use serde_json::Value;

use crate::bom::{BomSubject, Licence, licence};
use crate::lockfile::{Component, HashValue, Inventory, Origin};

/// A bill of materials could not be written.
pub const SBOM_UNMADE: Code = Code::new("SBOM-0001", 500, 1, "bill of materials not made");

/// The media type of the document.
pub const MEDIA_TYPE: &str = "application/vnd.cyclonedx+json";

const ROOT: &str = "root";

/// A bill of materials could not be written.
#[derive(Debug, thiserror::Error)]
pub enum BomError {
    /// A value without canonical JSON.
    #[error("bill of materials has no canonical form")]
    Canonical(#[from] canonical::NotCanonical),
    /// A value without JSON.
    #[error("bill of materials has no JSON form")]
    Json(#[from] serde_json::Error),
}

impl From<BomError> for Problem {
    fn from(error: BomError) -> Self {
        Self::new(SBOM_UNMADE, error.to_string())
            .help("this is a fault of the program; its log says more")
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(rename = "$schema")]
    schema: &'static str,
    bom_format: &'static str,
    spec_version: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    serial_number: Option<String>,
    version: u32,
    metadata: Metadata<'a>,
    components: Vec<BomComponent<'a>>,
    dependencies: Vec<Dependency<'a>>,
    compositions: [Composition; 1],
}

#[derive(Serialize)]
struct Metadata<'a> {
    timestamp: String,
    tools: Tools<'a>,
    component: BomComponent<'a>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Tools<'a> {
    components: [BomComponent<'a>; 1],
}

#[derive(Serialize, Default)]
struct BomComponent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(rename = "bom-ref", skip_serializing_if = "str::is_empty")]
    bom_ref: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hashes: Vec<Hash<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    licenses: Vec<LicenceChoice<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    purl: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    properties: Vec<Property>,
}

#[derive(Serialize)]
struct Hash<'a> {
    alg: &'a str,
    content: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum LicenceChoice<'a> {
    License(NamedLicence<'a>),
    Expression(&'a str),
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum NamedLicence<'a> {
    Id(&'a str),
    Name(&'a str),
}

#[derive(Serialize)]
struct Property {
    name: &'static str,
    value: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Dependency<'a> {
    #[serde(rename = "ref")]
    reference: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    depends_on: Vec<&'a str>,
}

#[derive(Serialize)]
struct Composition {
    aggregate: &'static str,
    assemblies: [&'static str; 1],
}

/// The document for an inventory.
pub fn document(inventory: &Inventory, subject: BomSubject<'_>) -> Result<Value, BomError> {
    let mut bom = bom(inventory, subject);
    let digest = canonical::digest(&bom)?;
    bom.serial_number = Some(serial(digest));
    Ok(serde_json::to_value(&bom)?)
}

/// The document's bytes: canonical JSON.
pub fn to_bytes(inventory: &Inventory, subject: BomSubject<'_>) -> Result<Vec<u8>, BomError> {
    Ok(canonical::to_vec(&document(inventory, subject)?)?)
}

fn bom<'a>(inventory: &'a Inventory, subject: BomSubject<'a>) -> Wire<'a> {
    let read = inventory.files.iter().map(|file| Property {
        name: "matrix:lock-file",
        value: format!("{} sha256:{}", file.path, file.digest),
    });
    let not_understood = inventory.not_understood.iter().map(|note| Property {
        name: "matrix:not-understood",
        value: format!("{}: {}", note.path, note.reason),
    });
    let complete = inventory.not_understood.is_empty();
    Wire {
        schema: "http://cyclonedx.org/schema/bom-1.6.schema.json",
        bom_format: "CycloneDX",
        spec_version: "1.6",
        serial_number: None,
        version: 1,
        metadata: Metadata {
            timestamp: subject.time.to_rfc3339_seconds(),
            tools: Tools {
                components: [BomComponent {
                    kind: "application",
                    name: "matrix",
                    version: subject.tool_version,
                    ..BomComponent::default()
                }],
            },
            component: BomComponent {
                kind: "application",
                bom_ref: ROOT,
                name: subject.name,
                version: subject.version,
                ..BomComponent::default()
            },
            properties: read.chain(not_understood).collect(),
        },
        components: inventory.components.iter().map(component).collect(),
        dependencies: dependencies(inventory),
        compositions: [Composition {
            aggregate: if complete { "complete" } else { "incomplete" },
            assemblies: [ROOT],
        }],
    }
}

fn component(component: &Component) -> BomComponent<'_> {
    let local = component.origin == Origin::Local;
    let licences = component
        .licence
        .as_deref()
        .map(|text| match licence(text) {
            Licence::Id(id) => LicenceChoice::License(NamedLicence::Id(id)),
            Licence::Expression(expression) => LicenceChoice::Expression(expression),
            Licence::Name(name) => LicenceChoice::License(NamedLicence::Name(name)),
        });
    let files = component.files.iter().map(|path| Property {
        name: "matrix:lock-file",
        value: path.clone(),
    });
    BomComponent {
        kind: if local { "application" } else { "library" },
        bom_ref: &component.purl,
        name: &component.name,
        version: &component.version,
        hashes: component.hashes.iter().map(hash).collect(),
        licenses: licences.into_iter().collect(),
        purl: &component.purl,
        properties: files.collect(),
    }
}

fn hash(hash: &HashValue) -> Hash<'_> {
    Hash {
        alg: &hash.algorithm,
        content: &hash.hex,
    }
}

fn dependencies(inventory: &Inventory) -> Vec<Dependency<'_>> {
    let root = Dependency {
        reference: ROOT,
        depends_on: top_level(inventory)
            .map(|component| component.purl.as_str())
            .collect(),
    };
    let others = inventory.components.iter().map(|component| Dependency {
        reference: &component.purl,
        depends_on: component.dependencies.iter().map(String::as_str).collect(),
    });
    std::iter::once(root).chain(others).collect()
}

/// What the repository depends on directly: its own parts, and whatever nothing else needs.
pub(crate) fn top_level(inventory: &Inventory) -> impl Iterator<Item = &Component> {
    let needed: BTreeSet<&str> = inventory
        .components
        .iter()
        .flat_map(|component| component.dependencies.iter().map(String::as_str))
        .collect();
    inventory.components.iter().filter(move |component| {
        component.origin == Origin::Local || !needed.contains(component.purl.as_str())
    })
}

/// A UUID of version 8 (RFC 9562: bits of one's own making) from the document's digest.
fn serial(digest: Digest) -> String {
    let mut bytes = [0_u8; 16];
    bytes.copy_from_slice(&digest.as_bytes()[..16]);
    bytes[6] = (bytes[6] & 0x0f) | 0x80;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = hex::encode(bytes);
    format!(
        "urn:uuid:{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    )
}
