//! The codes of everything that can go wrong here, and what a person can do about it.

use matrix_core::{Code, Problem};

use crate::copy::CopyError;
use crate::git::GitError;
use crate::patch::{Fault, PatchError};
use crate::registry::RegistryError;
use crate::repository::RepositoryError;

/// There is no directory at the repository's path.
pub const REPOSITORY_MISSING: Code = Code::new("REPO-0001", 422, 2, "repository does not exist");
/// The directory is no git repository.
pub const NOT_A_REPOSITORY: Code = Code::new("REPO-0002", 422, 2, "not a git repository");
/// The repository has no commit.
pub const EMPTY_REPOSITORY: Code = Code::new("REPO-0003", 422, 2, "repository has no commit");
/// The revision is not there.
pub const UNKNOWN_REVISION: Code = Code::new("REPO-0004", 422, 2, "unknown revision");
/// Git cannot read the repository.
pub const UNREADABLE: Code = Code::new("REPO-0005", 422, 2, "repository cannot be read");
/// The repository lacks objects of the revision.
pub const OBJECTS_MISSING: Code = Code::new("REPO-0006", 422, 2, "repository lacks objects");
/// The machine has no usable git.
pub const GIT_UNAVAILABLE: Code = Code::new("REPO-0007", 503, 1, "git is not available");
/// Git failed in a way that nothing here expects.
pub const GIT_FAILED: Code = Code::new("REPO-0008", 500, 1, "git failed");
/// Git was stopped for taking too long or printing too much.
pub const GIT_STOPPED: Code = Code::new("REPO-0009", 500, 1, "git was stopped at a limit");
/// A directory of ours cannot be used.
pub const PLACE_UNUSABLE: Code = Code::new("REPO-0010", 500, 1, "work directory is not usable");
/// The registry has another commit under the name.
pub const REGISTRY_CONFLICT: Code = Code::new("REPO-0011", 409, 1, "registry name is taken");
/// The registry cannot take such a name or text.
pub const REGISTRY_REFUSED: Code = Code::new("REPO-0012", 422, 2, "registry refuses the text");

/// A path that no operation may name.
pub const PATH_REFUSED: Code = Code::new("PATCH-0001", 422, 2, "path is refused");
/// The path leads through a link or into another repository.
pub const PATH_LEADS_AWAY: Code = Code::new("PATCH-0002", 422, 2, "path leads out of the tree");
/// The operation does not suit what the base revision has.
pub const TREE_DISAGREES: Code =
    Code::new("PATCH-0003", 422, 2, "operation does not suit the tree");
/// Two paths are one file.
pub const PATHS_COLLIDE: Code = Code::new("PATCH-0004", 422, 2, "paths collide");
/// The diff cannot be read.
pub const DIFF_MALFORMED: Code = Code::new("PATCH-0005", 422, 2, "diff is malformed");
/// The diff does not fit the file.
pub const DIFF_DOES_NOT_FIT: Code = Code::new("PATCH-0006", 422, 2, "diff does not fit");
/// A limit is exceeded.
pub const TOO_LARGE: Code = Code::new("PATCH-0007", 422, 2, "patch exceeds a limit");
/// The patch has no effect.
pub const NO_EFFECT: Code = Code::new("PATCH-0008", 422, 2, "patch changes nothing");

impl From<GitError> for Problem {
    fn from(error: GitError) -> Self {
        let detail = with_source(&error);
        match error {
            GitError::NotFound { .. } | GitError::TooOld { .. } => {
                Self::new(GIT_UNAVAILABLE, detail).help("install git 2.36 or later")
            }
            GitError::TimedOut { .. } | GitError::TooMuchOutput { .. } => {
                Self::new(GIT_STOPPED, detail)
            }
            GitError::Failed { .. } | GitError::Unexpected { .. } => Self::new(GIT_FAILED, detail),
            GitError::Io { .. } => Self::new(PLACE_UNUSABLE, detail)
                .help("check the data directory's free space and permissions"),
        }
    }
}

