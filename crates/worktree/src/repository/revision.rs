//! Revisions: what people type for a commit, and what they may have meant.

use std::path::Path;

use crate::git::{Git, GitError};
use crate::object::{CommitId, ObjectFormat};

const REVISION_BYTES: usize = 512;

/// Whether a text can be given to git as a revision at all.
pub(super) fn is_plausible(revision: &str) -> bool {
    !revision.is_empty()
        && revision.len() <= REVISION_BYTES
        && !revision.starts_with('-')
        && !revision.chars().any(char::is_control)
}

/// The commit that a revision names, if any.
pub(super) async fn commit(
    git: &Git,
    git_dir: &Path,
    revision: &str,
) -> Result<Option<CommitId>, GitError> {
    let outcome = git
        .command("rev-parse", Some(git_dir))
        .args(["--verify", "--quiet", "--end-of-options"])
        .arg(format!("{revision}^{{commit}}"))
        .outcome()
        .await?;
    let text = String::from_utf8_lossy(&outcome.stdout);
    if outcome.status.success() {
        return text
            .trim_end()
            .parse()
            .map(Some)
            .map_err(|_| GitError::unexpected("rev-parse", "no object name"));
    }
    // Exit 1 is a plain "no"; a message with 128 is a revision git cannot read (`main^{/[}`) or a
    // repository it cannot read, and only the latter is about the repository.
    let message = outcome.message();
    let repository_is_broken = ["not a git repository", "bad config", "unknown repository"]
        .iter()
        .any(|sign| message.contains(sign));
    if repository_is_broken {
        return Err(GitError::Failed {
            command: "rev-parse".into(),
            status: outcome.status,
            message,
        });
    }
    Ok(None)
}

/// The hash the repository names its objects by.
pub(super) async fn object_format(git: &Git, git_dir: &Path) -> Result<ObjectFormat, GitError> {
    let printed = git
        .command("rev-parse", Some(git_dir))
        .arg("--show-object-format")
        .text()
        .await?;
    match printed.as_str() {
        "sha1" => Ok(ObjectFormat::Sha1),
        "sha256" => Ok(ObjectFormat::Sha256),
        other => Err(GitError::unexpected(
            "rev-parse",
            format!("an object format `{other}`"),
        )),
    }
}

/// Short names of branches, remote branches and tags; those git prints as something else than
/// UTF-8 are left out.
pub(super) async fn names(git: &Git, git_dir: &Path, limit: u32) -> Result<Vec<String>, GitError> {
    let printed = git
        .command("for-each-ref", Some(git_dir))
        .arg(format!("--count={limit}"))
        .args(["--sort=-committerdate", "--format=%(refname:short)"])
        .args(["refs/heads", "refs/tags", "refs/remotes"])
        .output(4 << 20)
        .bytes()
        .await?;
    Ok(printed
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
        .filter_map(|line| std::str::from_utf8(line).ok())
        .map(str::to_owned)
        .collect())
}

/// Up to three names that look like the revision, best first.
pub(super) fn near(revision: &str, names: &[String]) -> Vec<String> {
    let wanted: String = revision.chars().take(64).collect();
    let mut scored: Vec<(usize, &String)> = names
        .iter()
        .filter_map(|name| {
            let last = name.rsplit('/').next().unwrap_or(name);
            let distance = distance(&wanted, name).min(distance(&wanted, last) + 1);
            let close = distance <= wanted.chars().count().max(3) / 3 + 1;
            (close || name.contains(&wanted)).then_some((distance, name))
        })
        .collect();
    scored.sort();
    scored
        .into_iter()
        .take(3)
        .map(|(_, name)| name.clone())
        .collect()
}

/// How many characters to insert, delete, replace or swap with their neighbour make one text the
/// other (optimal string alignment); only the first 256 characters count.
pub fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(256).collect();
    let b: Vec<char> = b.chars().take(256).collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut row = vec![i + 1];
        for j in 0..b.len() {
            let replaced = last[j] + usize::from(a[i] != b[j]);
            let mut best = replaced.min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_names_are_suggested_best_first() {
        let names = ["main", "maintenance", "release/1.2", "origin/main"].map(str::to_owned);
        assert_eq!(near("mian", &names)[0], "main");
        assert_eq!(near("mainn", &names)[0], "main");
        assert_eq!(near("1.2", &names), ["release/1.2"]);
        assert!(near("zzzzzzzz", &names).is_empty());
    }

    #[test]
    fn options_and_control_characters_are_no_revisions() {
        for wrong in ["", "-h", "--upload-pack=x", "main\n", "a\0b"] {
            assert!(!is_plausible(wrong), "{wrong:?}");
        }
        assert!(is_plausible("main~2^{tree}"));
    }

    #[test]
    fn distance_counts_single_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("titel", "title"), 1, "a swap is one");
        assert_eq!(distance("same", "same"), 0);
    }
}
