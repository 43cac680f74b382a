//! Where an agent works: a work tree of its own, and a sandbox that stays open on it.
//!
//! What a step wrote is part of its result ([`Delta`]), with its place in the order of writing; so
//! the tree can be laid out again from the base and the journal, by another process, on another
//! machine, or for a fork. Writers take turns ([`Workspace::turn`]) from before their step begins
//! until its result is recorded, so that the journal never has a later state without an earlier one.

mod overlay;
mod scan;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use matrix_core::RunId;
use matrix_engine::StepError;
use matrix_sandbox::Machine;
use matrix_sandbox::live::{Live, LiveSpec};
use matrix_sandbox::spec::{Limits, Profile};
use matrix_store::Blobs;
use matrix_worktree::listing::EntryMode;
use matrix_worktree::{
    Applied, CommitId, Git, Limits as PatchLimits, Operation, Repository, WorkTree, clone_at, copy,
};
use serde::{Deserialize, Serialize};
use tokio::sync::{Mutex, MutexGuard};

pub use self::overlay::{Changed, Delta, Overlay};
use self::scan::{Scan, ScanError};

/// How long a sandbox may stay open; a run that takes longer gets another one.
const STAY: Duration = Duration::from_hours(24);

/// Where runs have their work trees.
pub type Workplaces = Arc<dyn Fn(RunId) -> PathBuf + Send + Sync>;

/// What agents work with. Cheap to clone.
#[derive(Clone)]
pub struct Workshop {
    /// The sandbox and the toolchains.
    pub machine: Machine,
    /// Git.
    pub git: Git,
    /// Contents.
    pub blobs: Blobs,
    /// Where runs have their work trees.
    pub workplaces: Workplaces,
}

impl std::fmt::Debug for Workshop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Workshop").finish_non_exhaustive()
    }
}

/// The revision that an agent begins with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Base {
    /// The repository's path on this machine.
    pub repository: String,
    /// The commit.
    pub commit: String,
}

/// What a step wrote, and when in the order of writing, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrote {
    /// Its place.
    pub order: u64,
    /// What it changed.
    pub changes: Delta,
}

/// The work tree of one run, as one process has it.
#[derive(Debug)]
pub struct Workspace {
    shop: Workshop,
    run: RunId,
    base: Option<Base>,
    turn: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What was written, as far as it is recorded.
    wrote: BTreeMap<u64, Delta>,
    open: Option<Open>,
}

impl State {
    fn newest(&self) -> u64 {
        self.wrote.keys().next_back().copied().unwrap_or(0)
    }

    fn overlay(&self) -> Overlay {
        let mut overlay = Overlay::default();
        for delta in self.wrote.values() {
            overlay.apply(delta);
        }
        overlay
    }
}

/// A tree that is laid out, and its sandbox.
#[derive(Debug)]
struct Open {
    live: Live,
    scan: Scan,
    root: PathBuf,
    /// Up to which place in the order it is laid out.
    order: u64,
}

/// The workspace while one tool uses it.
pub struct Bench<'a> {
    shop: &'a Workshop,
    state: MutexGuard<'a, State>,
}

/// What came of a tool that may have written.
pub enum Kept {
    /// The tree is kept as it is.
    Wrote(Wrote),
    /// It cannot be kept, and is as it was before.
    Refused(String),
}

impl Workspace {
    /// The work tree of a run; nothing is made yet.
    pub fn new(shop: Workshop, run: RunId, base: Option<Base>) -> Self {
        Self {
            shop,
            run,
            base,
            turn: Mutex::default(),
            state: Mutex::default(),
        }
    }

    /// A writer's turn; it is held until its result is recorded.
    pub async fn turn(&self) -> MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Takes note of what a recorded step wrote.
    pub async fn recorded(&self, wrote: Wrote) {
        let mut state = self.state.lock().await;
        state.wrote.insert(wrote.order, wrote.changes);
    }