impl From<RepositoryError> for Problem {
    fn from(error: RepositoryError) -> Self {
        let detail = error.to_string();
        match error {
            RepositoryError::Missing { .. } => Self::new(REPOSITORY_MISSING, detail)
                .help("give the path of a repository on this machine"),
            RepositoryError::NotARepository { within, .. } => {
                let problem = Self::new(NOT_A_REPOSITORY, detail);
                match within {
                    Some(top) => problem.help(format!("did you mean {}?", top.display())),
                    None => {
                        problem.help("give the top directory of a repository, or `git init` one")
                    }
                }
            }
            RepositoryError::Empty { .. } => {
                Self::new(EMPTY_REPOSITORY, detail).help("make a first commit")
            }
            RepositoryError::Unreadable { .. } => {
                Self::new(UNREADABLE, detail).help("`git fsck` in the repository says more")
            }
            RepositoryError::UnknownRevision { near, .. } => {
                let problem = Self::new(UNKNOWN_REVISION, detail);
                match near.as_slice() {
                    [] => problem.help("name a branch, a tag or a commit"),
                    names => problem.help(format!("did you mean `{}`?", names.join("`, `"))),
                }
            }
            RepositoryError::ObjectsMissing { .. } => Self::new(OBJECTS_MISSING, detail)
                .help("a partial clone needs `git fetch --refetch --no-filter` first"),
            RepositoryError::Destination { .. } => Self::new(PLACE_UNUSABLE, detail),
            RepositoryError::Git(error) => error.into(),
        }
    }
}

impl From<PatchError> for Problem {
    fn from(error: PatchError) -> Self {
        let detail = error.to_string();
        match error {
            PatchError::Refused(refusals) => {
                let code = refusals
                    .first()
                    .map_or(NO_EFFECT, |refusal| code_of(&refusal.fault));
                let listed: Vec<serde_json::Value> = refusals
                    .iter()
                    .map(|refusal| {
                        serde_json::json!({
                            "operation": refusal.operation,
                            "path": refusal.path,
                            "code": code_of(&refusal.fault).text,
                            "reason": refusal.fault.to_string(),
                        })
                    })
                    .collect();
                Self::new(code, detail)
                    .help("correct the plan; nothing was changed")
                    .with("refusals", listed)
            }
            PatchError::DiffTooLarge(_) => {
                Self::new(TOO_LARGE, detail).help("split the change into smaller ones")
            }
            PatchError::Git(error) => error.into(),
        }
    }
}

/// The code of one refusal.
pub const fn code_of(fault: &Fault) -> Code {
    use crate::unified::DiffFault;
    match fault {
        Fault::Path(_) => PATH_REFUSED,
        Fault::ThroughSymlink(_) | Fault::Symlink | Fault::Submodule(_) => PATH_LEADS_AWAY,
        Fault::Directory
        | Fault::BelowFile(_)
        | Fault::NoSuchFile { .. }
        | Fault::Exists
        | Fault::Binary => TREE_DISAGREES,
        Fault::Collision(_) | Fault::Twice(_) => PATHS_COLLIDE,
        Fault::Diff(DiffFault::DoesNotFit { .. } | DiffFault::Ambiguous { .. }) => {
            DIFF_DOES_NOT_FIT
        }
        Fault::Diff(DiffFault::TooManyHunks | DiffFault::TooMuchWork)
        | Fault::BaseTooLarge(_)
        | Fault::ContentTooLarge(_)
        | Fault::TooManyOperations(_)
        | Fault::TotalTooLarge(_) => TOO_LARGE,
        Fault::Diff(DiffFault::NoHunk | DiffFault::Malformed { .. } | DiffFault::NoChange) => {
            DIFF_MALFORMED
        }
        Fault::NoOperation | Fault::NoChange => NO_EFFECT,
    }
}

impl From<RegistryError> for Problem {
    fn from(error: RegistryError) -> Self {
        let detail = error.to_string();
        match error {
            RegistryError::TagTaken { .. }
            | RegistryError::BranchMoved { .. }
            | RegistryError::KeyTaken { .. } => {
                Self::new(REGISTRY_CONFLICT, detail).help("choose another name; tags never move")
            }
            RegistryError::InvalidName(_)
            | RegistryError::InvalidText { .. }
            | RegistryError::Prefix(_)
            | RegistryError::FormatDiffers => Self::new(REGISTRY_REFUSED, detail),
            RegistryError::Git(error) => error.into(),
        }
    }
}

impl From<CopyError> for Problem {
    fn from(error: CopyError) -> Self {
        Self::new(PLACE_UNUSABLE, with_source(&error))
            .help("check the data directory's free space and permissions")
    }
}

/// What failed and, where the system said it, why.
fn with_source(error: &dyn std::error::Error) -> String {
    match error.source() {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}
