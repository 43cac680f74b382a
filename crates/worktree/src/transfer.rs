//! Moving objects from one repository into one of ours.
//!
//! No transport is involved: git reads the source's object directory as an alternate of ours and
//! writes one pack, which is then indexed anew. Neither the source's configuration nor its hooks
//! play a part, and because indexing computes every name from the content, an object that lies
//! about its name is simply not there afterwards.

use std::path::Path;
use std::time::Duration;

use crate::git::{Git, GitError};
use crate::layout;

/// A large repository on a slow disk takes minutes.
const PATIENCE: Duration = Duration::from_mins(15);

/// What to copy from where.
#[derive(Debug)]
pub(crate) struct Transfer<'a> {
    /// Object directories to read from.
    pub(crate) sources: &'a [&'a Path],
    /// Commits with their history, and trees.
    pub(crate) wanted: &'a [&'a str],
    /// Commits that are there already, with their history.
    pub(crate) present: &'a [String],
}

impl Transfer<'_> {
    /// Copies into a repository of ours.
    pub(crate) async fn run(&self, git: &Git, git_dir: &Path) -> Result<(), GitError> {
        let incoming = git_dir.join("objects/incoming");
        let failed = |source| GitError::io(format!("using {}", incoming.display()), source);
        match tokio::fs::remove_dir_all(&incoming).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(failed(error));
            }
            _ => tokio::fs::create_dir_all(&incoming).await.map_err(failed)?,
        }
        let name = self.pack(git, git_dir, &incoming).await?;
        if !name.is_empty() {
            index(git, git_dir, &incoming, &name).await?;
        }
        tokio::fs::remove_dir_all(&incoming).await.map_err(failed)
    }

    async fn pack(&self, git: &Git, git_dir: &Path, to: &Path) -> Result<String, GitError> {
        let mut revisions = String::new();
        for wanted in self.wanted {
            revisions.push_str(wanted);
            revisions.push('\n');
        }
        for present in self.present {
            revisions.push('^');
            revisions.push_str(present);
            revisions.push('\n');
        }
        git.command("pack-objects", Some(git_dir))
            .args(["--revs", "--quiet", "--non-empty"])
            // Existing deltas are kept; looking for better ones costs more than it saves.
            .args(["--delta-base-offset", "--window=0"])
            .arg(to.join("pack"))
            .alternates(self.sources)
            .input(revisions)
            .time(PATIENCE)
            .text()
            .await
    }
}

/// Names every object by its content and puts the pack in place.
async fn index(git: &Git, git_dir: &Path, incoming: &Path, name: &str) -> Result<(), GitError> {
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(GitError::unexpected("pack-objects", "no pack name"));
    }
    let pack = incoming.join(format!("pack-{name}.pack"));
    let index = incoming.join(format!("pack-{name}.idx"));
    let place = git_dir.join("objects/pack");
    let failed = |source| GitError::io(format!("using {}", incoming.display()), source);
    tokio::fs::remove_file(&index).await.map_err(failed)?;
    git.command("index-pack", Some(git_dir))
        .arg("-o")
        .arg(&index)
        .arg(&pack)
        .time(PATIENCE)
        .bytes()
        .await?;
    tokio::fs::create_dir_all(&place).await.map_err(failed)?;
    // Git looks for the index, so it comes last.
    for file in [pack, index] {
        let target = place.join(file.file_name().unwrap_or_default());
        tokio::fs::rename(&file, target).await.map_err(failed)?;
    }
    Ok(())
}

/// Tells a repository of ours that history ends at these commits.
pub(crate) async fn set_shallow(git_dir: &Path, commits: &[String]) -> Result<(), GitError> {
    if commits.is_empty() {
        return Ok(());
    }
    let mut text = commits.join("\n");
    text.push('\n');
    layout::write(&git_dir.join("shallow"), text).await
}
