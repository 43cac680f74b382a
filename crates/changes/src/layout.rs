//! Where things lie in a data directory.

use std::path::{Path, PathBuf};

use matrix_core::{Digest, RunId};

/// The places of a data directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
    targets: PathBuf,
    /// The process whose work trees these are, where several share the directory.
    process: Option<String>,
}

impl Layout {
    /// The places under this directory; `targets` is where releases lie if the operator wants
    /// them elsewhere.
    pub fn new(root: impl Into<PathBuf>, targets: Option<PathBuf>) -> Self {
        let root = root.into();
        let targets = targets.unwrap_or_else(|| root.join("targets"));
        Self {
            root,
            targets,
            process: None,
        }
    }

    /// The same places with work trees of this process's own: one that was thought dead and goes on
    /// must not write into those of its successor.
    #[must_use]
    pub fn of_process(mut self, name: &str) -> Self {
        self.process = Some(name.to_owned());
        self
    }

    /// The data directory itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The database.
    pub fn database(&self) -> PathBuf {
        self.root.join("matrix.db")
    }

    /// The content-addressed store.
    pub fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    /// Work trees and throw-away copies of one run, of this process.
    pub fn work(&self, run: RunId) -> PathBuf {
        let all = self.all_work(run);
        match &self.process {
            Some(process) => all.join(process),
            None => all,
        }
    }

    /// Work trees and throw-away copies of one run, of every process.
    pub fn all_work(&self, run: RunId) -> PathBuf {
        self.root.join("work").join(run.to_string())
    }

    /// Logs of one run's checks; a side stream, not a record.
    pub fn logs(&self, run: RunId) -> PathBuf {
        self.root.join("logs").join(run.to_string())
    }

    /// Results that may be taken again.
    pub fn cache(&self) -> PathBuf {
        self.root.join("cache")
    }

    /// The bare repository that releases are published to.
    pub fn registry(&self) -> PathBuf {
        self.root.join("registry.git")
    }

    /// Policies.
    pub fn policy(&self) -> PathBuf {
        self.root.join("policy")
    }

    /// Signing keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// The file of a run's bundle.
    pub fn bundle(&self, run: RunId) -> PathBuf {
        self.root
            .join("bundles")
            .join(format!("{run}.intoto.jsonl"))
    }

    /// Where releases of a repository's target lie. Each repository has its own: two that name a
    /// target `production` do not mean the same.
    pub fn target(&self, repository: &str, name: &str) -> PathBuf {
        let digest = Digest::of(repository).to_string();
        let stem: String = Path::new(repository)
            .file_name()
            .map(|name| name.to_string_lossy().into_owned())
            .unwrap_or_default()
            .chars()
            .filter(|letter| letter.is_ascii_alphanumeric() || "-_.".contains(*letter))
            .take(40)
            .collect();
        let own = format!("{}-{}", stem.trim_start_matches('.'), &digest[..8]);
        self.targets.join(own).join(name)
    }

    /// The host's socket; of several processes each has its own.
    pub fn socket(&self) -> PathBuf {
        match &self.process {
            Some(process) => self.sockets().join(format!("{process}.sock")),
            None => self.root.join("matrix.sock"),
        }
    }

    /// The sockets of several processes.
    pub fn sockets(&self) -> PathBuf {
        self.root.join("sockets")
    }

    /// Held by one of several processes while it makes what all of them share.
    pub fn starting(&self) -> PathBuf {
        self.root.join("starting.lock")
    }

    /// The directory's own name, where its state is in a database that others reach, too.
    pub fn identity(&self) -> PathBuf {
        self.root.join("directory.id")
    }

    /// The directory's own name, where its blobs are in a store elsewhere.
    pub fn blobs_identity(&self) -> PathBuf {
        self.root.join("blobs.id")
    }

    /// The host's lock.
    pub fn lock(&self) -> PathBuf {
        self.root.join("host.lock")
    }

    /// When what is past its time was last removed.
    pub fn pruned(&self) -> PathBuf {
        self.root.join("pruned")
    }

    /// A directory for the sandbox's own files, outside every sandbox.
    pub fn sandbox(&self) -> PathBuf {
        self.root.join("sandbox")
    }
}
