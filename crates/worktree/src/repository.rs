//! Somebody's repository, read and never written.
//!
//! Opening it finds its parts without asking git to search, says what it is (bare, shallow, with
//! uncommitted work) and resolves revisions. Uncommitted work is a fact and no error: a change is
//! made from a commit, so the checkout's state does not matter to it, but its owner may have
//! thought otherwise.

mod checkout;
mod discover;
mod revision;

use std::path::{Path, PathBuf};

pub use revision::distance;

use serde::Serialize;

use crate::git::{Git, GitError};
use crate::listing::{Entry, Listing};
use crate::object::{CommitId, InvalidObjectId, ObjectFormat};

/// Why a repository cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// There is nothing at the path.
    #[error("there is no directory at {path}")]
    Missing {
        /// The path as given.
        path: PathBuf,
    },
    /// There is a directory, but no repository.
    #[error("{path} is not a git repository")]
    NotARepository {
        /// The path as given.
        path: PathBuf,
        /// The repository that the path lies in, when there is one.
        within: Option<PathBuf>,
    },
    /// It has no commit yet.
    #[error("the repository {path} has no commit")]
    Empty {
        /// The path as given.
        path: PathBuf,
    },
    /// Git cannot read it.
    #[error("git cannot read the repository {path}: {message}")]
    Unreadable {
        /// The path as given.
        path: PathBuf,
        /// What git said.
        message: String,
    },
    /// The revision names no commit here.
    #[error("the repository has no revision `{revision}`")]
    UnknownRevision {
        /// The revision as given, cut to 200 characters.
        revision: String,
        /// Names of branches and tags that look like it, best first.
        near: Vec<String>,
    },
    /// Objects that the revision needs are not in the repository.
    #[error("the repository lacks objects of {what}: {message}")]
    ObjectsMissing {
        /// Which revision.
        what: String,
        /// What git said.
        message: String,
    },
    /// The place for a copy is not usable.
    #[error("{path} cannot take a work tree: {why}")]
    Destination {
        /// The place.
        path: PathBuf,
        /// Why not.
        why: String,
    },
    /// Git itself failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

impl From<InvalidObjectId> for RepositoryError {
    fn from(error: InvalidObjectId) -> Self {
        Self::Git(GitError::unexpected("rev-parse", error.to_string()))
    }
}

/// Whether the owner's checkout differs from its last commit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "state")]
pub enum Dirty {
    /// It does not.
    Clean,
    /// It does; these changes are not part of any revision.
    Changed {
        /// How many tracked files differ from the commit, staged or not.
        modified: u64,
        /// How many files or directories git does not know.
        untracked: u64,
    },
    /// It has no checkout.
    Bare,
    /// It could not be found out.
    Unknown {
        /// Why not.
        reason: String,
    },
}

/// A repository that can be read.
#[derive(Debug, Clone)]
pub struct Repository {
    git: Git,
    path: PathBuf,
    parts: discover::Parts,
    format: ObjectFormat,
    head: Option<CommitId>,
}

impl Repository {
    /// Opens the repository at a path: its top directory, its git directory or a bare one.
    pub async fn open(git: &Git, path: &Path) -> Result<Self, RepositoryError> {
        let parts = discover::discover(path)?;
        let unreadable = |error| match error {
            GitError::Failed { message, .. } => RepositoryError::Unreadable {
                path: path.to_owned(),
                message,
            },
            other => RepositoryError::Git(other),
        };
        let format = revision::object_format(git, &parts.git_dir)
            .await
            .map_err(unreadable)?;
        let head = revision::commit(git, &parts.git_dir, "HEAD")
            .await
            .map_err(unreadable)?;
        let repository = Self {
            git: git.clone(),
            path: path.to_owned(),
            parts,
            format,
            head,
        };
        if repository.head.is_none() && repository.names(1).await?.is_empty() {
            return Err(RepositoryError::Empty {
                path: path.to_owned(),
            });
        }
        Ok(repository)
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it holds only a part of its history.
    pub fn is_shallow(&self) -> bool {
        self.shallow_file().is_file()
    }

    /// Whether it has no checkout.
    pub fn is_bare(&self) -> bool {
        self.parts.work_tree.is_none()
    }

    /// The commit its checkout is on, unless that branch has none yet.
    pub fn head(&self) -> Option<&CommitId> {
        self.head.as_ref()
    }

    /// The hash its objects are named by.
    pub fn object_format(&self) -> ObjectFormat {
        self.format
    }

    /// Finds the commit that a revision names: a branch, a tag, `main~2`, a full or short id.
    pub async fn resolve(&self, revision: &str) -> Result<CommitId, RepositoryError> {
        if revision::is_plausible(revision) {
            let found = revision::commit(&self.git, &self.parts.git_dir, revision).await?;
            if let Some(commit) = found {
                return Ok(commit);
            }
        }
        Err(RepositoryError::UnknownRevision {
            revision: revision.chars().take(200).collect(),
            near: revision::near(revision, &self.names(1000).await?),
        })
    }

    /// Names of branches and tags, at most so many.
    pub async fn names(&self, limit: u32) -> Result<Vec<String>, RepositoryError> {
        Ok(revision::names(&self.git, &self.parts.git_dir, limit).await?)
    }

    /// Looks at the checkout without touching it; `scratch` is a directory of ours.
    pub async fn dirty(&self, scratch: &Path) -> Dirty {
        checkout::dirty(self, scratch).await
    }

    /// A regular file's content at a commit; `None` when the commit has no regular file there.
    /// A file larger than `limit` bytes is an error.
    pub async fn file_at(
        &self,
        commit: &CommitId,
        path: &str,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, RepositoryError> {
        let git_dir = &self.parts.git_dir;
        let listing = Listing::read_path(&self.git, git_dir, commit.as_str(), path).await?;
        match listing.get(path.as_bytes()) {
            Some(Entry { mode, id }) if mode.is_regular() => Ok(Some(
                self.git
                    .command("cat-file", Some(git_dir))
                    .args(["blob", id.as_str()])
                    .output(limit)
                    .bytes()
                    .await?,
            )),
            _ => Ok(None),
        }
    }

    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.parts.common_dir.join("objects")
    }

    pub(crate) fn shallow_file(&self) -> PathBuf {
        self.parts.common_dir.join("shallow")
    }
}