    /// The tree as the journal has it, with its sandbox. `again` says that somebody may have left it
    /// otherwise.
    pub async fn bench(&self, again: bool) -> Result<Bench<'_>, StepError> {
        let mut state = self.state.lock().await;
        let newest = state.newest();
        // It may be ahead by what is about to be recorded.
        let fits = state.open.as_ref().is_some_and(|open| open.order >= newest);
        if again || !fits {
            state.open = None;
            let overlay = state.overlay();
            state.open = Some(self.lay_out(overlay, newest).await?);
        }
        Ok(Bench {
            shop: &self.shop,
            state,
        })
    }

    /// Removes the tree and closes its sandbox.
    pub async fn remove(&self) {
        self.state.lock().await.open = None;
        let root = (self.shop.workplaces)(self.run);
        if root.exists()
            && let Err(error) = copy::remove_tree(&root).await
        {
            tracing::warn!(%error, "an agent's work tree could not be removed");
        }
    }

    /// The whole of what was written, as the operations of a plan, and what they make of the base;
    /// nothing if there is no base or nothing was written.
    ///
    /// # Errors
    /// Why a plan cannot say it is an inner error, in words for people.
    pub async fn patch(&self) -> Result<Result<Option<Patch>, String>, StepError> {
        let state = self.state.lock().await;
        let overlay = state.overlay();
        let Some(base) = self.base.as_ref().filter(|_| !overlay.paths.is_empty()) else {
            return Ok(Ok(None));
        };
        drop(state);
        let place = (self.shop.workplaces)(self.run).join("look");
        remove(&place).await?;
        let tree = self.clone_base(base, &place).await?;
        let is_there = paths(&tree).await?;
        let blobs = &self.shop.blobs;
        let read = |digest: &_| blobs.get(digest).ok().flatten();
        let operations = overlay.operations(|path| is_there.get(path).map(|base| base.mode), read);
        let operations = match operations {
            Ok(operations) => operations,
            Err(why) => return Ok(Err(why)),
        };
        let applied = tree.try_apply(&operations, &PatchLimits::default()).await;
        remove(&place).await?;
        match applied {
            Ok(applied) => Ok(Ok(Some(Patch {
                operations,
                applied,
            }))),
            Err(matrix_worktree::PatchError::Git(error)) => Err(later(error)),
            Err(refused) => Ok(Err(refused.to_string())),
        }
    }

    async fn clone_base(&self, base: &Base, place: &Path) -> Result<WorkTree, StepError> {
        let gone = |error: &dyn std::fmt::Display| {
            let what = format!(
                "the repository `{}` cannot be used: {error}",
                base.repository
            );
            StepError::permanent("repository", what)
        };
        let repository = Repository::open(&self.shop.git, Path::new(&base.repository)).await;
        let repository = repository.map_err(|error| gone(&error))?;
        let commit: CommitId = base.commit.parse().map_err(|error| gone(&error))?;
        let cloned = clone_at(&repository, &commit, place).await;
        cloned.map_err(|error| gone(&error))
    }

    /// Lays the tree out anew and opens its sandbox.
    async fn lay_out(&self, overlay: Overlay, order: u64) -> Result<Open, StepError> {
        // Each time in a place of its own: a sandbox that is just ending gives back the files of the
        // place that it had.
        let all = (self.shop.workplaces)(self.run);
        tokio::fs::create_dir_all(&all).await.map_err(later)?;
        let place = tempfile::Builder::new().prefix("tree-").tempdir_in(&all);
        let root = place.map_err(later)?.keep();
        let base = match &self.base {
            Some(base) => paths(&self.clone_base(base, &root).await?).await?,
            None => BTreeMap::new(),
        };
        let (blobs, place) = (self.shop.blobs.clone(), root.clone());
        let laid = tokio::task::spawn_blocking(move || {
            lay(&place, &overlay, &blobs)?;
            Ok::<_, StepError>(overlay)
        });
        let overlay = laid.await.map_err(later)??;
        let live = self.sandbox(&root).await?;
        // The sandbox may give the files to its own user, which changes their status; nothing has
        // run in it yet.
        let place = root.clone();
        let scan = tokio::task::spawn_blocking(move || Scan::of(&place, base, overlay));
        let scan = scan.await.map_err(later)?.map_err(later)?;
        sweep(&all, &root).await;
        Ok(Open {
            live,
            scan,
            root,
            order,
        })
    }

    async fn sandbox(&self, root: &Path) -> Result<Live, StepError> {
        let machine = &self.shop.machine;
        let sandbox = machine.trusted(Profile::Service).await;
        let sandbox = sandbox.map_err(|why| StepError::permanent("sandbox", why))?;
        let mut spec = LiveSpec {
            work_tree: root.to_owned(),
            mounts: Vec::new(),
            path: Vec::new(),
            env: environment(),
            limits: Limits {
                wall: STAY,
                cpu: STAY,
                ..Limits::default()
            },
        };
        for (_, toolchain) in machine.toolchains().await.all() {
            spec.mounts.extend(toolchain.mounts.iter().cloned());
            spec.path.extend(toolchain.path.iter().cloned());
            for (name, value) in &toolchain.env {
                spec.env
                    .entry(name.clone())
                    .or_insert_with(|| value.clone());
            }
        }
        sandbox.open(spec).await.map_err(later)
    }
}

/// What an agent made of a repository.
#[derive(Debug, Clone)]
pub struct Patch {
    /// As the operations of a plan.
    pub operations: Vec<Operation>,
    /// What they make of the base.
    pub applied: Applied,
}

