//! The bare repository that releases are published to, and that their owners fetch from.
//!
//! It stands on its own: everything a published commit needs is copied in, so the source may go
//! away. Publishing is idempotent by key, and safe to repeat after a crash at any point: a commit
//! is first tied to its key, then the branch is moved forward and the tag set. A tag never moves
//! and a branch never loses a commit.

use std::fs::File;
use std::path::{Path, PathBuf};

use matrix_core::{Digest, Timestamp};

use crate::clone::WorkTree;
use crate::git::{Git, GitError};
use crate::layout::{self, Shape};
use crate::object::{CommitId, ObjectFormat, TreeId};
use crate::path::{PathFault, RepoPath};
use crate::repository::Repository;
use crate::transfer::{self, Transfer};

/// The longest commit message, in bytes.
const MESSAGE_BYTES: usize = 64 << 10;
/// The longest name or address of a person, in bytes.
const PERSON_BYTES: usize = 256;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// A branch or tag name that git does not allow.
    #[error("`{0}` cannot be the name of a branch or tag")]
    InvalidName(String),
    /// A name, address or message that a commit cannot carry.
    #[error("the commit's {what} {why}")]
    InvalidText {
        /// `author name`, `message`, …
        what: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The tag stands for another commit.
    #[error("the tag `{tag}` is taken by commit {commit}")]
    TagTaken {
        /// The tag.
        tag: String,
        /// What it stands for.
        commit: String,
    },
    /// The branch has commits that the new one does not follow.
    #[error("the branch `{branch}` is at {tip}, which the new commit does not follow")]
    BranchMoved {
        /// The branch.
        branch: String,
        /// Its last commit.
        tip: String,
    },
    /// The key was used for another content.
    #[error("the publication `{key}` exists as commit {commit} with another content")]
    KeyTaken {
        /// The key.
        key: String,
        /// The commit that has it.
        commit: String,
    },
    /// The registry names its objects by another hash than the repository.
    #[error("the registry and the repository name objects by different hashes")]
    FormatDiffers,
    /// The archive's top directory is not a plain name.
    #[error(transparent)]
    Prefix(#[from] PathFault),
    /// Git itself failed.
    #[error(transparent)]
    Git(#[from] GitError),
}

/// A person as commits name them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// The name.
    pub name: String,
    /// The e-mail address.
    pub email: String,
}

/// What to publish.
#[derive(Debug, Clone)]
pub struct Publication {
    /// Names this publication; the same key gives the same commit however often it is asked for.
    pub key: String,
    /// The commit's message.
    pub message: String,
    /// The whole content.
    pub tree: TreeId,
    /// The commit it follows.
    pub parent: CommitId,
    /// Who the change is attributed to.
    pub author: Person,
    /// Who made the commit.
    pub committer: Person,
    /// When, for author and committer; whole seconds count.
    pub time: Timestamp,
    /// The branch that gets the commit.
    pub branch: String,
    /// The tag that stands for the commit from then on.
    pub tag: String,
}

/// What was published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// The commit.
    pub commit: CommitId,
    /// Whether an earlier call had made it already.
    pub repeated: bool,
}

/// The bare repository.
#[derive(Debug, Clone)]
pub struct Registry {
    git: Git,
    path: PathBuf,
}

impl Registry {
    /// Opens the registry at a directory of ours, making it when it is not there.
    pub async fn open(git: &Git, path: &Path, format: ObjectFormat) -> Result<Self, RegistryError> {
        let registry = Self {
            git: git.clone(),
            path: path.to_owned(),
        };
        tokio::fs::create_dir_all(path)
            .await
            .map_err(|source| GitError::io(format!("making {}", path.display()), source))?;
        let lock = registry.lock().await?;
        // `info/attributes` is written last, so with it the repository is whole.
        if path.join("info/attributes").is_file() {
            registry.clear_stale_locks().await?;
        } else {
            layout::init(git, path, Shape::Bare, format).await?;
        }
        drop(lock);
        let found = registry
            .command("rev-parse")
            .arg("--show-object-format")
            .text()
            .await?;
        if found == format.as_str() {
            Ok(registry)
        } else {
            Err(RegistryError::FormatDiffers)
        }
    }

