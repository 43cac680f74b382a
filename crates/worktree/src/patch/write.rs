//! From edits to contents, from contents to objects, from objects to a tree.

use super::decide::{Action, Change, Edit, State};
use super::{Fault, Limits, LooseHunk, PatchError, Refusal};
use crate::clone::WorkTree;
use crate::git::GitError;
use crate::listing::Entry;
use crate::object::TreeId;
use crate::unified::{self, Fitted};

/// As git decides it: a NUL among the first bytes.
const BINARY_PROBE: usize = 8000;

/// Reads the base files that diffs need and fits the diffs; tells which hunks fitted only with
/// tolerance.
pub(super) async fn contents(
    work_tree: &WorkTree,
    edits: Vec<Edit>,
    limits: &Limits,
) -> Result<(Vec<Change>, Vec<LooseHunk>), PatchError> {
    let mut changes = Vec::with_capacity(edits.len());
    let (mut refusals, mut loose) = (Vec::new(), Vec::new());
    for edit in edits {
        let state = match edit.action {
            Action::Remove => State::Gone,
            Action::Write { mode, content } => State::New { mode, content },
            Action::Place(entry) => State::Moved(entry),
            Action::Fit { base, diff } => {
                match fitted(work_tree, &base, diff, limits.base_bytes).await? {
                    Ok(Fitted { content, hunks }) => {
                        let inexact = hunks.into_iter().filter(|fit| !fit.is_exact());
                        loose.extend(inexact.map(|fit| LooseHunk {
                            operation: edit.operation,
                            path: edit.path.as_str().to_owned(),
                            fit,
                        }));
                        State::New {
                            mode: base.mode,
                            content,
                        }
                    }
                    Err(fault) => {
                        let path = edit.path.as_str();
                        refusals.push(Refusal::new(edit.operation, path, fault));
                        continue;
                    }
                }
            }
        };
        changes.push(Change {
            operation: edit.operation,
            path: edit.path,
            state,
        });
    }
    if refusals.is_empty() {
        Ok((changes, loose))
    } else {
        Err(PatchError::Refused(refusals))
    }
}

async fn fitted(
    work_tree: &WorkTree,
    base: &Entry,
    diff: String,
    limit: u64,
) -> Result<Result<Fitted, Fault>, GitError> {
    let read = work_tree
        .git()
        .command("cat-file", Some(&work_tree.git_dir()))
        .args(["blob", &base.id])
        .output(limit)
        .bytes()
        .await;
    let content = match read {
        Ok(content) => content,
        Err(GitError::TooMuchOutput { .. }) => return Ok(Err(Fault::BaseTooLarge(limit))),
        Err(other) => return Err(other),
    };
    if content[..content.len().min(BINARY_PROBE)].contains(&0) {
        return Ok(Err(Fault::Binary));
    }
    let fit = move || unified::fit(&content, diff.as_bytes()).map_err(Fault::Diff);
    tokio::task::spawn_blocking(fit)
        .await
        .map_err(|error| GitError::io("fitting a diff", std::io::Error::other(error)))
}

/// Makes the objects and the tree that stands for the base with these changes.
pub(super) async fn tree(work_tree: &WorkTree, changes: &[Change]) -> Result<TreeId, GitError> {
    let git_dir = work_tree.git_dir();
    let place = tempfile::Builder::new()
        .prefix("patch-")
        .tempdir_in(&git_dir)
        .map_err(|source| GitError::io(format!("using {}", git_dir.display()), source))?;
    let blobs = blobs(work_tree, changes, place.path()).await?;
    let index = place.path().join("index");
    let git = work_tree.git();
    let command = |name: &str| {
        git.command(name, Some(&git_dir))
            .env("GIT_INDEX_FILE", &index)
    };
    command("read-tree")
        .arg(work_tree.base_tree().as_str())
        .bytes()
        .await?;
    command("update-index")
        .args(["-z", "--index-info"])
        .input(index_info(
            changes,
            &blobs,
            work_tree.base_tree().as_str().len(),
        ))
        .bytes()
        .await?;
    let tree = command("write-tree").text().await?;
    tree.parse()
        .map_err(|_| GitError::unexpected("write-tree", "no object name"))
}

/// Writes the new contents as objects, in the order of the changes that have one.
async fn blobs(
    work_tree: &WorkTree,
    changes: &[Change],
    place: &std::path::Path,
) -> Result<Vec<String>, GitError> {
    let mut names: Vec<String> = Vec::new();
    let mut count = 0;
    for change in changes {
        if let State::New { content, .. } = &change.state {
            // Numbered files, so that no name of the plan's is opened.
            let file = place.join(format!("content-{count}"));
            crate::layout::write(&file, content).await?;
            names.push(format!("content-{count}\n"));
            count += 1;
        }
    }
    let printed = work_tree
        .git()
        .command("hash-object", Some(&work_tree.git_dir()))
        .args(["-w", "--no-filters", "--stdin-paths"])
        .directory(place)
        .input(names.concat())
        .text()
        .await?;
    let blobs: Vec<String> = printed.lines().map(str::to_owned).collect();
    if blobs.len() != count {
        return Err(GitError::unexpected(
            "hash-object",
            format!("{} names for {count} files", blobs.len()),
        ));
    }
    Ok(blobs)
}

/// Removals first, so that a directory may take a file's place and the other way round.
fn index_info(changes: &[Change], blobs: &[String], width: usize) -> Vec<u8> {
    let mut input = Vec::new();
    for change in changes.iter().filter(|change| change.state == State::Gone) {
        line(&mut input, "0", &"0".repeat(width), change);
    }
    let mut blobs = blobs.iter();
    for change in changes {
        match &change.state {
            State::Gone => {}
            State::Moved(entry) => line(&mut input, entry.mode.as_str(), &entry.id, change),
            State::New { mode, .. } => {
                if let Some(blob) = blobs.next() {
                    line(&mut input, mode.as_str(), blob, change);
                }
            }
        }
    }
    input
}

fn line(input: &mut Vec<u8>, mode: &str, id: &str, change: &Change) {
    input.extend_from_slice(mode.as_bytes());
    input.push(b' ');
    input.extend_from_slice(id.as_bytes());
    input.push(b'\t');
    input.extend_from_slice(change.path.as_bytes());
    input.push(0);
}
