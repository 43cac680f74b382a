//! The canonical diff between two trees, and its numbers.
//!
//! The diff is what people approve and what is signed, so its bytes must be the same on every
//! machine: no configuration, no rename detection, full object names, fixed context and algorithm.
//! A binary file stands in it by its two object names and not by its compressed bytes, which
//! differ between compression libraries; the names bind the content just as well.

use matrix_core::Digest;
use serde::{Deserialize, Serialize};

use crate::clone::WorkTree;
use crate::git::GitError;
use crate::object::TreeId;

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FileStatus {
    /// It is new.
    Added,
    /// Its content or mode changed.
    Modified,
    /// It is gone.
    Deleted,
    /// It became something else, such as a file in a link's place.
    TypeChanged,
}

/// One path of a diff.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileFacts {
    /// The path, from the repository's top.
    pub path: String,
    /// What happened to it.
    pub status: FileStatus,
    /// Its mode before, in git's notation (`100644`); `None` when it is new.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub old_mode: Option<String>,
    /// Its mode after; `None` when it is gone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_mode: Option<String>,
    /// Lines that came; zero for a binary file.
    pub added_lines: u64,
    /// Lines that went; zero for a binary file.
    pub deleted_lines: u64,
    /// Whether git sees bytes and not lines.
    pub binary: bool,
}

/// A diff's digest and numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiffFacts {
    /// SHA-256 of the canonical diff's bytes.
    pub digest: Digest,
    /// How many bytes it has.
    pub size: u64,
    /// Every changed path, in git's order. A move is a deletion and an addition.
    pub files: Vec<FileFacts>,
}

impl DiffFacts {
    /// Lines that came, in all files.
    pub fn added_lines(&self) -> u64 {
        self.files.iter().map(|file| file.added_lines).sum()
    }

    /// Lines that went, in all files.
    pub fn deleted_lines(&self) -> u64 {
        self.files.iter().map(|file| file.deleted_lines).sum()
    }
}

/// The bytes of the diff from one tree to another.
pub(crate) async fn canonical_diff(
    work_tree: &WorkTree,
    from: &TreeId,
    to: &TreeId,
    limit: u64,
) -> Result<Vec<u8>, GitError> {
    work_tree
        .git()
        .command("diff-tree", Some(&work_tree.git_dir()))
        .args(["-r", "-p", "--full-index", "--no-renames", "--no-color"])
        .args(["--no-ext-diff", "--no-textconv", "--diff-algorithm=myers"])
        .args([
            "--no-indent-heuristic",
            "--unified=3",
            "--inter-hunk-context=0",
        ])
        .args([
            "--src-prefix=a/",
            "--dst-prefix=b/",
            "--ignore-submodules=none",
        ])
        .args([from.as_str(), to.as_str()])
        .output(limit)
        .bytes()
        .await
}

/// The numbers of a diff whose bytes are known.
pub(crate) async fn facts(
    work_tree: &WorkTree,
    from: &TreeId,
    to: &TreeId,
    diff: &[u8],
) -> Result<DiffFacts, GitError> {
    let printed = work_tree
        .git()
        .command("diff-tree", Some(&work_tree.git_dir()))
        .args([
            "-r",
            "-z",
            "--raw",
            "--numstat",
            "--no-abbrev",
            "--no-renames",
        ])
        .args(["--no-ext-diff", "--no-textconv", "--diff-algorithm=myers"])
        .args([from.as_str(), to.as_str()])
        .bytes()
        .await?;
    let files = parse(&printed)
        .ok_or_else(|| GitError::unexpected("diff-tree", "a record without its parts"))?;
    Ok(DiffFacts {
        digest: Digest::of(diff),
        size: diff.len() as u64,
        files,
    })
}

fn parse(printed: &[u8]) -> Option<Vec<FileFacts>> {
    let mut files: Vec<FileFacts> = Vec::new();
    let mut numbered = 0;
    let mut fields = printed.split(|byte| *byte == 0);
    while let Some(field) = fields.next() {
        if field.is_empty() {
            continue;
        }
        if let Some(raw) = field.strip_prefix(b":") {
            files.push(raw_record(raw, fields.next()?)?);
        } else {
            let file = files.get_mut(numbered)?;
            numbered += 1;
            let mut columns = field.splitn(3, |byte| *byte == b'\t');
            let (added, deleted) = (number(columns.next()?), number(columns.next()?));
            file.binary = added.is_none();
            file.added_lines = added.unwrap_or(0);
            file.deleted_lines = deleted.unwrap_or(0);
        }
    }
    (numbered == files.len()).then_some(files)
}

fn number(column: &[u8]) -> Option<u64> {
    std::str::from_utf8(column).ok()?.parse().ok()
}

/// `old-mode new-mode old-id new-id status`.
fn raw_record(raw: &[u8], path: &[u8]) -> Option<FileFacts> {
    let text = std::str::from_utf8(raw).ok()?;
    let mut words = text.split(' ');
    let (old, new) = (words.next()?, words.next()?);
    let status = match words.nth(2)? {
        "A" => FileStatus::Added,
        "M" => FileStatus::Modified,
        "D" => FileStatus::Deleted,
        "T" => FileStatus::TypeChanged,
        _ => return None,
    };
    let mode = |text: &str| (text != "000000").then(|| text.to_owned());
    Some(FileFacts {
        path: String::from_utf8_lossy(path).into_owned(),
        status,
        old_mode: mode(old),
        new_mode: mode(new),
        added_lines: 0,
        deleted_lines: 0,
        binary: false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_numbers_are_joined_in_order() {
        let zero = "0".repeat(40);
        let printed = format!(
            ":100644 000000 {zero} {zero} D\0a\0:000000 100755 {zero} {zero} A\0b\tc\0\
             0\t3\ta\0-\t-\tb\tc\0"
        );
        let files = parse(printed.as_bytes()).unwrap();
        assert_eq!(files[0].status, FileStatus::Deleted);
        assert_eq!(files[0].deleted_lines, 3);
        assert_eq!(files[1].path, "b\tc");
        assert!(files[1].binary);
        assert_eq!(files[1].old_mode, None);
        assert_eq!(files[1].new_mode.as_deref(), Some("100755"));
        assert!(parse(b"1\t1\tx\0").is_none(), "numbers without a record");
    }
}
