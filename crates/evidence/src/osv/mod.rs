//! Known vulnerabilities: records in the OSV format, and which components they are about.
//!
//! A [`Database`] is built from records that the caller read; nothing is fetched. Versions are
//! compared as their ecosystem compares them: semantic versions for Rust, npm and Go, PEP 440 for
//! Python. A version that cannot be compared is not taken for safe: it is listed in
//! [`Audit::undetermined`].

mod pep440;
mod range;
mod record;
mod severity;

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::{Code, Problem};
use serde::{Deserialize, Serialize};

use crate::lockfile::{Component, Ecosystem, Inventory};
use crate::sarif::{Finding, Level, Place};
use range::{Answer, affects, fixed_after};
use record::{Affected, Record};

pub use severity::{Rating, Severity};

/// The order of two Python versions as PEP 440 gives it; nothing if one is no version.
pub fn compare_python(a: &str, b: &str) -> Option<std::cmp::Ordering> {
    let version = pep440::PythonVersion::parse;
    Some(version(a)?.cmp(&version(b)?))
}

/// A vulnerability record that cannot be read.
pub const RECORD_UNREADABLE: Code =
    Code::new("REPORT-0003", 422, 1, "vulnerability record unreadable");

/// A record is at most this many bytes.
pub const MAX_RECORD_BYTES: usize = 16 * 1024 * 1024;
/// A database has at most this many records.
pub const MAX_RECORDS: usize = 2_000_000;

/// Why a record was not taken into a database.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OsvError {
    /// A limit.
    #[error("vulnerability record `{name}` is too large: {what}")]
    TooLarge {
        /// The record's file.
        name: String,
        /// Which limit.
        what: &'static str,
    },
    /// Not of the OSV format.
    #[error("vulnerability record `{name}` cannot be read: {why}")]
    Unreadable {
        /// The record's file.
        name: String,
        /// What is wrong.
        why: String,
    },
}

impl From<OsvError> for Problem {
    fn from(error: OsvError) -> Self {
        Self::new(RECORD_UNREADABLE, error.to_string())
            .help("import the vulnerability database again; other records are still used")
    }
}

/// Records by ecosystem and package.
#[derive(Debug, Default)]
pub struct Database {
    records: Vec<Record>,
    /// Positions in `records`, and in its list of affected packages.
    index: BTreeMap<(Ecosystem, String), Vec<(usize, usize)>>,
    withdrawn: usize,
}

/// A component that a record is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vulnerability {
    /// The record's id.
    pub id: String,
    /// Other names of the same, such as CVE ids.
    pub aliases: Vec<String>,
    /// One line.
    pub summary: String,
    /// How bad it is, if the record says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<Severity>,
    /// The component's ecosystem.
    pub ecosystem: Ecosystem,
    /// The component's name.
    pub name: String,
    /// The component's version.
    pub version: String,
    /// Its package URL.
    pub purl: String,
    /// The lock files that name it.
    pub files: BTreeSet<String>,
    /// Versions after this one that are not affected any more, as the record gives them.
    pub fixed: Vec<String>,
}

impl Vulnerability {
    /// What it is known by from one revision to the next: another version of the same package with
    /// the same vulnerability is not a new one.
    pub fn key(&self) -> (Ecosystem, &str, &str) {
        (self.ecosystem, &self.name, &self.id)
    }

    /// The same as a finding, for a SARIF file: at the first lock file that names the component.
    /// Compare revisions with [`Audit::new_since`], not by these findings: they name the version.
    pub fn to_finding(&self) -> Finding {
        let rating = self.severity.as_ref().and_then(|severity| severity.rating);
        let fix = match self.fixed.first() {
            Some(version) => format!("fixed in {version}"),
            None => "no fixed version is known".to_owned(),
        };
        Finding {
            rule: self.id.clone(),
            level: match rating {
                Some(Rating::None | Rating::Low) => Level::Note,
                Some(Rating::Medium) | None => Level::Warning,
                Some(Rating::High | Rating::Critical) => Level::Error,
            },
            message: format!("{} {}: {}; {fix}", self.name, self.version, self.summary),
            place: self.files.first().map(|path| Place {
                path: path.clone(),
                line: None,
                column: None,
            }),
            snippet: None,
        }
    }
}

/// What a database says about an inventory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// In order of package URL, then id.
    pub vulnerabilities: Vec<Vulnerability>,
    /// Components of which a record may be about, but the versions cannot be compared.
    pub undetermined: Vec<String>,
    /// How many components were looked up.
    pub checked: usize,
}

