//! Reading policy files: which ones count, in which order, and how much of them.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use matrix_core::{Digest, canonical};
use serde::Serialize;

use super::problem::PolicyError;

/// The schema every policy is checked against.
pub const SCHEMA: &str = include_str!("schema.cedarschema");

/// The policy that counts where a data directory has none of its own.
pub const DEFAULT_POLICY: &str = include_str!("default.cedar");

/// The most files in one directory.
const FILES_MAX: usize = 64;

/// The most bytes in one file.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Which set a policy belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    /// Given by whoever manages the machine; asked first, and its forbids are final.
    Managed,
    /// The data directory's own, or the built-in one.
    Local,
}

/// The text of one policy file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Which set it belongs to.
    pub layer: Layer,
    /// How people know it: `policy/release.cedar`.
    pub name: String,
    /// What it says.
    pub text: String,
}

impl Source {
    /// The policy that is built in.
    pub fn built_in() -> Self {
        Self {
            layer: Layer::Local,
            name: "default.cedar (built in)".into(),
            text: DEFAULT_POLICY.into(),
        }
    }
}

/// Reads `*.cedar` and `managed/*.cedar` of a policy directory, in the order of their names. The
/// built-in policy stands in for the directory's own where it has none. Other files are ignored.
pub(crate) fn read(directory: &Path) -> Result<Vec<Source>, PolicyError> {
    let mut sources = read_layer(&directory.join("managed"), Layer::Managed)?;
    let own = read_layer(directory, Layer::Local)?;
    if own.is_empty() {
        sources.push(Source::built_in());
    } else {
        sources.extend(own);
    }
    Ok(sources)
}

fn read_layer(directory: &Path, layer: Layer) -> Result<Vec<Source>, PolicyError> {
    let unreadable = |error: std::io::Error| PolicyError::Unreadable {
        path: directory.display().to_string(),
        reason: error.to_string(),
    };
    let entries = match std::fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // A link that leads nowhere was meant to lead somewhere.
            if directory.symlink_metadata().is_ok() {
                return Err(unreadable(error));
            }
            return Ok(Vec::new());
        }
        Err(error) => return Err(unreadable(error)),
    };
    let prefix = match layer {
        Layer::Managed => "policy/managed/",
        Layer::Local => "policy/",
    };
    let mut sources = Vec::new();
    for entry in entries {
        let path = entry.map_err(unreadable)?.path();
        if path
            .extension()
            .is_none_or(|extension| extension != "cedar")
        {
            continue;
        }
        if sources.len() == FILES_MAX {
            return Err(PolicyError::OverLimit {
                path: directory.display().to_string(),
                limit: format!("{FILES_MAX} files"),
            });
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        sources.push(Source {
            layer,
            name: format!("{prefix}{name}"),
            text: read_file(&path)?,
        });
    }
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(sources)
}

fn read_file(path: &Path) -> Result<String, PolicyError> {
    let unreadable = |reason: String| PolicyError::Unreadable {
        path: path.display().to_string(),
        reason,
    };
    // Opening a pipe would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(|error| unreadable(error.to_string()))?;
    if !metadata.is_file() {
        return Err(unreadable("not a regular file".into()));
    }
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX + 1).read_to_string(&mut text))
        .map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(PolicyError::OverLimit {
            path: path.display().to_string(),
            limit: format!("{FILE_BYTES_MAX} bytes"),
        });
    }
    Ok(text)
}

#[derive(Serialize)]
struct Manifest<'a> {
    version: u32,
    schema: Digest,
    files: Vec<ManifestFile<'a>>,
}

#[derive(Serialize)]
struct ManifestFile<'a> {
    layer: Layer,
    name: &'a str,
    sha256: Digest,
}

/// The SHA-256 of the canonical list of the schema's and all files' digests, in order.
pub(crate) fn digest(sources: &[Source]) -> Digest {
    let manifest = Manifest {
        version: 1,
        schema: Digest::of(SCHEMA),
        files: sources
            .iter()
            .map(|source| ManifestFile {
                layer: source.layer,
                name: &source.name,
                sha256: Digest::of(&source.text),
            })
            .collect(),
    };
    // Text and integers always have a canonical form; were that to change, no two policies
    // would be mistaken for one another.
    canonical::digest(&manifest).unwrap_or_else(|_| {
        let texts: Vec<&[u8]> = sources
            .iter()
            .map(|source| source.text.as_bytes())
            .collect();
        Digest::of_parts(&texts)
    })
}
