//! The state of the owner's checkout, seen through a git directory of ours.
//!
//! `git status` in the repository itself would read its configuration, run its filters and its
//! file monitor and refresh its index. Here a copy of the index is compared with the files under a
//! git directory that has no configuration, so that none of it happens.

use std::path::Path;
use std::time::Duration;

use super::{Dirty, Repository};
use crate::git::GitError;
use crate::layout::{self, Shape};

/// Longer than this and the answer is "unknown"; it is only a fact for people.
const PATIENCE: Duration = Duration::from_secs(30);

pub(super) async fn dirty(repository: &Repository, scratch: &Path) -> Dirty {
    let Some(work_tree) = &repository.parts.work_tree else {
        return Dirty::Bare;
    };
    let Some(head) = &repository.head else {
        return Dirty::Unknown {
            reason: "the branch that is checked out has no commit".into(),
        };
    };
    match status(repository, work_tree, head.as_str(), scratch).await {
        Ok(printed) => count(&printed),
        Err(error) => Dirty::Unknown {
            reason: error.to_string(),
        },
    }
}

async fn status(
    repository: &Repository,
    work_tree: &Path,
    head: &str,
    scratch: &Path,
) -> Result<Vec<u8>, GitError> {
    let place = tempfile::Builder::new()
        .prefix("status-")
        .tempdir_in(scratch)
        .map_err(|source| GitError::io(format!("using {}", scratch.display()), source))?;
    let git_dir = place.path();
    let git = repository.git();
    layout::init(git, git_dir, Shape::Bare, repository.object_format()).await?;
    // Here the repository's own line-end rules decide whether a file differs.
    layout::write(&git_dir.join("info/attributes"), "").await?;
    layout::write(&git_dir.join("HEAD"), format!("{head}\n")).await?;
    let from = repository.parts.git_dir.clone();
    let exclude = repository.parts.common_dir.join("info/exclude");
    let to = git_dir.to_owned();
    tokio::task::spawn_blocking(move || copy_index(&from, &exclude, &to))
        .await
        .map_err(|error| GitError::io("copying the index", std::io::Error::other(error)))?
        .map_err(|source| GitError::io("copying the index", source))?;
    git.command("status", Some(git_dir))
        .args(["--porcelain=v1", "-z", "--untracked-files=normal"])
        .args(["--ignore-submodules=all", "--no-renames"])
        .alternates(&[&repository.objects()])
        .env("GIT_CONFIG_COUNT", "1")
        .env("GIT_CONFIG_KEY_0", "core.bare")
        .env("GIT_CONFIG_VALUE_0", "false")
        .work_tree(work_tree)
        .time(PATIENCE)
        .bytes()
        .await
}

/// Copies the index with its times, by which git knows files it need not read again.
fn copy_index(from: &Path, exclude: &Path, to: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_index = name == "index" || name.to_string_lossy().starts_with("sharedindex.");
        if is_index && entry.file_type()?.is_file() {
            let copy = to.join(&name);
            std::fs::copy(entry.path(), &copy)?;
            let times = std::fs::FileTimes::new().set_modified(entry.metadata()?.modified()?);
            std::fs::File::options()
                .write(true)
                .open(&copy)?
                .set_times(times)?;
        }
    }
    if exclude.is_file() {
        std::fs::copy(exclude, to.join("info/exclude"))?;
    }
    Ok(())
}

fn count(printed: &[u8]) -> Dirty {
    let (mut modified, mut untracked) = (0, 0);
    for record in printed.split(|byte| *byte == 0) {
        match record.get(..2) {
            Some(b"??") => untracked += 1,
            Some(b"!!") | None => {}
            Some(_) => modified += 1,
        }
    }
    match (modified, untracked) {
        (0, 0) => Dirty::Clean,
        _ => Dirty::Changed {
            modified,
            untracked,
        },
    }
}
