//! Repositories of our own, made so that git changes no byte of a file.
//!
//! A repository's `.gitattributes` can ask git to convert line ends, expand keywords, leave files
//! out of an archive or pass content through a program. `info/attributes` outranks it, so every
//! repository we make switches all of that off: the bytes in a work tree or an archive are the
//! bytes its tree names. (`-diff` is taken back too: a file cannot hide from the diff.)

use std::path::Path;

use crate::git::{Git, GitError, quoted};
use crate::object::ObjectFormat;

const ATTRIBUTES: &str = "\
* -text !eol !crlf !ident !filter !working-tree-encoding !encoding !diff !merge !whitespace \
!export-ignore !export-subst !delta !conflict-marker-size\n";

/// Whether a repository has files beside its git directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Only the objects and refs.
    Bare,
    /// A directory with `.git` in it.
    WithWorkTree,
}

/// Makes an empty repository without templates at a directory, which may exist and be empty.
pub(crate) async fn init(
    git: &Git,
    directory: &Path,
    shape: Shape,
    format: ObjectFormat,
) -> Result<(), GitError> {
    let git_dir = match shape {
        Shape::Bare => directory.to_owned(),
        Shape::WithWorkTree => directory.join(".git"),
    };
    let mut command = git
        .command("init", None)
        .args(["--quiet", "--template=", "--initial-branch=main"])
        .arg(format!("--object-format={}", format.as_str()));
    if shape == Shape::Bare {
        command = command.arg("--bare");
    }
    command.arg(directory).bytes().await?;
    let info = git_dir.join("info");
    tokio::fs::create_dir_all(&info)
        .await
        .map_err(|source| GitError::io(format!("making {}", info.display()), source))?;
    write(&info.join("attributes"), ATTRIBUTES).await
}

/// Lets a repository of ours read the objects in a directory of another one.
pub(crate) async fn borrow(git_dir: &Path, objects: &Path) -> Result<(), GitError> {
    let info = git_dir.join("objects/info");
    tokio::fs::create_dir_all(&info)
        .await
        .map_err(|source| GitError::io(format!("making {}", info.display()), source))?;
    let mut line = quoted(objects).into_encoded_bytes();
    line.push(b'\n');
    write(&info.join("alternates"), line).await
}

/// Writes a small file of a repository of ours.
pub(crate) async fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<(), GitError> {
    tokio::fs::write(path, content)
        .await
        .map_err(|source| GitError::io(format!("writing {}", path.display()), source))
}
