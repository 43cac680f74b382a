//! What an agent's work tree has that its base has not.

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::Digest;
use matrix_worktree::operation::{Create, Delete};
use matrix_worktree::{FileMode, Operation, Update};
use serde::{Deserialize, Serialize};

/// One path that differs from the base.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Changed {
    /// It is gone.
    Gone,
    /// It is a file; its content is a blob.
    File {
        /// The content.
        content: Digest,
        /// Its length in bytes.
        bytes: u64,
        /// Whether it can be executed.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        executable: bool,
    },
    /// It is a symbolic link.
    Link {
        /// What it names.
        target: String,
    },
}

/// Every path that differs from the base, from the top of the work tree.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Overlay {
    /// By path.
    pub paths: BTreeMap<String, Changed>,
}

/// What one step changed: each path as it is since, or nothing where it is the base's again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Delta {
    /// By path.
    pub paths: BTreeMap<String, Option<Changed>>,
}

impl Overlay {
    /// How many bytes its files have together.
    pub fn bytes(&self) -> u64 {
        let each = self.paths.values().map(|changed| match changed {
            Changed::File { bytes, .. } => *bytes,
            Changed::Gone | Changed::Link { .. } => 0,
        });
        each.sum()
    }

    /// What leads from an earlier one to this one.
    pub fn since(&self, earlier: &Self) -> Delta {
        let all = self.paths.keys().chain(earlier.paths.keys());
        let all: BTreeSet<&String> = all.collect();
        let differ = all
            .into_iter()
            .filter(|path| self.paths.get(*path) != earlier.paths.get(*path));
        let each = differ.map(|path| (path.clone(), self.paths.get(path).cloned()));
        Delta {
            paths: each.collect(),
        }
    }

    /// Takes a step further.
    pub fn apply(&mut self, delta: &Delta) {
        for (path, changed) in &delta.paths {
            match changed {
                Some(changed) => self.paths.insert(path.clone(), changed.clone()),
                None => self.paths.remove(path),
            };
        }
    }

    /// The same as the operations of a plan. `base` says how git keeps a path of the base, `read` gives a
    /// blob's text.
    ///
    /// # Errors
    /// The path that a plan cannot say, and why.
    pub fn operations(
        &self,
        base: impl Fn(&str) -> Option<&'static str>,
        read: impl Fn(&Digest) -> Option<Vec<u8>>,
    ) -> Result<Vec<Operation>, String> {
        let mut operations = Vec::new();
        for (path, changed) in &self.paths {
            let path = path.clone();
            match changed {
                Changed::Gone => operations.push(Operation::Delete(Delete { path })),
                Changed::Link { .. } => {
                    return Err(format!(
                        "`{path}` is a symbolic link, which a plan cannot make"
                    ));
                }
                Changed::File {
                    content,
                    executable,
                    ..
                } => {
                    let Some(bytes) = read(content) else {
                        return Err(format!("the content of `{path}` is missing"));
                    };
                    let Ok(content) = String::from_utf8(bytes) else {
                        return Err(format!("`{path}` is not text, which a plan cannot hold"));
                    };
                    let mode = if *executable { "100755" } else { "100644" };
                    if let Some(before) = base(&path) {
                        if before != mode {
                            return Err(format!(
                                "`{path}` changes what kind of file it is or whether it can be \
                                 executed, which a plan cannot say"
                            ));
                        }
                        operations.push(Operation::Update(Update::Content { path, content }));
                    } else {
                        let mode = if *executable {
                            FileMode::Executable
                        } else {
                            FileMode::Regular
                        };
                        operations.push(Operation::Create(Create {
                            path,
                            content,
                            mode,
                        }));
                    }
                }
            }
        }
        Ok(operations)
    }
}
