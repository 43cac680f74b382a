//! One thing a repository depends on.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde::{Deserialize, Serialize};

/// Whose names and versions a component has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ecosystem {
    /// Rust.
    Cargo,
    /// JavaScript.
    Npm,
    /// Python.
    Pypi,
    /// Go.
    Go,
}

impl Ecosystem {
    /// Every ecosystem.
    pub const ALL: [Self; 4] = [Self::Cargo, Self::Npm, Self::Pypi, Self::Go];

    /// The type in a package URL.
    pub const fn purl_type(self) -> &'static str {
        match self {
            Self::Cargo => "cargo",
            Self::Npm => "npm",
            Self::Pypi => "pypi",
            Self::Go => "golang",
        }
    }

    /// What the OSV schema calls it. Rust's is the name of its registry.
    pub const fn osv_name(self) -> &'static str {
        match self {
            Self::Cargo => concat!("crates", ".", "io"),
            Self::Npm => "npm",
            Self::Pypi => "PyPI",
            Self::Go => "Go",
        }
    }

    /// A name as the ecosystem compares it (Python: PEP 503).
    pub fn normalise(self, name: &str) -> String {
        if self != Self::Pypi {
            return name.to_owned();
        }
        let mut normal = String::with_capacity(name.len());
        for part in name.split(['-', '_', '.']).filter(|part| !part.is_empty()) {
            if !normal.is_empty() {
                normal.push('-');
            }
            normal.push_str(&part.to_lowercase());
        }
        normal
    }
}

/// Where a component comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// The repository itself.
    Local,
    /// A registry of the ecosystem.
    Registry,
    /// A version-control system, at this URL.
    Git(String),
    /// A file at this URL.
    Url(String),
}

/// A digest that a lock file pins, in lower-case hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct HashValue {
    /// `SHA-1`, `SHA-256`, `SHA-384`, `SHA-512` or `MD5`, as `CycloneDX` spells them.
    pub algorithm: String,
    /// Its value.
    pub hex: String,
}

impl HashValue {
    /// From hexadecimal; `None` if algorithm or length is not known.
    pub fn from_hex(algorithm: &str, hex: &str) -> Option<Self> {
        let (algorithm, length) = match algorithm.to_ascii_lowercase().as_str() {
            "md5" => ("MD5", 32),
            "sha1" => ("SHA-1", 40),
            "sha256" => ("SHA-256", 64),
            "sha384" => ("SHA-384", 96),
            "sha512" => ("SHA-512", 128),
            _ => return None,
        };
        let fits = hex.len() == length && hex.bytes().all(|byte| byte.is_ascii_hexdigit());
        fits.then(|| Self {
            algorithm: algorithm.to_owned(),
            hex: hex.to_ascii_lowercase(),
        })
    }

    /// From `sha512-BASE64`, as subresource integrity writes it.
    pub fn from_integrity(text: &str) -> Option<Self> {
        let (algorithm, value) = text.split_once('-')?;
        let value = value.split('?').next().unwrap_or(value);
        Self::from_hex(algorithm, &hex::encode(BASE64_STANDARD.decode(value).ok()?))
    }

    /// From `sha256:HEX`, as Python tools write it.
    pub fn from_colon(text: &str) -> Option<Self> {
        let (algorithm, value) = text.split_once(':')?;
        Self::from_hex(algorithm, value)
    }
}

/// One thing a repository depends on, or a part of the repository itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Component {
    /// Whose names and versions it has.
    pub ecosystem: Ecosystem,
    /// Its name, normalised.
    pub name: String,
    /// Its version; empty only for parts of the repository that have none.
    pub version: String,
    /// Its package URL, which tells components apart.
    pub purl: String,
    /// Where it comes from.
    pub origin: Origin,
    /// Digests of its files, as the lock file pins them.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub hashes: BTreeSet<HashValue>,
    /// Its licence, where the lock file says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub licence: Option<String>,
    /// The package URLs it depends on.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub dependencies: BTreeSet<String>,
    /// The lock files that name it.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub files: BTreeSet<String>,
}

impl Component {
    /// A component of which no more is known.
    pub fn new(ecosystem: Ecosystem, name: &str, version: &str, origin: Origin) -> Self {
        let name = ecosystem.normalise(name);
        Self {
            purl: purl(ecosystem, &name, version, &origin),
            ecosystem,
            name,
            version: version.to_owned(),
            origin,
            hashes: BTreeSet::new(),
            licence: None,
            dependencies: BTreeSet::new(),
            files: BTreeSet::new(),
        }
    }

    /// Takes over what another lock file says of the same component.
    pub(super) fn merge(&mut self, other: Self) {
        self.hashes.extend(other.hashes);
        self.dependencies.extend(other.dependencies);
        self.files.extend(other.files);
        if self.licence.is_none() {
            self.licence = other.licence;
        }
    }
}

/// The package URL (purl specification): namespaces keep their slashes, all else is escaped.
fn purl(ecosystem: Ecosystem, name: &str, version: &str, origin: &Origin) -> String {
    let mut purl = format!("pkg:{}/", ecosystem.purl_type());
    for (index, segment) in name.split('/').enumerate() {
        if index > 0 {
            purl.push('/');
        }
        escape(segment, &mut purl);
    }
    if !version.is_empty() {
        purl.push('@');
        escape(version, &mut purl);
    }
    match origin {
        Origin::Git(url) => {
            purl.push_str("?vcs_url=");
            let prefix = if url.starts_with("git+") { "" } else { "git+" };
            escape(&format!("{prefix}{url}"), &mut purl);
        }
        Origin::Url(url) => {
            purl.push_str("?download_url=");
            escape(url, &mut purl);
        }
        Origin::Local | Origin::Registry => {}
    }
    purl
}

fn escape(text: &str, purl: &mut String) {
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b':' => {
                purl.push(byte.into());
            }
            // Writing to a string cannot fail.
            other => drop(write!(purl, "%{other:02X}")),
        }
    }
}
