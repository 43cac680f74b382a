//! What the operations ask for, decided on listings alone.

use std::collections::{BTreeMap, HashMap};

use super::{Fault, Limits, Refusal};
use crate::listing::{Entry, EntryMode, Listing};
use crate::operation::{FileMode, Operation, Update};
use crate::path::{self, RepoPath};

/// What is to happen to one path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edit {
    /// Index of the operation, from 0.
    pub(super) operation: usize,
    pub(super) path: RepoPath,
    pub(super) action: Action,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Action {
    /// The path goes.
    Remove,
    /// The path gets these bytes.
    Write { mode: EntryMode, content: Vec<u8> },
    /// The path's present content is changed by a diff.
    Fit { base: Entry, diff: String },
    /// The path gets an object that is there already.
    Place(Entry),
}

/// A path's state after the patch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) operation: usize,
    pub(super) path: RepoPath,
    pub(super) state: State,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum State {
    Gone,
    New { mode: EntryMode, content: Vec<u8> },
    Moved(Entry),
}

/// Turns operations into edits, or says everything that is wrong with them.
pub(super) fn decide(
    operations: &[Operation],
    base: &Listing,
    limits: &Limits,
) -> Result<Vec<Edit>, Vec<Refusal>> {
    if operations.is_empty() {
        return Err(vec![Refusal::whole(Fault::NoOperation)]);
    }
    if operations.len() > limits.operations {
        let fault = Fault::TooManyOperations(limits.operations);
        return Err(vec![Refusal::whole(fault)]);
    }
    let mut decision = Decision {
        base,
        limits,
        edits: Vec::new(),
        refusals: Vec::new(),
        touched: HashMap::new(),
    };
    let mut total = 0_usize;
    for (index, operation) in operations.iter().enumerate() {
        total = total.saturating_add(content_of(operation).map_or(0, str::len));
        decision.operation(index, operation);
    }
    if total > limits.total_bytes {
        let fault = Fault::TotalTooLarge(limits.total_bytes);
        decision.refusals.push(Refusal::whole(fault));
    }
    if decision.refusals.is_empty() {
        Ok(decision.edits)
    } else {
        Err(decision.refusals)
    }
}

fn content_of(operation: &Operation) -> Option<&str> {
    match operation {
        Operation::Update(
            Update::Diff { diff: text, .. } | Update::Content { content: text, .. },
        ) => Some(text),
        Operation::Create(create) => Some(&create.content),
        Operation::Delete(_) | Operation::Move(_) => None,
    }
}

struct Decision<'a> {
    base: &'a Listing,
    limits: &'a Limits,
    edits: Vec<Edit>,
    refusals: Vec<Refusal>,
    /// Folded path to the operation that named it first.
    touched: HashMap<Vec<u8>, usize>,
}

impl Decision<'_> {
    fn operation(&mut self, index: usize, operation: &Operation) {
        let large = content_of(operation).is_some_and(|c| c.len() > self.limits.content_bytes);
        if large {
            let path = operation.paths().next().unwrap_or_default();
            let fault = Fault::ContentTooLarge(self.limits.content_bytes);
            self.refusals.push(Refusal::new(index, path, fault));
            return;
        }
        match operation {
            Operation::Update(update) => self.one(index, update.path(), |decision, path| {
                let base = decision.existing_file(path)?;
                Ok(match update {
                    Update::Diff { diff, .. } => Action::Fit {
                        base,
                        diff: diff.clone(),
                    },
                    Update::Content { content, .. } => Action::Write {
                        mode: base.mode,
                        content: content.clone().into_bytes(),
                    },
                })
            }),
            Operation::Create(create) => self.one(index, &create.path, |decision, path| {
                decision.absent(path)?;
                Ok(Action::Write {
                    mode: match create.mode {
                        FileMode::Regular => EntryMode::Regular,
                        FileMode::Executable => EntryMode::Executable,
                    },
                    content: create.content.clone().into_bytes(),
                })
            }),
            Operation::Delete(delete) => self.one(index, &delete.path, |decision, path| {
                decision.existing(path)?;
                Ok(Action::Remove)
            }),
            Operation::Move(renamed) => {
                let mut entry = None;
                self.one(index, &renamed.from, |decision, path| {
                    entry = Some(decision.existing_file(path)?);
                    Ok(Action::Remove)
                });
                let from = path::fold(renamed.from.as_bytes()).into_owned();
                if path::fold(renamed.to.as_bytes()) == from && renamed.from != renamed.to {
                    // A change of case alone; the two spellings are one path to `touch`.
                    self.touched.remove(&from);
                }
                self.one(index, &renamed.to, |decision, path| {
                    decision.absent(path)?;
                    Ok(entry.map_or(Action::Remove, Action::Place))
                });
            }
        }
    }

    /// Decides on one path of an operation.
    fn one(
        &mut self,
        index: usize,
        text: &str,
        action: impl FnOnce(&Self, &RepoPath) -> Result<Action, Fault>,
    ) {
        let decided = RepoPath::parse(text).map_err(Fault::Path).and_then(|path| {
            self.touch(index, &path)?;
            let action = action(self, &path)?;
            Ok(Edit {
                operation: index,
                path,
                action,
            })
        });
        match decided {
            Ok(edit) => self.edits.push(edit),
            Err(fault) => self.refusals.push(Refusal::new(index, text, fault)),
        }
    }

    fn touch(&mut self, index: usize, path: &RepoPath) -> Result<(), Fault> {
        let folded = path::fold(path.as_bytes()).into_owned();
        match self.touched.insert(folded, index) {
            Some(first) => Err(Fault::Twice(first)),
            None => Ok(()),
        }
    }

    /// What stands at a path, if the way there is plain.
    fn reach(&self, path: &RepoPath) -> Result<Option<&Entry>, Fault> {
        for parent in path.parents() {
            let name = || String::from_utf8_lossy(parent).into_owned();
            match self.base.get(parent).map(|entry| entry.mode) {
                Some(EntryMode::Symlink) => return Err(Fault::ThroughSymlink(name())),
                Some(EntryMode::Submodule) => return Err(Fault::Submodule(name())),
                // A file may become a directory; `check_result` looks at the outcome.
                Some(EntryMode::Regular | EntryMode::Executable) | None => {}
            }
        }
        let entry = self.base.get(path.as_bytes());
        if entry.is_some_and(|entry| entry.mode == EntryMode::Submodule) {
            return Err(Fault::Submodule(path.to_string()));
        }
        Ok(entry)
    }

    fn existing(&self, path: &RepoPath) -> Result<Entry, Fault> {
        match self.reach(path)? {
            Some(entry) => Ok(entry.clone()),
            None if self.base.is_directory(path.as_bytes()) => Err(Fault::Directory),
            None => Err(Fault::NoSuchFile {
                near: near(self.base, path),
            }),
        }
    }

    fn existing_file(&self, path: &RepoPath) -> Result<Entry, Fault> {
        let entry = self.existing(path)?;
        if entry.mode == EntryMode::Symlink {
            return Err(Fault::Symlink);
        }
        Ok(entry)
    }

    fn absent(&self, path: &RepoPath) -> Result<(), Fault> {
        match self.reach(path)? {
            Some(_) => Err(Fault::Exists),
            None => Ok(()),
        }
    }
}