    /// The directory, which `git fetch` takes as a remote.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The commit that a tag stands for.
    pub async fn tagged(&self, tag: &str) -> Result<Option<CommitId>, RegistryError> {
        self.check_name("tags", tag).await?;
        let found = self.tip(&format!("refs/tags/{tag}")).await?;
        Ok(found.and_then(|commit| commit.parse().ok()))
    }

    /// Publishes a tree of a work tree that was made from a repository.
    pub async fn publish(
        &self,
        publication: &Publication,
        work_tree: &WorkTree,
        source: &Repository,
    ) -> Result<Published, RegistryError> {
        check_text(publication)?;
        self.check_name("heads", &publication.branch).await?;
        self.check_name("tags", &publication.tag).await?;
        let lock = self.lock().await?;
        let key_ref = format!("refs/matrix/publications/{}", Digest::of(&publication.key));
        let earlier = self.tip(&key_ref).await?;
        let commit = if let Some(commit) = &earlier {
            self.check_same(publication, commit).await?;
            commit.clone()
        } else {
            self.bring(publication, work_tree, source).await?;
            self.commit(publication).await?
        };
        let branch_ref = format!("refs/heads/{}", publication.branch);
        let tag_ref = format!("refs/tags/{}", publication.tag);
        let branch = self
            .branch_update(publication, &branch_ref, &commit)
            .await?;
        let tagged = self.tip(&tag_ref).await?;
        if let Some(other) = tagged.as_ref().filter(|tagged| **tagged != commit) {
            return Err(RegistryError::TagTaken {
                tag: publication.tag.clone(),
                commit: other.clone(),
            });
        }
        let absent = "0".repeat(commit.len());
        self.set(&key_ref, &commit, earlier.as_deref().unwrap_or(&absent))
            .await?;
        if let Some(tip) = branch {
            self.set(&branch_ref, &commit, tip.as_deref().unwrap_or(&absent))
                .await?;
        }
        if tagged.is_none() {
            self.set(&tag_ref, &commit, &absent).await?;
        }
        drop(lock);
        Ok(Published {
            commit: commit
                .parse()
                .map_err(|_| GitError::unexpected("commit-tree", "no object name"))?,
            repeated: earlier.is_some(),
        })
    }

