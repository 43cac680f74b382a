//! Bills of materials as SPDX 2.3 JSON.
//!
//! Every package has a supplier, as the NTIA's minimum elements want: the registry it came
//! through, since lock files do not name authors. The same inventory and time give the same bytes;
//! the namespace is derived from them.

use matrix_core::{Digest, canonical};
use serde::Serialize;
use serde_json::Value;

use crate::bom::{BomSubject, Licence, licence};
use crate::cyclonedx::{BomError, top_level};
use crate::lockfile::{Component, Ecosystem, Inventory, Origin};

/// The media type of the document.
pub const MEDIA_TYPE: &str = "application/spdx+json";

const DOCUMENT: &str = "SPDXRef-DOCUMENT";
const ROOT: &str = "SPDXRef-Root";
const NO_ASSERTION: &str = "NOASSERTION";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(rename = "SPDXID")]
    id: &'static str,
    spdx_version: &'static str,
    data_license: &'static str,
    name: &'a str,
    document_namespace: String,
    creation_info: CreationInfo,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    packages: Vec<Package<'a>>,
    relationships: Vec<Relationship>,
}

#[derive(Serialize)]
struct CreationInfo {
    created: String,
    creators: [String; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Package<'a> {
    #[serde(rename = "SPDXID")]
    id: String,
    name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    version_info: &'a str,
    supplier: String,
    download_location: &'static str,
    files_analyzed: bool,
    license_concluded: &'static str,
    license_declared: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    license_comments: Option<String>,
    copyright_text: &'static str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checksums: Vec<Checksum<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    external_refs: Vec<ExternalRef<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Checksum<'a> {
    algorithm: String,
    checksum_value: &'a str,
}

#[derive(Serialize)]
struct ExternalRef<'a> {
    #[serde(rename = "referenceCategory")]
    category: &'static str,
    #[serde(rename = "referenceType")]
    kind: &'static str,
    #[serde(rename = "referenceLocator")]
    locator: &'a str,
}

#[derive(Serialize)]
struct Relationship {
    #[serde(rename = "spdxElementId")]
    from: String,
    #[serde(rename = "relationshipType")]
    kind: &'static str,
    #[serde(rename = "relatedSpdxElement")]
    to: String,
}

/// The document for an inventory.
pub fn document(inventory: &Inventory, subject: BomSubject<'_>) -> Result<Value, BomError> {
    let mut document = Wire {
        id: DOCUMENT,
        spdx_version: "SPDX-2.3",
        data_license: "CC0-1.0",
        name: subject.name,
        document_namespace: String::new(),
        creation_info: CreationInfo {
            created: subject.time.to_rfc3339_seconds(),
            creators: [format!("Tool: matrix-{}", subject.tool_version)],
        },
        comment: comment(inventory),
        packages: packages(inventory, subject),
        relationships: relationships(inventory),
    };
    let digest = canonical::digest(&document)?;
    document.document_namespace = format!("urn:matrix:spdx:{digest}");
    Ok(serde_json::to_value(&document)?)
}

/// The document's bytes: canonical JSON.
pub fn to_bytes(inventory: &Inventory, subject: BomSubject<'_>) -> Result<Vec<u8>, BomError> {
    Ok(canonical::to_vec(&document(inventory, subject)?)?)
}

fn comment(inventory: &Inventory) -> String {
    let notes: Vec<String> = inventory
        .not_understood
        .iter()
        .map(|note| format!("not understood: {}: {}", note.path, note.reason))
        .collect();
    notes.join("\n")
}

fn packages<'a>(inventory: &'a Inventory, subject: BomSubject<'a>) -> Vec<Package<'a>> {
    let root = Package {
        id: ROOT.to_owned(),
        name: subject.name,
        version_info: subject.version,
        supplier: format!("Organization: {}", subject.name),
        download_location: NO_ASSERTION,
        files_analyzed: false,
        license_concluded: NO_ASSERTION,
        license_declared: NO_ASSERTION,
        license_comments: None,
        copyright_text: NO_ASSERTION,
        checksums: Vec::new(),
        external_refs: Vec::new(),
    };
    let others = inventory
        .components
        .iter()
        .map(|component| package(component, subject));
    std::iter::once(root).chain(others).collect()
}

fn package<'a>(component: &'a Component, subject: BomSubject<'a>) -> Package<'a> {
    let local = component.origin == Origin::Local;
    let declared = component.licence.as_deref();
    let (license_declared, license_comments) = match declared.map(licence) {
        None => (NO_ASSERTION, None),
        Some(Licence::Id(text) | Licence::Expression(text)) => (text, None),
        Some(Licence::Name(text)) => (NO_ASSERTION, Some(format!("declared as: {text}"))),
    };
    let checksums = component.hashes.iter().map(|hash| Checksum {
        algorithm: hash.algorithm.replace('-', ""),
        checksum_value: &hash.hex,
    });
    let version = &component.version;
    Package {
        id: id(component),
        name: &component.name,
        version_info: if local && version.is_empty() {
            subject.version
        } else {
            version
        },
        supplier: supplier(component, subject),
        download_location: NO_ASSERTION,
        files_analyzed: false,
        license_concluded: NO_ASSERTION,
        license_declared,
        license_comments,
        copyright_text: NO_ASSERTION,
        checksums: checksums.collect(),
        external_refs: vec![ExternalRef {
            category: "PACKAGE-MANAGER",
            kind: "purl",
            locator: &component.purl,
        }],
    }
}

/// Lock files do not name authors, so the supplier is whoever handed the component over.
fn supplier(component: &Component, subject: BomSubject<'_>) -> String {
    let name = match (&component.origin, component.ecosystem) {
        (Origin::Local, _) => subject.name,
        (Origin::Git(_) | Origin::Url(_), _) => "owner of the source repository or URL",
        (Origin::Registry, Ecosystem::Cargo) => "Rust package registry",
        (Origin::Registry, Ecosystem::Npm) => "npm package registry",
        (Origin::Registry, Ecosystem::Pypi) => "Python package index",
        (Origin::Registry, Ecosystem::Go) => "Go module proxy",
    };
    format!("Organization: {name}")
}

fn id(component: &Component) -> String {
    id_of_purl(&component.purl)
}

fn id_of_purl(purl: &str) -> String {
    let digest = Digest::of(purl).to_string();
    format!("SPDXRef-Package-{}", &digest[..24])
}

fn relationships(inventory: &Inventory) -> Vec<Relationship> {
    let relation = |from: String, kind, to: String| Relationship { from, kind, to };
    let mut relationships = vec![relation(DOCUMENT.into(), "DESCRIBES", ROOT.into())];
    for component in top_level(inventory) {
        relationships.push(relation(ROOT.into(), "DEPENDS_ON", id(component)));
    }
    for component in &inventory.components {
        for dependency in &component.dependencies {
            let to = id_of_purl(dependency);
            relationships.push(relation(id(component), "DEPENDS_ON", to));
        }
    }
    relationships
}
