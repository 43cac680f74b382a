//! Real repositories in temporary directories, made with the machine's own git.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use matrix_core::Digest;
use matrix_worktree::operation::{Create, Delete, FileMode, Move};
use matrix_worktree::{Git, Operation, Repository, Update, WorkTree, clone_at};
use tempfile::TempDir;

/// A place of its own for one test: `repo`, `scratch` and whatever else it makes.
pub(crate) struct Place {
    directory: TempDir,
    pub(crate) git: Git,
}

impl Place {
    pub(crate) async fn new() -> Self {
        let place = Self {
            directory: tempfile::tempdir().unwrap(),
            git: Git::find(OsStr::new("/usr/bin:/usr/local/bin:/bin"))
                .await
                .unwrap(),
        };
        std::fs::create_dir(place.path("scratch")).unwrap();
        place
    }

    /// A place with a repository `repo` that has these files in one commit.
    pub(crate) async fn with(files: &[(&str, &str)]) -> Self {
        let place = Self::new().await;
        let repo = place.repo();
        init(&repo);
        for (path, content) in files {
            write(&repo, path, content);
        }
        commit(&repo, "first");
        place
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn repo(&self) -> PathBuf {
        self.path("repo")
    }

    pub(crate) async fn open(&self) -> Repository {
        Repository::open(&self.git, &self.repo()).await.unwrap()
    }

    /// A work tree of the repository's head.
    pub(crate) async fn clone(&self, name: &str) -> WorkTree {
        let repository = self.open().await;
        let head = repository.resolve("HEAD").await.unwrap();
        clone_at(&repository, &head, &self.path(name))
            .await
            .unwrap()
    }
}

pub(crate) fn init(repo: &Path) {
    std::fs::create_dir_all(repo).unwrap();
    run(repo, &["init", "-q", "-b", "main"]);
}

pub(crate) fn write(repo: &Path, path: &str, content: impl AsRef<[u8]>) {
    let file = repo.join(path);
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, content).unwrap();
}

pub(crate) fn commit(repo: &Path, message: &str) -> String {
    run(repo, &["add", "-A", "-f"]);
    run(repo, &["commit", "-q", "--allow-empty", "-m", message]);
    run(repo, &["rev-parse", "HEAD"])
}

/// Runs the machine's git as a person would and gives what it printed.
pub(crate) fn run(directory: &Path, args: &[&str]) -> String {
    let output = try_run(directory, args);
    assert!(
        output.status.success(),
        "git {args:?} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout)
        .trim_end()
        .to_owned()
}

pub(crate) fn try_run(directory: &Path, args: &[&str]) -> Output {
    Command::new("git")
        .current_dir(directory)
        .env_clear()
        .env("PATH", "/usr/local/bin:/usr/bin:/bin")
        .env("HOME", directory)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_AUTHOR_NAME", "Test")
        .env("GIT_AUTHOR_EMAIL", "test@example.org")
        .env("GIT_COMMITTER_NAME", "Test")
        .env("GIT_COMMITTER_EMAIL", "test@example.org")
        .env("GIT_AUTHOR_DATE", "@1700000000 +0000")
        .env("GIT_COMMITTER_DATE", "@1700000000 +0000")
        .args(["-c", "protocol.file.allow=always"])
        .args(args)
        .output()
        .unwrap()
}

/// Every path below a directory with what it is and a digest of its content and times.
pub(crate) fn snapshot(directory: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    let mut waiting = vec![directory.to_owned()];
    while let Some(next) = waiting.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let entry = entry.unwrap();
            let metadata = entry.metadata().unwrap();
            let path = entry.path();
            let what = if metadata.is_dir() {
                waiting.push(path.clone());
                "directory".to_owned()
            } else if metadata.is_symlink() {
                format!("link to {}", std::fs::read_link(&path).unwrap().display())
            } else {
                let modified = metadata.modified().unwrap();
                format!("{} {modified:?}", Digest::of(std::fs::read(&path).unwrap()))
            };
            found.insert(path, what);
        }
    }
    found
}

pub(crate) fn create(path: &str, content: &str) -> Operation {
    Operation::Create(Create {
        path: path.into(),
        content: content.into(),
        mode: FileMode::Regular,
    })
}

pub(crate) fn update(path: &str, content: &str) -> Operation {
    Operation::Update(Update::Content {
        path: path.into(),
        content: content.into(),
    })
}

pub(crate) fn diff(path: &str, diff: &str) -> Operation {
    Operation::Update(Update::Diff {
        path: path.into(),
        diff: diff.into(),
    })
}

pub(crate) fn delete(path: &str) -> Operation {
    Operation::Delete(Delete { path: path.into() })
}

pub(crate) fn rename(from: &str, to: &str) -> Operation {
    Operation::Move(Move {
        from: from.into(),
        to: to.into(),
    })
}