impl Bench<'_> {
    /// The sandbox.
    ///
    /// # Errors
    /// If there is none, which cannot be: a bench is made with one.
    pub fn live(&self) -> Result<&Live, StepError> {
        let open = self.state.open.as_ref().map(|open| &open.live);
        open.ok_or_else(|| later("the sandbox is gone"))
    }

    /// Looks at what was written and keeps it.
    pub async fn keep(mut self) -> Result<Kept, StepError> {
        let next = self.state.newest() + 1;
        let blobs = self.shop.blobs.clone();
        let mut open = self
            .state
            .open
            .take()
            .ok_or_else(|| later("the sandbox is gone"))?;
        let looked = tokio::task::spawn_blocking(move || {
            let before = open.scan.overlay().clone();
            let looked = open.scan.look(&open.root, &blobs);
            (looked, before, open)
        });
        let (looked, before, mut open) = looked.await.map_err(later)?;
        match looked {
            Ok(()) => {
                let changes = open.scan.overlay().since(&before);
                // It is laid out so far once the result is recorded; if that fails, it is not.
                open.order = next;
                self.state.open = Some(open);
                Ok(Kept::Wrote(Wrote {
                    order: next,
                    changes,
                }))
            }
            // The tree is laid out again when it is needed next.
            Err(ScanError::TooMuch(why)) => Ok(Kept::Refused(why)),
            Err(ScanError::Store(error)) => Err(error.into()),
            Err(error) => Err(later(error)),
        }
    }
}

/// The files and links of a work tree's base.
async fn paths(tree: &WorkTree) -> Result<BTreeMap<String, scan::Base>, StepError> {
    let listing = tree.base_listing().await.map_err(later)?;
    let paths = listing
        .iter()
        .filter(|(_, entry)| entry.mode != EntryMode::Submodule);
    let paths = paths.filter_map(|(path, entry)| {
        let base = scan::Base {
            mode: entry.mode.as_str(),
            id: entry.id.clone(),
        };
        Some((std::str::from_utf8(path).ok()?.to_owned(), base))
    });
    Ok(paths.collect())
}

/// Makes a freshly laid out base what an overlay says.
fn lay(root: &Path, overlay: &Overlay, blobs: &Blobs) -> Result<(), StepError> {
    // First what goes: it may stand where others are to be.
    for (path, changed) in &overlay.paths {
        if *changed == Changed::Gone {
            let place = plain(root, path)?;
            match std::fs::remove_file(place) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(later(error));
                }
                _ => {}
            }
        }
    }
    for (path, changed) in &overlay.paths {
        let place = plain(root, path)?;
        if *changed != Changed::Gone {
            let parent = place.parent().unwrap_or(root);
            std::fs::create_dir_all(parent).map_err(later)?;
            if place.is_symlink() {
                std::fs::remove_file(&place).map_err(later)?;
            }
        }
        match changed {
            Changed::Gone => {}
            Changed::Link { target } => {
                drop(std::fs::remove_file(&place));
                std::os::unix::fs::symlink(target, &place).map_err(later)?;
            }
            Changed::File {
                content,
                executable,
                ..
            } => {
                let bytes = blobs.get(content)?;
                let missing = || later(format_args!("blob {content} of `{path}` is missing"));
                std::fs::write(&place, bytes.ok_or_else(missing)?).map_err(later)?;
                let mode = if *executable { 0o755 } else { 0o644 };
                let mode = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(&place, mode).map_err(later)?;
            }
        }
    }
    Ok(())
}

/// A path below the root that leads through no link; a link that is to be replaced stands last.
fn plain(root: &Path, path: &str) -> Result<PathBuf, StepError> {
    let bad = || StepError::permanent("path", format!("`{path}` does not stay in the work tree"));
    let mut place = root.to_owned();
    let parts: Vec<_> = Path::new(path).components().collect();
    for (index, part) in parts.iter().enumerate() {
        let std::path::Component::Normal(name) = part else {
            return Err(bad());
        };
        place.push(name);
        if index + 1 < parts.len() && place.is_symlink() {
            return Err(bad());
        }
    }
    Ok(place)
}

/// What every command is told beside what toolchains need: build output belongs beside the tree.
fn environment() -> BTreeMap<String, String> {
    let pairs = [
        ("CARGO_TARGET_DIR", "/tmp/target"),
        ("GIT_CONFIG_COUNT", "1"),
        ("GIT_CONFIG_KEY_0", "safe.directory"),
        ("GIT_CONFIG_VALUE_0", "*"),
        ("GIT_OPTIONAL_LOCKS", "0"),
        ("GIT_PAGER", "cat"),
        ("PAGER", "cat"),
        ("TERM", "dumb"),
        ("CI", "true"),
    ];
    let pairs = pairs.into_iter();
    pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect()
}

/// Removes the trees that were laid out before this one. What cannot be removed goes with the run.
async fn sweep(all: &Path, newest: &Path) {
    for entry in std::fs::read_dir(all).into_iter().flatten().flatten() {
        let path = entry.path();
        let is_tree = entry.file_name().to_string_lossy().starts_with("tree-");
        if is_tree && path != newest {
            let _ = copy::remove_tree(&path).await;
        }
    }
}

async fn remove(path: &Path) -> Result<(), StepError> {
    if path.exists() {
        copy::remove_tree(path).await.map_err(later)?;
    }
    Ok(())
}

/// Something that may work another time.
pub(crate) fn later(error: impl std::fmt::Display) -> StepError {
    StepError::transient("workspace", error.to_string())
}