/// A path with the same folded form, the same file name elsewhere, or nearly the same spelling.
fn near(base: &Listing, path: &RepoPath) -> Option<String> {
    let folded = path::fold(path.as_bytes()).into_owned();
    let name = path.as_str().rsplit('/').next().unwrap_or_default();
    let mut best: Option<(usize, String)> = None;
    for (candidate, _) in base.iter().take(20_000) {
        let Ok(text) = std::str::from_utf8(candidate) else {
            continue;
        };
        let other = text.rsplit('/').next().unwrap_or_default();
        let distance = if path::fold(candidate) == folded {
            0
        } else if other == name {
            1
        } else if text.len().abs_diff(path.as_str().len()) <= 2 {
            2 + crate::repository::distance(path.as_str(), text)
        } else {
            continue;
        };
        if distance <= 4 && best.as_ref().is_none_or(|(least, _)| distance < *least) {
            best = Some((distance, text.to_owned()));
        }
    }
    best.map(|(_, text)| text)
}

/// Looks at the tree as it will be: no file below a file, no two names for one file.
pub(super) fn check_result(base: &Listing, changes: &[Change]) -> Result<(), Vec<Refusal>> {
    let mut result = base.clone();
    for change in changes {
        let path = change.path.as_bytes();
        match &change.state {
            State::Gone => result.remove(path),
            State::New { mode, .. } => result.insert(
                path.to_vec(),
                Entry {
                    mode: *mode,
                    id: String::new(),
                },
            ),
            State::Moved(entry) => result.insert(path.to_vec(), entry.clone()),
        }
    }
    let added: Vec<&Change> = changes
        .iter()
        .filter(|change| change.state != State::Gone && base.get(change.path.as_bytes()).is_none())
        .collect();
    if added.is_empty() {
        return Ok(());
    }
    let names = folded_names(&result);
    let refusals: Vec<Refusal> = added
        .into_iter()
        .filter_map(|change| {
            let fault = conflict(&result, &names, &change.path)?;
            Some(Refusal::new(change.operation, change.path.as_str(), fault))
        })
        .collect();
    if refusals.is_empty() {
        Ok(())
    } else {
        Err(refusals)
    }
}

/// Every path and directory of a tree under its folded form; a second spelling stands beside.
fn folded_names(result: &Listing) -> BTreeMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut names: BTreeMap<Vec<u8>, Vec<Vec<u8>>> = BTreeMap::new();
    let mut last_directory: &[u8] = b"";
    for (path, _) in result.iter() {
        let directory = path::parents(path).last().unwrap_or(b"");
        let fresh = directory != last_directory;
        last_directory = directory;
        let above = path::parents(path).filter(|_| fresh);
        for prefix in above.chain(std::iter::once(path)) {
            let spellings = names.entry(path::fold(prefix).into_owned()).or_default();
            if !spellings.iter().any(|known| known == prefix) {
                spellings.push(prefix.to_vec());
            }
        }
    }
    names
}

fn conflict(
    result: &Listing,
    names: &BTreeMap<Vec<u8>, Vec<Vec<u8>>>,
    path: &RepoPath,
) -> Option<Fault> {
    if result.is_directory(path.as_bytes()) {
        return Some(Fault::Directory);
    }
    for parent in path.parents() {
        if result.get(parent).is_some() {
            return Some(Fault::BelowFile(
                String::from_utf8_lossy(parent).into_owned(),
            ));
        }
    }
    let whole = std::iter::once(path.as_bytes());
    for prefix in path.parents().chain(whole) {
        let spellings = names.get(path::fold(prefix).as_ref())?;
        if let Some(other) = spellings.iter().find(|known| known.as_slice() != prefix) {
            return Some(Fault::Collision(
                String::from_utf8_lossy(other).into_owned(),
            ));
        }
    }
    None
}

#[cfg(test)]
#[path = "decide_tests.rs"]
mod tests;