impl Audit {
    /// The vulnerabilities that `base` does not have.
    pub fn new_since<'a>(&'a self, base: &Audit) -> Vec<&'a Vulnerability> {
        let known: BTreeSet<_> = base
            .vulnerabilities
            .iter()
            .map(Vulnerability::key)
            .collect();
        self.vulnerabilities
            .iter()
            .filter(|vulnerability| !known.contains(&vulnerability.key()))
            .collect()
    }
}

impl Database {
    /// Takes one record, given with the name of its file. A record that was withdrawn, or is about
    /// ecosystems not known here, is taken and never matches.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), OsvError> {
        let too_large = |what| OsvError::TooLarge {
            name: name.to_owned(),
            what,
        };
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(too_large("more than 16 MiB"));
        }
        if self.records.len() >= MAX_RECORDS {
            return Err(too_large("more than 2000000 records"));
        }
        let record: Record =
            serde_json::from_slice(bytes).map_err(|error| OsvError::Unreadable {
                name: name.to_owned(),
                why: error.to_string(),
            })?;
        if record.withdrawn.is_some() {
            self.withdrawn += 1;
            return Ok(());
        }
        let position = self.records.len();
        for (at, affected) in record.affected.iter().enumerate() {
            if let Some((ecosystem, name)) = package(affected) {
                self.index
                    .entry((ecosystem, name))
                    .or_default()
                    .push((position, at));
            }
        }
        self.records.push(record);
        Ok(())
    }

    /// How many records it holds, without withdrawn ones.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records were passed over because they were withdrawn.
    pub fn withdrawn(&self) -> usize {
        self.withdrawn
    }

    /// Looks up every third-party component. A component is affected as soon as one of a record's
    /// entries for its package says so; a record is listed once for each component.
    pub fn audit(&self, inventory: &Inventory) -> Audit {
        let mut audit = Audit::default();
        for component in inventory.third_party() {
            audit.checked += 1;
            self.look_up(component, &mut audit);
        }
        audit
            .vulnerabilities
            .sort_by(|a, b| (&a.purl, &a.id).cmp(&(&b.purl, &b.id)));
        audit
    }

    fn look_up(&self, component: &Component, audit: &mut Audit) {
        let key = (component.ecosystem, component.name.clone());
        let mut by_record: BTreeMap<usize, (Answer, Vec<&Affected>)> = BTreeMap::new();
        for (position, at) in self.index.get(&key).into_iter().flatten() {
            let Some(affected) = self
                .records
                .get(*position)
                .and_then(|record| record.affected.get(*at))
            else {
                continue;
            };
            let answer = affects(affected, component.ecosystem, &component.version);
            let entry = by_record
                .entry(*position)
                .or_insert((Answer::No, Vec::new()));
            entry.0 = entry.0.max(answer);
            if answer == Answer::Yes {
                entry.1.push(affected);
            }
        }
        for (position, (answer, affected)) in by_record {
            let record = &self.records[position];
            match answer {
                Answer::No => {}
                Answer::Unknown => audit.undetermined.push(format!(
                    "{} may be affected by {}",
                    component.purl, record.id
                )),
                Answer::Yes => {
                    audit
                        .vulnerabilities
                        .push(vulnerability(record, &affected, component));
                }
            }
        }
    }
}

fn package(affected: &Affected) -> Option<(Ecosystem, String)> {
    let package = affected.package.as_ref()?;
    // A suffix after a colon names a registry or release of the ecosystem.
    let name = package.ecosystem.split(':').next()?;
    let ecosystem = Ecosystem::ALL.into_iter().find(|e| e.osv_name() == name)?;
    Some((ecosystem, ecosystem.normalise(&package.name)))
}

fn vulnerability(record: &Record, affected: &[&Affected], component: &Component) -> Vulnerability {
    let mut fixed: Vec<String> = Vec::new();
    for entry in affected {
        for version in fixed_after(entry, component.ecosystem, &component.version) {
            if !fixed.contains(&version) {
                fixed.push(version);
            }
        }
    }
    let own = affected.iter().flat_map(|entry| entry.severity.iter());
    let severities: Vec<_> = own.chain(&record.severity).collect();
    Vulnerability {
        id: record.id.clone(),
        aliases: record.aliases.clone(),
        summary: one_line(record),
        severity: severity::of(&severities, record, affected),
        ecosystem: component.ecosystem,
        name: component.name.clone(),
        version: component.version.clone(),
        purl: component.purl.clone(),
        files: component.files.clone(),
        fixed,
    }
}

fn one_line(record: &Record) -> String {
    let text = if record.summary.is_empty() {
        &record.details
    } else {
        &record.summary
    };
    let line = text.lines().find(|line| !line.trim().is_empty());
    line.unwrap_or_default().trim().chars().take(300).collect()
}
