//! A private, self-contained copy of a repository at one commit.

use std::path::{Path, PathBuf};

use crate::git::{Git, GitError};
use crate::layout::{self, Shape};
use crate::listing::Listing;
use crate::object::{CommitId, TreeId};
use crate::repository::{Repository, RepositoryError};
use crate::transfer::{self, Transfer};

/// Files at a commit, with a repository of their own that holds just that commit.
///
/// It shares no file and no configuration with its source and names no remote: removing the
/// source, or writing to the copy, does nothing to the other.
#[derive(Debug, Clone)]
pub struct WorkTree {
    git: Git,
    path: PathBuf,
    base: CommitId,
    base_tree: TreeId,
}

/// Makes a work tree of a commit at a directory that does not exist yet or is empty.
pub async fn clone_at(
    repository: &Repository,
    commit: &CommitId,
    destination: &Path,
) -> Result<WorkTree, RepositoryError> {
    let git = repository.git();
    let git_dir = begin(repository, commit, destination).await?;
    let transfer = Transfer {
        sources: &[&repository.objects()],
        wanted: &[commit.as_str()],
        present: &[],
    };
    let missing = |message: String| RepositoryError::ObjectsMissing {
        what: commit.to_string(),
        message,
    };
    match transfer.run(git, &git_dir).await {
        Err(GitError::Failed { message, .. }) => return Err(missing(message)),
        other => other?,
    }
    layout::write(&git_dir.join("HEAD"), format!("{commit}\n")).await?;
    let tree = WorkTree::open(git, destination, commit).await?;
    match tree.check_out(commit.as_str()).await {
        Err(GitError::Failed { message, .. }) => Err(missing(message)),
        other => Ok(other.map(|()| tree)?),
    }
}

/// Makes a work tree of a commit whose objects stay in the source and are read from there, to try
/// something and be removed: nothing is copied, and no file is laid out.
///
/// What is made on it lies in its own repository, as with [`clone_at`]; the source is only read.
pub async fn look_at(
    repository: &Repository,
    commit: &CommitId,
    destination: &Path,
) -> Result<WorkTree, RepositoryError> {
    let git = repository.git();
    let git_dir = begin(repository, commit, destination).await?;
    // A relative name would be one from our own object directory on.
    let objects = std::path::absolute(repository.objects())
        .map_err(|error| GitError::io("finding the repository", error))?;
    layout::borrow(&git_dir, &objects).await?;
    match WorkTree::open(git, destination, commit).await {
        Err(RepositoryError::Git(GitError::Failed { message, .. })) => {
            Err(RepositoryError::ObjectsMissing {
                what: commit.to_string(),
                message,
            })
        }
        other => other,
    }
}

/// A repository without objects that will know a commit and nothing before it; gives its git
/// directory.
async fn begin(
    repository: &Repository,
    commit: &CommitId,
    destination: &Path,
) -> Result<PathBuf, RepositoryError> {
    prepare(destination)?;
    layout::init(
        repository.git(),
        destination,
        Shape::WithWorkTree,
        repository.object_format(),
    )
    .await?;
    let git_dir = destination.join(".git");
    transfer::set_shallow(&git_dir, &[commit.to_string()]).await?;
    Ok(git_dir)
}

fn prepare(destination: &Path) -> Result<(), RepositoryError> {
    let unusable = |why: String| RepositoryError::Destination {
        path: destination.to_owned(),
        why,
    };
    if !destination.is_absolute() {
        return Err(unusable("the path is not absolute".into()));
    }
    match std::fs::read_dir(destination) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(unusable("it is not empty".into())),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            std::fs::create_dir_all(destination).map_err(|error| unusable(error.to_string()))
        }
        Err(error) => Err(unusable(error.to_string())),
    }
}

impl WorkTree {
    /// Takes up a work tree that [`clone_at`] made earlier, for the same commit.
    pub async fn open(git: &Git, path: &Path, base: &CommitId) -> Result<Self, RepositoryError> {
        let base_tree = git
            .command("rev-parse", Some(&path.join(".git")))
            .args(["--verify", "--quiet", "--end-of-options"])
            .arg(format!("{base}^{{tree}}"))
            .text()
            .await?;
        Ok(Self {
            git: git.clone(),
            path: path.to_owned(),
            base: base.clone(),
            base_tree: base_tree.parse()?,
        })
    }

    /// The directory with the files.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit it was made from.
    pub fn base(&self) -> &CommitId {
        &self.base
    }

    /// That commit's tree.
    pub fn base_tree(&self) -> &TreeId {
        &self.base_tree
    }

    /// Everything the base commit holds.
    pub async fn base_listing(&self) -> Result<Listing, GitError> {
        Listing::read(&self.git, &self.git_dir(), self.base_tree.as_str()).await
    }

    /// Everything a tree of this work tree's repository holds.
    pub async fn listing(&self, tree: &TreeId) -> Result<Listing, GitError> {
        Listing::read(&self.git, &self.git_dir(), tree.as_str()).await
    }

    pub(crate) fn git(&self) -> &Git {
        &self.git
    }

    pub(crate) fn git_dir(&self) -> PathBuf {
        self.path.join(".git")
    }

    /// Makes the files those of a tree of this work tree's repository.
    pub async fn lay_out(&self, tree: &TreeId) -> Result<(), GitError> {
        self.check_out(tree.as_str()).await
    }

    /// Makes the files and the index those of a commit or tree, whatever they were.
    pub(crate) async fn check_out(&self, tree: &str) -> Result<(), GitError> {
        self.git
            .command("read-tree", Some(&self.git_dir()))
            .args(["--reset", "-u", tree])
            .work_tree(&self.path)
            .time(std::time::Duration::from_mins(10))
            .bytes()
            .await
            .map(drop)
    }
}
