//! PATCH: the plan applied to a private copy of the repository at its base revision.

use std::path::{Path, PathBuf};

use matrix_core::{Digest, RunId};
use matrix_engine::{Run, RunError, Step, StepError};
use matrix_worktree::{
    CommitId, DiffFacts, Limits, LooseHunk, PatchError, Repository, WorkTree, clone_at, copy,
};
use serde::{Deserialize, Serialize};

use super::ChangeRequest;
use crate::error::{ending, later};
use crate::workshop::Workshop;

/// What the patch made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Patch {
    /// The git tree of the base revision.
    pub base_tree: String,
    /// The git tree of the result.
    pub tree: String,
    /// Digest and numbers of the canonical diff; its bytes are a blob of that digest.
    pub facts: DiffFacts,
    /// Hunks of the plan that did not stand where they said, to the byte.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub loose: Vec<LooseHunk>,
}

/// The two work trees of a change.
#[derive(Debug, Clone)]
pub struct Trees {
    /// The base revision, with the private repository that holds both trees.
    pub base: PathBuf,
    /// The change.
    pub head: PathBuf,
}

impl Trees {
    /// Where a run's work trees lie.
    pub fn of(workshop: &Workshop, run: RunId) -> Self {
        let work = workshop.layout().work(run);
        Self {
            base: work.join("base"),
            head: work.join("head"),
        }
    }
}

/// Makes both work trees and applies the plan to one.
pub async fn patch(
    run: &Run,
    workshop: &Workshop,
    request: &ChangeRequest,
) -> Result<Patch, RunError> {
    let step = Step::workspace("patch").input(&(&request.base, request.plan_digest));
    run.step(step, |_| async {
        let patch = make(workshop, request, run.id()).await?;
        Ok(patch)
    })
    .await
}

/// Makes the trees again if somebody removed them, or a crash left them half made, and checks that
/// they are what the journal says.
pub async fn ensure(
    workshop: &Workshop,
    request: &ChangeRequest,
    run: RunId,
    patch: &Patch,
) -> Result<Trees, StepError> {
    let trees = Trees::of(workshop, run);
    let making = workshop.shared.making.lock().await;
    if whole_marker(&trees.head).is_file() {
        return Ok(trees);
    }
    let again = make(workshop, request, run).await?;
    drop(making);
    if again.tree == patch.tree && again.facts.digest == patch.facts.digest {
        Ok(trees)
    } else {
        Err(StepError::permanent(
            "tree_changed",
            format!(
                "the plan gave tree {} and now gives {}",
                patch.tree, again.tree
            ),
        ))
    }
}

fn whole_marker(head: &Path) -> PathBuf {
    head.with_extension("whole")
}

async fn make(
    workshop: &Workshop,
    request: &ChangeRequest,
    run: RunId,
) -> Result<Patch, StepError> {
    let trees = Trees::of(workshop, run);
    remove(&workshop.layout().work(run)).await?;
    let path = Path::new(&request.repository);
    let repository = Repository::open(workshop.git(), path)
        .await
        .map_err(later)?;
    let commit: CommitId = request.base.parse().map_err(later)?;
    clone_at(&repository, &commit, &trees.base)
        .await
        .map_err(later)?;
    let head = clone_at(&repository, &commit, &trees.head)
        .await
        .map_err(later)?;
    let applied = head
        .apply(&request.plan.operations, &Limits::default())
        .await
        .map_err(|error| refused(&error))?;
    let digest = workshop.blobs().put(&applied.diff)?;
    if digest != applied.facts.digest {
        return Err(later("the diff's digest does not match its bytes"));
    }
    tokio::fs::write(whole_marker(&trees.head), b"")
        .await
        .map_err(later)?;
    Ok(Patch {
        base_tree: head.base_tree().to_string(),
        tree: applied.tree.to_string(),
        facts: applied.facts,
        loose: applied.loose,
    })
}

fn refused(error: &PatchError) -> StepError {
    let text = error.to_string();
    match error {
        PatchError::Refused(_) | PatchError::DiffTooLarge(_) => {
            StepError::permanent(ending::PATCH_REFUSED, text)
        }
        PatchError::Git(_) => later(text),
    }
}

/// The work tree of the change, to publish from.
pub async fn head(
    workshop: &Workshop,
    request: &ChangeRequest,
    trees: &Trees,
) -> Result<WorkTree, StepError> {
    let commit: CommitId = request.base.parse().map_err(later)?;
    WorkTree::open(workshop.git(), &trees.head, &commit)
        .await
        .map_err(later)
}

/// A blob that an earlier step kept.
pub(crate) fn kept(workshop: &Workshop, digest: &Digest) -> Result<Vec<u8>, StepError> {
    workshop
        .blobs()
        .get(digest)?
        .ok_or_else(|| later(format_args!("blob {digest} is missing")))
}

/// Removes a directory of ours, whatever is in it.
pub async fn remove(path: &Path) -> Result<(), StepError> {
    if path.exists() {
        copy::remove_tree(path).await.map_err(later)
    } else {
        Ok(())
    }
}
