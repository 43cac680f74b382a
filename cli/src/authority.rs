//! The policies of a data directory as an authorizer that notices when somebody edits them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use matrix_core::{Authorizer, Caller, Denied};
use matrix_identity::principals::Accounts;
use matrix_identity::{Access, PolicyEngine};
use serde_json::Value;

/// Decides by the policy files as they are now.
pub(crate) struct Authority {
    directory: PathBuf,
    accounts: Arc<Accounts>,
    loaded: Mutex<Option<(Stamp, Arc<Access>)>>,
}

/// Names, sizes and times of the policy files: the same stamp means the same files.
type Stamp = Vec<(PathBuf, u64, Option<SystemTime>)>;

impl Authority {
    /// An authorizer over a directory of policies.
    pub(crate) fn new(directory: PathBuf, accounts: Accounts) -> Self {
        Self {
            directory,
            accounts: Arc::new(accounts),
            loaded: Mutex::new(None),
        }
    }

    /// The policies as they are now.
    pub(crate) fn access(&self) -> Arc<Access> {
        let now = stamp(&self.directory);
        let mut loaded = self.loaded.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, access)) = &*loaded
            && *before == now
        {
            return Arc::clone(access);
        }
        let engine = Arc::new(PolicyEngine::load_or_deny(&self.directory));
        let access = Arc::new(Access::new(engine, Arc::clone(&self.accounts) as _));
        *loaded = Some((now, Arc::clone(&access)));
        access
    }
}

impl Authorizer for Authority {
    fn decide(&self, caller: &Caller, action: &'static str, facts: &Value) -> Result<(), Denied> {
        self.access().decide(caller, action, facts)
    }
}

fn stamp(directory: &Path) -> Stamp {
    let mut stamp = Vec::new();
    for place in [directory.to_owned(), directory.join("managed")] {
        let Ok(entries) = std::fs::read_dir(&place) else {
            continue;
        };
        for entry in entries.flatten() {
            if let Ok(data) = entry.metadata() {
                stamp.push((entry.path(), data.len(), data.modified().ok()));
            }
        }
    }
    stamp.sort();
    stamp
}
