//! A plan's operations, applied to a work tree: all of them or none.
//!
//! [`decide`] is pure: from the operations and the base tree's listing it makes a list of edits or
//! a list of refusals. Only then are base files read, diffs fitted and the final tree checked as a
//! whole. The new contents become objects of the private repository, the objects a tree, and git
//! checks that tree out; no path of a plan is ever opened by us.

mod decide;
mod write;

use serde::{Deserialize, Serialize};

use crate::clone::WorkTree;
use crate::facts::{self, DiffFacts};
use crate::git::GitError;
use crate::object::TreeId;
use crate::operation::Operation;
use crate::path::PathFault;
use crate::unified::{DiffFault, HunkFit};

/// The most a patch may ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations in all.
    pub operations: usize,
    /// Bytes of one content or diff.
    pub content_bytes: usize,
    /// Bytes of all contents and diffs together.
    pub total_bytes: usize,
    /// Bytes of a file that a diff is applied to.
    pub base_bytes: u64,
    /// Bytes of the canonical diff.
    pub diff_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            operations: 1000,
            content_bytes: 1 << 20,
            total_bytes: 4 << 20,
            base_bytes: 4 << 20,
            diff_bytes: 128 << 20,
        }
    }
}

/// Why one operation is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The path is not a plain name inside the repository.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// A directory above the path is a symbolic link.
    #[error("`{0}` above it is a symbolic link; name the file by its own path")]
    ThroughSymlink(String),
    /// The path is a symbolic link.
    #[error("it is a symbolic link; only `delete` can act on it")]
    Symlink,
    /// The path is a submodule or lies in one.
    #[error("`{0}` is a submodule; its content belongs to another repository")]
    Submodule(String),
    /// The path is a directory.
    #[error("it is a directory; name each file")]
    Directory,
    /// A directory above the path is a file.
    #[error("`{0}` above it is a file")]
    BelowFile(String),
    /// There is no such file at the base revision.
    #[error("the base revision has no such file{}", suggest(.near.as_deref()))]
    NoSuchFile {
        /// A file of nearly that name.
        near: Option<String>,
    },
    /// There is such a file already.
    #[error("the base revision has it already; use `update` to change it")]
    Exists,
    /// Another path is the same file where case does not count.
    #[error("it is the same file as `{0}` on systems that ignore case")]
    Collision(String),
    /// Another operation names the path too.
    #[error("operations[{0}] touches the same path; a path may be named once")]
    Twice(usize),
    /// A diff for a binary file.
    #[error("the file is binary; a diff cannot change it")]
    Binary,
    /// The file is too large for a diff.
    #[error("the file has more than {0} bytes, too many for a diff; give the whole content")]
    BaseTooLarge(u64),
    /// The content or diff is too large.
    #[error("the content has more than {0} bytes")]
    ContentTooLarge(usize),
    /// The diff cannot be read or placed.
    #[error(transparent)]
    Diff(#[from] DiffFault),
    /// There is nothing to do.
    #[error("the patch has no operation")]
    NoOperation,
    /// There is too much to do.
    #[error("the patch has more than {0} operations")]
    TooManyOperations(usize),
    /// All contents together are too large.
    #[error("the contents together have more than {0} bytes")]
    TotalTooLarge(usize),
    /// The tree stays what it was.
    #[error("the patch changes nothing: the result is the base revision's tree")]
    NoChange,
}

fn suggest(near: Option<&str>) -> String {
    near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"))
}

/// A refused operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which operation, from 0; `None` when it is about the patch as a whole.
    pub operation: Option<usize>,
    /// The path, cut to 200 characters; empty when it is about the patch as a whole.
    pub path: String,
    /// Why.
    pub fault: Fault,
}

impl Refusal {
    fn new(index: usize, path: &str, fault: impl Into<Fault>) -> Self {
        Self {
            operation: Some(index),
            path: path
                .chars()
                .map(|c| if c.is_control() { '\u{fffd}' } else { c })
                .take(200)
                .collect(),
            fault: fault.into(),
        }
    }

    fn whole(fault: Fault) -> Self {
        Self {
            operation: None,
            path: String::new(),
            fault,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.operation {
            Some(index) => write!(f, "operations[{index}], `{}`: {}", self.path, self.fault),
            None => write!(f, "{}", self.fault),
        }
    }
}

/// Why a patch was not made.
#[derive(Debug, thiserror::Error)]
pub enum PatchError {
    /// Operations are refused; nothing was written. At least one, in the operations' order.
    #[error("{}", all(.0))]
    Refused(Vec<Refusal>),
    /// The canonical diff is larger than the limit.
    #[error("the patch's diff has more than {0} bytes")]
    DiffTooLarge(u64),
    /// Git itself failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

fn all(refusals: &[Refusal]) -> String {
    let texts: Vec<String> = refusals.iter().map(Refusal::to_string).collect();
    texts.join("\n")
}

/// What a patch made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Applied {
    /// The whole content after the patch.
    pub tree: TreeId,
    /// Digest and numbers of the canonical diff.
    pub facts: DiffFacts,
    /// Hunks that did not stand where they said, to the byte.
    pub loose: Vec<LooseHunk>,
    /// The canonical diff.
    #[serde(skip)]
    pub diff: Vec<u8>,
}

/// A hunk of a plan's diff that was placed with some tolerance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LooseHunk {
    /// Which operation, from 0.
    pub operation: usize,
    /// The file.
    pub path: String,
    /// How it was placed.
    #[serde(flatten)]
    pub fit: HunkFit,
}

impl std::fmt::Display for LooseHunk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.path, self.fit)
    }
}

impl WorkTree {
    /// Applies operations to the base commit's tree and makes the files those of the result.
    ///
    /// The outcome depends on the base commit and the operations alone, so doing it again after a
    /// crash gives the same tree. When it fails with a refusal, no file was changed.
    pub async fn apply(
        &self,
        operations: &[Operation],
        limits: &Limits,
    ) -> Result<Applied, PatchError> {
        let applied = self.try_apply(operations, limits).await?;
        self.check_out(applied.tree.as_str()).await?;
        Ok(applied)
    }

    /// Does what [`WorkTree::apply`] does, but changes no file: the result is in the private
    /// repository only.
    pub async fn try_apply(
        &self,
        operations: &[Operation],
        limits: &Limits,
    ) -> Result<Applied, PatchError> {
        let listing = self.base_listing().await?;
        let edits = decide::decide(operations, &listing, limits).map_err(PatchError::Refused)?;
        let (changes, loose) = write::contents(self, edits, limits).await?;
        decide::check_result(&listing, &changes).map_err(PatchError::Refused)?;
        let tree = write::tree(self, &changes).await?;
        if tree == *self.base_tree() {
            return Err(PatchError::Refused(vec![Refusal::whole(Fault::NoChange)]));
        }
        let diff = facts::canonical_diff(self, self.base_tree(), &tree, limits.diff_bytes)
            .await
            .map_err(|error| match error {
                GitError::TooMuchOutput { limit, .. } => PatchError::DiffTooLarge(limit),
                other => PatchError::Git(other),
            })?;
        let facts = facts::facts(self, self.base_tree(), &tree, &diff).await?;
        Ok(Applied {
            tree,
            facts,
            loose,
            diff,
        })
    }
}
