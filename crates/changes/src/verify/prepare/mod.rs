//! Dependencies for checks that run offline.
//!
//! What a lock file names is fetched once, in a sandbox of its own, into a directory that every
//! check of that lock file sees read-only. The fetching sandbox holds a copy of the manifests and
//! lock files and nothing else of the repository, no secret, and reaches only the hosts that the
//! user's own tool configuration names. Nothing that was fetched is executed: no install scripts,
//! wheels only.

mod cargo;
mod fetch;
mod go;
mod node;
mod python;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use matrix_core::Digest;
use matrix_sandbox::egress::{Destination, Upstream};
use matrix_sandbox::spec::{Limits, Mount};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::detect::{self, Ecosystem};
use super::error::VerifyError;
use super::executor::Executor;
use super::run::LogSink;
use fetch::Need;
use matrix_sandbox::toolchain::{Search, Toolchains};

/// What checks of one project directory get.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "provision")]
pub enum Provision {
    /// It needs nothing from outside.
    #[default]
    Nothing,
    /// Everything it needs is here.
    Ready(Ready),
    /// It needs something that could not be had.
    Unavailable {
        /// What, why, and what to do.
        reason: String,
    },
}

/// Fetched dependencies and how a check sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// The digest of the lock file and of what else decided what was fetched.
    pub key: Option<Digest>,
    /// Directories shown read-only.
    pub mounts: Vec<Mount>,
    /// Directories inside that come first in `PATH`.
    pub path: Vec<PathBuf>,
    /// Further environment; variables that end in `PATH` are joined.
    pub env: BTreeMap<String, String>,
    /// A line for the shell before each command.
    pub setup: Option<String>,
    /// Crates for cargo.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub crates: Option<Crates>,
    /// What a reader should know, such as packages that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What building the project takes beside, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub build: Option<Box<BuildTools>>,
}

/// The packages that a Python project's build back end needs; no other check sees them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "tools")]
pub enum BuildTools {
    /// The interpreter has them.
    Beside,
    /// They were fetched.
    Fetched {
        /// The digest of what decided what was fetched.
        key: Digest,
        /// Where they lie and are seen.
        mount: Mount,
        /// What a reader should know about them.
        notes: Vec<String>,
    },
    /// They could not be had.
    Unavailable {
        /// Why.
        reason: String,
    },
}

/// Vendored crates and how cargo is told about them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Crates {
    /// The configuration that `cargo vendor` printed, on the host.
    pub config: PathBuf,
    /// Where the crates are seen inside.
    pub directory: PathBuf,
}

/// The provisions of one side, by `ECOSYSTEM` or `ECOSYSTEM/DIRECTORY`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Prepared {
    provisions: BTreeMap<String, Provision>,
}

fn key(ecosystem: Ecosystem, directory: &str) -> String {
    if directory.is_empty() {
        ecosystem.as_str().to_owned()
    } else {
        format!("{}/{directory}", ecosystem.as_str())
    }
}

impl Prepared {
    /// Says what a project directory gets.
    pub fn insert(&mut self, ecosystem: Ecosystem, directory: &str, provision: Provision) {
        self.provisions.insert(key(ecosystem, directory), provision);
    }

    /// What a project directory gets; nothing, if nothing was said.
    pub fn get(&self, ecosystem: Ecosystem, directory: &str) -> &Provision {
        const NOTHING: &Provision = &Provision::Nothing;
        self.provisions
            .get(&key(ecosystem, directory))
            .unwrap_or(NOTHING)
    }

    /// Every provision with its key.
    pub fn all(&self) -> impl Iterator<Item = (&str, &Provision)> {
        self.provisions
            .iter()
            .map(|(place, provision)| (place.as_str(), provision))
    }

    /// A digest of what was provided: results with other dependencies are other results.
    pub fn digest(&self) -> Digest {
        let mut text = String::new();
        for (place, provision) in &self.provisions {
            let what = match provision {
                Provision::Nothing => String::from("nothing"),
                Provision::Ready(ready) => {
                    let key = ready.key.map_or_else(String::new, |key| key.to_string());
                    match ready.build.as_deref() {
                        Some(BuildTools::Fetched { key: build, .. }) => format!("{key} {build}"),
                        Some(BuildTools::Unavailable { reason }) => format!("{key} {reason}"),
                        Some(BuildTools::Beside) | None => key,
                    }
                }
                Provision::Unavailable { reason } => reason.clone(),
            };
            let _ = writeln!(text, "{place}\0{what}");
        }
        Digest::of(text)
    }
}

/// Fetches what checks need.
#[derive(Clone)]
pub struct Preparer {
    /// The sandbox.
    pub executor: Arc<dyn Executor>,
    /// The host's toolchains.
    pub toolchains: Toolchains,
    /// Where the tools' own configuration is asked for, outside.
    pub search: Search,
    /// Hosts that the operator allows beside those of the tools' configuration.
    pub hosts: Vec<Destination>,
    /// The host's own proxy.
    pub upstream: Option<Upstream>,
    /// What was fetched is kept here under the digest of what decided it.
    pub cache: PathBuf,
    /// A directory for throw-away copies and sockets; its path is short, for sockets' sake.
    pub scratch: PathBuf,
    /// Limits on one fetch.
    pub limits: Limits,
    /// Turns true when the change is not wanted any more.
    pub cancel: watch::Receiver<bool>,
    /// Where the log goes.
    pub log: Option<LogSink>,
}

impl Preparer {
    /// Where what was fetched is kept, by the digest of what decided it.
    fn kept(&self, key: Digest) -> PathBuf {
        self.cache.join("dependencies").join(key.to_string())
    }

    /// Fetches what the lock files of a tree name. What could not be had stands in the result with
    /// its reason; the checks that need it are skipped.
    ///
    /// # Errors
    /// When the machine failed, the sandbox did not start or the caller cancelled.
    pub async fn prepare(&self, tree: &Path) -> Result<Prepared, VerifyError> {
        self.prepare_after(tree, &Prepared::default()).await
    }

    /// The same for a change, after its base: of Node packages that no lock file pins it gets the
    /// versions that the base got, wherever its own manifests allow them.
    ///
    /// # Errors
    /// As [`Self::prepare`].
    pub async fn prepare_after(
        &self,
        tree: &Path,
        base: &Prepared,
    ) -> Result<Prepared, VerifyError> {
        let places: BTreeSet<(Ecosystem, String)> = detect::detect(tree)
            .into_iter()
            .map(|found| (found.ecosystem, found.directory))
            .collect();
        let mut prepared = Prepared::default();
        for (ecosystem, directory) in places {
            let need = match ecosystem {
                Ecosystem::Cargo => cargo::need(self, tree, &directory),
                Ecosystem::Node => {
                    let before = base.get(ecosystem, &directory);
                    node::need(self, tree, &directory, before).await
                }
                Ecosystem::Python => python::need(self, tree, &directory).await,
                Ecosystem::Go => go::need(self, tree, &directory).await,
                Ecosystem::Make => Need::Nothing,
            };
            let provision = match need {
                Need::Nothing => Provision::Nothing,
                Need::Told(notes) => Provision::Ready(Ready {
                    notes,
                    ..Ready::default()
                }),
                Need::Cannot(reason) => Provision::Unavailable { reason },
                Need::Fetch(fetch) => fetch.provision(self).await?,
            };
            let provision = if ecosystem == Ecosystem::Python {
                python::build::add(self, tree, &directory, provision).await?
            } else {
                provision
            };
            prepared.insert(ecosystem, &directory, provision);
        }
        Ok(prepared)
    }
}