    /// Writes a published commit's files as a tar archive and gives its digest and size. The same
    /// commit gives the same bytes; times in it are the commit's.
    pub async fn archive(
        &self,
        commit: &CommitId,
        top_directory: &str,
        destination: &Path,
    ) -> Result<(Digest, u64), RegistryError> {
        let top = RepoPath::parse(top_directory)?;
        self.command("archive")
            .args(["--format=tar", &format!("--prefix={top}/")])
            .arg("--output")
            .arg(destination)
            .arg(commit.as_str())
            .time(std::time::Duration::from_mins(10))
            .bytes()
            .await?;
        let path = destination.to_owned();
        let read = tokio::task::spawn_blocking(move || Digest::of_reader(File::open(path)?))
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)));
        read.map_err(|source| {
            GitError::io(format!("reading {}", destination.display()), source).into()
        })
    }

    fn command(&self, name: &str) -> crate::git::Invocation {
        self.git.command(name, Some(&self.path))
    }

    /// One writer at a time, in this process and in others.
    async fn lock(&self) -> Result<File, GitError> {
        let path = self.path.join("matrix.lock");
        let what = format!("locking {}", path.display());
        tokio::task::spawn_blocking(move || {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(path)?;
            rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
            Ok(file)
        })
        .await
        .unwrap_or_else(|error| Err(std::io::Error::other(error)))
        .map_err(|source| GitError::io(what, source))
    }

    /// Removes lock files that a killed git left; nobody else writes while we hold our lock.
    async fn clear_stale_locks(&self) -> Result<(), GitError> {
        let top = self.path.clone();
        let clear = move || -> std::io::Result<()> {
            let mut waiting = vec![top.join("refs")];
            for name in [
                "HEAD.lock",
                "packed-refs.lock",
                "shallow.lock",
                "config.lock",
            ] {
                remove_if_there(&top.join(name))?;
            }
            while let Some(directory) = waiting.pop() {
                for entry in std::fs::read_dir(&directory)? {
                    let entry = entry?;
                    if entry.file_type()?.is_dir() {
                        waiting.push(entry.path());
                    } else if entry.path().extension().is_some_and(|end| end == "lock") {
                        remove_if_there(&entry.path())?;
                    }
                }
            }
            Ok(())
        };
        tokio::task::spawn_blocking(clear)
            .await
            .unwrap_or_else(|error| Err(std::io::Error::other(error)))
            .map_err(|source| GitError::io("clearing stale locks of the registry", source))
    }

    async fn check_name(&self, space: &str, name: &str) -> Result<(), RegistryError> {
        let invalid = || RegistryError::InvalidName(name.chars().take(200).collect());
        if name.starts_with('-') || name.len() > 200 || name.chars().any(char::is_control) {
            return Err(invalid());
        }
        let outcome = self
            .command("check-ref-format")
            .arg(format!("refs/{space}/{name}"))
            .outcome()
            .await?;
        if outcome.status.success() {
            Ok(())
        } else {
            Err(invalid())
        }
    }

    async fn tip(&self, reference: &str) -> Result<Option<String>, GitError> {
        let outcome = self
            .command("rev-parse")
            .args(["--verify", "--quiet", "--end-of-options"])
            .arg(format!("{reference}^{{commit}}"))
            .outcome()
            .await?;
        let text = String::from_utf8_lossy(&outcome.stdout);
        Ok(outcome.status.success().then(|| text.trim_end().to_owned()))
    }

    /// Copies the parent's history and the tree into the registry.
    async fn bring(
        &self,
        publication: &Publication,
        work_tree: &WorkTree,
        source: &Repository,
    ) -> Result<(), RegistryError> {
        if source.is_shallow() {
            self.adopt_shallow(&source.shallow_file()).await?;
        }
        let printed = self
            .command("for-each-ref")
            .args(["--format=%(objectname)", "refs/heads", "refs/tags"])
            .text()
            .await?;
        let present: Vec<String> = printed.lines().map(str::to_owned).collect();
        let transfer = Transfer {
            sources: &[&source.objects(), &work_tree.git_dir().join("objects")],
            wanted: &[publication.parent.as_str(), publication.tree.as_str()],
            present: &present,
        };
        Ok(transfer.run(&self.git, &self.path).await?)
    }

    /// Where the source's history ends, ours does too, unless we have more of it.
    async fn adopt_shallow(&self, file: &Path) -> Result<(), GitError> {
        let failed =
            |path: &Path, source| GitError::io(format!("reading {}", path.display()), source);
        let theirs = tokio::fs::read_to_string(file)
            .await
            .map_err(|source| failed(file, source))?;
        let own = self.path.join("shallow");
        let mut commits: Vec<String> = match tokio::fs::read_to_string(&own).await {
            Ok(text) => text.lines().map(str::to_owned).collect(),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
            Err(source) => return Err(failed(&own, source)),
        };
        for line in theirs
            .lines()
            .filter(|line| line.parse::<CommitId>().is_ok())
        {
            let known = commits.iter().any(|commit| commit == line);
            if !known && self.tip(line).await?.is_none() {
                commits.push(line.to_owned());
            }
        }
        transfer::set_shallow(&self.path, &commits).await
    }

    async fn commit(&self, publication: &Publication) -> Result<String, GitError> {
        let seconds = publication.time.as_micros().div_euclid(1_000_000).max(0);
        let date = format!("@{seconds} +0000");
        self.command("commit-tree")
            .args([publication.tree.as_str(), "-p", publication.parent.as_str()])
            .args(["-F", "-"])
            .env("GIT_AUTHOR_NAME", &publication.author.name)
            .env("GIT_AUTHOR_EMAIL", &publication.author.email)
            .env("GIT_AUTHOR_DATE", &date)
            .env("GIT_COMMITTER_NAME", &publication.committer.name)
            .env("GIT_COMMITTER_EMAIL", &publication.committer.email)
            .env("GIT_COMMITTER_DATE", &date)
            .input(publication.message.as_bytes())
            .text()
            .await
    }

    /// A repeated key must mean the same content.
    async fn check_same(
        &self,
        publication: &Publication,
        commit: &str,
    ) -> Result<(), RegistryError> {
        let printed = self
            .command("rev-parse")
            .args(["--verify", "--end-of-options"])
            .arg(format!("{commit}^{{tree}}"))
            .text()
            .await?;
        let parent = self.tip(&format!("{commit}^1")).await?;
        let same = printed == publication.tree.as_str()
            && parent.as_deref() == Some(publication.parent.as_str());
        if same {
            return Ok(());
        }
        Err(RegistryError::KeyTaken {
            key: publication.key.chars().take(200).collect(),
            commit: commit.to_owned(),
        })
    }

    /// What the branch is to be moved from: `Some(None)` makes it, `None` leaves it alone.
    async fn branch_update(
        &self,
        publication: &Publication,
        reference: &str,
        commit: &str,
    ) -> Result<Option<Option<String>>, RegistryError> {
        let Some(tip) = self.tip(reference).await? else {
            return Ok(Some(None));
        };
        if self.is_ancestor(commit, &tip).await? {
            return Ok(None);
        }
        if self.is_ancestor(&tip, commit).await? {
            return Ok(Some(Some(tip)));
        }
        Err(RegistryError::BranchMoved {
            branch: publication.branch.clone(),
            tip,
        })
    }

    async fn is_ancestor(&self, earlier: &str, later: &str) -> Result<bool, GitError> {
        let outcome = self
            .command("merge-base")
            .args(["--is-ancestor", earlier, later])
            .outcome()
            .await?;
        match outcome.status.code() {
            Some(0) => Ok(true),
            Some(1) => Ok(false),
            _ => Err(GitError::Failed {
                command: "merge-base".into(),
                status: outcome.status,
                message: outcome.message(),
            }),
        }
    }

    async fn set(&self, reference: &str, commit: &str, from: &str) -> Result<(), GitError> {
        self.command("update-ref")
            .args(["--no-deref", reference, commit, from])
            .bytes()
            .await
            .map(drop)
    }
}

fn remove_if_there(path: &Path) -> std::io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn check_text(publication: &Publication) -> Result<(), RegistryError> {
    let wrong = |what, why| Err(RegistryError::InvalidText { what, why });
    let (author, committer) = (&publication.author, &publication.committer);
    for (what, text) in [
        ("author name", &author.name),
        ("author address", &author.email),
        ("committer name", &committer.name),
        ("committer address", &committer.email),
    ] {
        // Git drops these at the ends of a name; a name of nothing else is no name.
        if text.trim_matches(|c: char| !c.is_alphanumeric()).is_empty() {
            return wrong(what, "has no letter or digit");
        }
        if text.len() > PERSON_BYTES {
            return wrong(what, "has more than 256 bytes");
        }
        if text.chars().any(|c| c.is_control() || c == '<' || c == '>') {
            return wrong(what, "has a control character, `<` or `>`");
        }
    }
    let message = &publication.message;
    if message.trim().is_empty() {
        return wrong("message", "is empty");
    }
    if message.len() > MESSAGE_BYTES {
        return wrong("message", "has more than 65536 bytes");
    }
    if message
        .chars()
        .any(|c| c.is_control() && c != '\n' && c != '\t')
    {
        return wrong("message", "has a control character");
    }
    Ok(())
}
