//! What is deployed: files by path, with digests and modes.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use matrix_core::{Digest, canonical};
use serde::{Deserialize, Serialize};

/// The most files in one deployment.
const FILES_MAX: usize = 200_000;

/// What a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileKind {
    /// A plain file.
    File,
    /// A file that can be executed.
    Executable,
    /// A symbolic link; its digest is that of its text.
    Link,
}

/// One file of a manifest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileEntry {
    /// What it is.
    pub kind: FileKind,
    /// SHA-256 of its content.
    pub digest: Digest,
    /// How many bytes.
    pub size: u64,
}

/// Everything a release holds, by path. Bytes of a path that are not UTF-8 are written `%NN`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest(pub BTreeMap<String, FileEntry>);

impl Manifest {
    /// The digest of everything.
    pub fn digest(&self) -> Result<Digest, canonical::NotCanonical> {
        canonical::digest(self)
    }

    /// Reads what is in a directory, without following links. A `.git` at the top is left out.
    pub fn of_directory(root: &Path) -> std::io::Result<Self> {
        let mut manifest = Self::default();
        for file in walk(root)? {
            manifest.0.insert(escape(&file), entry(&root.join(&file))?);
        }
        Ok(manifest)
    }
}

/// A manifest with the places where its files can be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payload {
    /// What is deployed.
    pub manifest: Manifest,
    /// Path in the release and file to copy, in the manifest's order.
    pub files: Vec<(PathBuf, PathBuf)>,
}

impl Payload {
    /// The files of a work tree, with files from elsewhere laid over them.
    pub fn of(tree: &Path, over: &[(PathBuf, PathBuf)]) -> std::io::Result<Self> {
        let mut sources: BTreeMap<PathBuf, PathBuf> = BTreeMap::new();
        for file in walk(tree)? {
            let source = tree.join(&file);
            sources.insert(file, source);
        }
        sources.extend(over.iter().cloned());
        let mut manifest = Manifest::default();
        for (path, source) in &sources {
            manifest.0.insert(escape(path), entry(source)?);
        }
        Ok(Self {
            manifest,
            files: sources.into_iter().collect(),
        })
    }
}

fn entry(path: &Path) -> std::io::Result<FileEntry> {
    let data = path.symlink_metadata()?;
    if data.is_symlink() {
        let text = std::fs::read_link(path)?;
        let bytes = text.as_os_str().as_bytes();
        let (digest, size) = (Digest::of(bytes), bytes.len() as u64);
        return Ok(FileEntry {
            kind: FileKind::Link,
            digest,
            size,
        });
    }
    let (digest, size) = Digest::of_reader(std::fs::File::open(path)?)?;
    let executable = data.permissions().mode() & 0o111 != 0;
    let kind = if executable {
        FileKind::Executable
    } else {
        FileKind::File
    };
    Ok(FileEntry { kind, digest, size })
}

/// Every file and link below a directory, relative to it, without the top's `.git`.
fn walk(root: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut directories = vec![PathBuf::new()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(root.join(&directory))? {
            let entry = entry?;
            let path = directory.join(entry.file_name());
            if path == Path::new(".git") {
                continue;
            }
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(path);
            } else if kind.is_file() || kind.is_symlink() {
                found.push(path);
            }
            if found.len() > FILES_MAX {
                let text = format!("more than {FILES_MAX} files in {}", root.display());
                return Err(std::io::Error::new(std::io::ErrorKind::FileTooLarge, text));
            }
        }
    }
    Ok(found)
}

fn escape(path: &Path) -> String {
    match path.to_str() {
        Some(text) if !text.contains('%') => text.to_owned(),
        _ => path
            .as_os_str()
            .as_bytes()
            .iter()
            .map(|byte| match byte {
                b'%' | 0x80.. => format!("%{byte:02X}"),
                plain => char::from(*plain).to_string(),
            })
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn a_payload_is_the_tree_with_outputs_over_it() {
        let root = tempfile::tempdir().unwrap();
        let (tree, outputs) = (root.path().join("tree"), root.path().join("outputs"));
        for directory in [tree.join(".git"), tree.join("src"), outputs.clone()] {
            std::fs::create_dir_all(directory).unwrap();
        }
        std::fs::write(tree.join(".git/HEAD"), "secret").unwrap();
        std::fs::write(tree.join("src/a"), "a").unwrap();
        std::fs::write(tree.join(OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        std::os::unix::fs::symlink("/etc/passwd", tree.join("link")).unwrap();
        std::fs::write(outputs.join("bin"), "binary").unwrap();
        let over = vec![(PathBuf::from("dist/bin"), outputs.join("bin"))];
        let payload = Payload::of(&tree, &over).unwrap();
        let names: Vec<_> = payload.manifest.0.keys().map(String::as_str).collect();
        assert_eq!(names, ["caf%E9", "dist/bin", "link", "src/a"]);
        let link = payload.manifest.0["link"];
        assert_eq!(
            (link.kind, link.digest),
            (FileKind::Link, Digest::of("/etc/passwd"))
        );
        assert_ne!(
            payload.manifest.digest().unwrap(),
            Manifest::of_directory(&tree).unwrap().digest().unwrap()
        );
    }
}
