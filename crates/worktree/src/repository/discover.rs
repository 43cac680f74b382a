//! Finding a repository's parts from its path, by looking and not by running git: git's own search
//! goes upwards into directories that nobody named and refuses those of another owner.

use std::path::{Path, PathBuf};

use super::RepositoryError;

/// The longest pointer file (`gitdir: …`) that is read.
const POINTER_BYTES: u64 = 16 << 10;

/// Where a repository keeps what.
#[derive(Debug, Clone)]
pub(super) struct Parts {
    /// `HEAD` and the index of this checkout.
    pub(super) git_dir: PathBuf,
    /// Refs and objects; another directory when this is a linked work tree.
    pub(super) common_dir: PathBuf,
    /// The files, unless it is bare.
    pub(super) work_tree: Option<PathBuf>,
}

pub(super) fn discover(path: &Path) -> Result<Parts, RepositoryError> {
    let absolute = path.canonicalize().map_err(|_| RepositoryError::Missing {
        path: path.to_owned(),
    })?;
    if let Some(parts) = parts_at(&absolute) {
        return Ok(parts);
    }
    let within = absolute
        .ancestors()
        .skip(1)
        .find(|above| parts_at(above).is_some());
    Err(RepositoryError::NotARepository {
        path: path.to_owned(),
        within: within.map(Path::to_owned),
    })
}

fn parts_at(directory: &Path) -> Option<Parts> {
    let inner = directory.join(".git");
    if let Some(git_dir) = follow(&inner) {
        let common_dir = common(&git_dir)?;
        return Some(Parts {
            git_dir,
            common_dir,
            work_tree: Some(directory.to_owned()),
        });
    }
    let common_dir = common(directory)?;
    let beside_files = directory.file_name().is_some_and(|name| name == ".git");
    Some(Parts {
        git_dir: directory.to_owned(),
        common_dir,
        work_tree: directory
            .parent()
            .filter(|_| beside_files)
            .map(Path::to_owned),
    })
}

/// `.git` is a directory, or a file that names one.
fn follow(inner: &Path) -> Option<PathBuf> {
    if inner.is_dir() {
        return Some(inner.to_owned());
    }
    let target = pointer(inner, "gitdir: ")?;
    let target = inner.parent()?.join(target);
    target.canonicalize().ok().filter(|found| found.is_dir())
}

/// The directory with refs and objects, if this is a git directory.
fn common(git_dir: &Path) -> Option<PathBuf> {
    if git_dir.join("HEAD").symlink_metadata().is_err() {
        return None;
    }
    let common = match pointer(&git_dir.join("commondir"), "") {
        Some(target) => git_dir.join(target).canonicalize().ok()?,
        None => git_dir.to_owned(),
    };
    let complete = common.join("objects").is_dir() && common.join("refs").is_dir();
    complete.then_some(common)
}

fn pointer(file: &Path, prefix: &str) -> Option<PathBuf> {
    use std::os::unix::ffi::OsStringExt;
    let metadata = std::fs::metadata(file).ok()?;
    if !metadata.is_file() || metadata.len() > POINTER_BYTES {
        return None;
    }
    let bytes = std::fs::read(file).ok()?;
    let target = bytes.strip_prefix(prefix.as_bytes())?;
    let end = target
        .iter()
        .rposition(|byte| !matches!(byte, b'\n' | b'\r'))?;
    let target = std::ffi::OsString::from_vec(target[..=end].to_vec());
    Some(PathBuf::from(target))
}
