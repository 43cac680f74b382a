//! What a tree holds: every path with its mode and content id, in git's order.

use std::collections::BTreeMap;
use std::path::Path;

use crate::git::{Git, GitError};

/// How a tree keeps one path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryMode {
    /// A file.
    Regular,
    /// A file that can be executed.
    Executable,
    /// A symbolic link; its content is the target.
    Symlink,
    /// A commit of another repository.
    Submodule,
}

impl EntryMode {
    fn parse(text: &[u8]) -> Option<Self> {
        match text {
            b"100755" => Some(Self::Executable),
            b"120000" => Some(Self::Symlink),
            b"160000" => Some(Self::Submodule),
            // Old git wrote group-writable files as 100664.
            _ if text.starts_with(b"100") => Some(Self::Regular),
            _ => None,
        }
    }

    /// The mode in git's notation.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Regular => "100644",
            Self::Executable => "100755",
            Self::Symlink => "120000",
            Self::Submodule => "160000",
        }
    }

    /// Whether it is a file with bytes of its own.
    pub const fn is_regular(self) -> bool {
        matches!(self, Self::Regular | Self::Executable)
    }
}

/// One path of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub mode: EntryMode,
    /// The object with its content.
    pub id: String,
}

/// All paths of a tree; the paths are bytes, as git keeps them.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    entries: BTreeMap<Vec<u8>, Entry>,
}

impl Listing {
    /// Reads the whole tree of a commit or tree.
    pub(crate) async fn read(git: &Git, git_dir: &Path, tree: &str) -> Result<Self, GitError> {
        let printed = git
            .command("ls-tree", Some(git_dir))
            .args(["-r", "-z", "--full-tree", tree])
            .bytes()
            .await?;
        Self::parse(&printed)
    }

    /// Reads one path of a commit or tree; empty when it has no such path.
    pub(crate) async fn read_path(
        git: &Git,
        git_dir: &Path,
        tree: &str,
        path: &str,
    ) -> Result<Self, GitError> {
        let printed = git
            .command("ls-tree", Some(git_dir))
            .args(["-z", "--full-tree", tree, "--", path])
            .bytes()
            .await?;
        Self::parse(&printed)
    }

    fn parse(printed: &[u8]) -> Result<Self, GitError> {
        let mut entries = BTreeMap::new();
        for record in printed.split(|byte| *byte == 0).filter(|r| !r.is_empty()) {
            let (path, entry) = parse_record(record)
                .ok_or_else(|| GitError::unexpected("ls-tree", "a record without its parts"))?;
            if let Some(entry) = entry {
                entries.insert(path.to_vec(), entry);
            }
        }
        Ok(Self { entries })
    }

    /// What stands at a path.
    pub fn get(&self, path: &[u8]) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Every path, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &Entry)> {
        self.entries
            .iter()
            .map(|(path, entry)| (path.as_slice(), entry))
    }

    /// How many paths there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Whether a path is a directory here: some path lies below it.
    pub fn is_directory(&self, path: &[u8]) -> bool {
        let mut below = path.to_vec();
        below.push(b'/');
        self.entries
            .range(below.clone()..)
            .next()
            .is_some_and(|(found, _)| found.starts_with(&below))
    }

    pub(crate) fn insert(&mut self, path: Vec<u8>, entry: Entry) {
        self.entries.insert(path, entry);
    }

    pub(crate) fn remove(&mut self, path: &[u8]) {
        self.entries.remove(path);
    }
}

/// `mode SP type SP id TAB path`; a directory gives a path without an entry.
fn parse_record(record: &[u8]) -> Option<(&[u8], Option<Entry>)> {
    let tab = record.iter().position(|byte| *byte == b'\t')?;
    let (head, path) = (&record[..tab], &record[tab + 1..]);
    let mut words = head.split(|byte| *byte == b' ');
    let (mode, kind, id) = (words.next()?, words.next()?, words.next()?);
    if kind == b"tree" {
        return Some((path, None));
    }
    let entry = Entry {
        mode: EntryMode::parse(mode)?,
        id: std::str::from_utf8(id).ok()?.trim().to_owned(),
    };
    Some((path, Some(entry)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_keep_bytes_that_are_not_text() {
        let printed = b"100644 blob aa\tcaf\xe9\n.txt\0\
            120000 blob bb\tlink\x00160000 commit cc\tsub\x00040000 tree dd\tdir\0";
        let listing = Listing::parse(printed).unwrap();
        assert_eq!(listing.len(), 3);
        assert_eq!(
            listing.get(b"caf\xe9\n.txt").unwrap().mode,
            EntryMode::Regular
        );
        assert_eq!(listing.get(b"sub").unwrap().mode, EntryMode::Submodule);
    }

    #[test]
    fn a_directory_is_a_prefix_and_not_a_similar_name() {
        let listing =
            Listing::parse(b"100644 blob aa\tsrc/a\x00100644 blob bb\tsrc.txt\0").unwrap();
        assert!(listing.is_directory(b"src"));
        assert!(!listing.is_directory(b"sr"));
        assert!(!listing.is_directory(b"src.txt"));
        assert!(!listing.is_directory(b"src/a"));
    }
}
