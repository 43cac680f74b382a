//! Dependencies for checks that run offline.
//!
//! What a lock file names is fetched once, in a sandbox of its own, into a directory that every
//! check of that lock file sees read-only. The fetching sandbox holds a copy of the manifests and
//! lock files and nothing else of the repository, no secret, and reaches only the hosts that the
//! user's own tool configuration names. Nothing that was fetched is executed: no install scripts,
//! wheels only.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use matrix_core::Digest;
use matrix_sandbox::spec::Mount;
use serde::{Deserialize, Serialize};

use super::detect::Ecosystem;

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
                    ready.key.map_or_else(String::new, |key| key.to_string())
                }
                Provision::Unavailable { reason } => reason.clone(),
            };
            let _ = writeln!(text, "{place}\0{what}");
        }
        Digest::of(text)
    }
}
