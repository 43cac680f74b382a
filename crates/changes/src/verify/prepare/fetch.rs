//! One fetch: a copy of manifests and lock files, a sandbox with a narrow way out, and what comes
//! of it kept under the digest of what decided it.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use matrix_core::Digest;
use matrix_sandbox::egress::{Destination, Egress, Rules};
use matrix_sandbox::spec::{Access, Ending, Mount, Network, Profile, SandboxSpec, Stream};
use matrix_worktree::copy::remove_tree_blocking;

use super::{Preparer, Provision, Ready};
use crate::verify::detect::Ecosystem;
use crate::verify::error::VerifyError;
use crate::verify::outputs;
use crate::verify::result::cut;
use crate::verify::words;
use matrix_sandbox::toolchain::Toolchains;

/// Where our own files lie in the copy.
pub(super) const OURS: &str = ".matrix";
/// What most fetches bring.
pub(super) const DEPENDENCIES: &str = "dependencies";
const PROXY_PORT: u16 = 3128;
const FORMAT: u32 = 3;

/// What a project directory needs.
pub(super) enum Need {
    /// Nothing from outside.
    Nothing,
    /// Nothing, and what a reader should know about that.
    Told(Vec<String>),
    /// Something that cannot be fetched, and why.
    Cannot(String),
    /// This.
    Fetch(Box<Fetch>),
}

impl Need {
    /// Nothing, with these notes.
    pub(super) fn told(notes: Vec<String>) -> Self {
        if notes.is_empty() {
            Self::Nothing
        } else {
            Self::Told(notes)
        }
    }
}

/// What to fetch and how.
pub(super) struct Fetch {
    pub(super) ecosystem: Ecosystem,
    /// The project's directory, relative to the root.
    pub(super) directory: String,
    /// What the copy holds, by path.
    pub(super) files: BTreeMap<String, Vec<u8>>,
    pub(super) command: Vec<String>,
    pub(super) env: BTreeMap<String, String>,
    /// The only destinations; none means that it runs without network.
    pub(super) hosts: BTreeSet<Destination>,
    /// Paths in the copy whose trees are kept.
    pub(super) keep: Keep,
    /// What to do with standard output.
    pub(super) finish: fn(&Fetch, stdout: &str, kept: &Path) -> Result<(), String>,
    /// How a check sees what was kept.
    pub(super) show: fn(&Fetch, kept: &Path) -> Ready,
    /// What a reader should know, such as packages that were left out.
    pub(super) notes: Vec<String>,
    /// What a person reads that could not be fetched: `dependencies`.
    pub(super) what: &'static str,
}

/// Which trees of the copy are kept.
pub(super) enum Keep {
    /// These.
    Paths(Vec<String>),
    /// Every directory of this name that is not inside another of that name.
    Named(&'static str),
}

impl Fetch {
    /// Where a check sees what was kept.
    pub(super) fn target(&self) -> PathBuf {
        let name = self.ecosystem.as_str();
        if self.directory.is_empty() {
            Path::new("/deps").join(name)
        } else {
            Path::new("/deps").join(format!("{name}-{}", self.directory.replace('/', "-")))
        }
    }

    /// The mount of everything that was kept.
    pub(super) fn mount(&self, kept: &Path) -> Mount {
        Mount {
            source: kept.to_owned(),
            target: self.target(),
            access: Access::ReadOnly,
        }
    }

    /// What decided what comes of it.
    pub(super) fn key(&self, toolchains: &Toolchains) -> Digest {
        let version = toolchains
            .get(self.ecosystem)
            .map(|found| found.version.as_str());
        // Where the copies of the host's own cache lie does not decide what comes of it.
        let files: BTreeMap<&str, String> = self
            .files
            .iter()
            .filter(|(path, _)| !path.contains(".matrix/cargo-home/registry/"))
            .map(|(path, bytes)| (path.as_str(), Digest::of(bytes).to_string()))
            .collect();
        let decided = serde_json::json!({
            "format": FORMAT,
            "ecosystem": self.ecosystem,
            "directory": self.directory,
            "version": version,
            "files": files,
        });
        Digest::of(decided.to_string())
    }

    /// Takes it from the cache or fetches it.
    pub(super) async fn provision(&self, preparer: &Preparer) -> Result<Provision, VerifyError> {
        let key = self.key(&preparer.toolchains);
        let kept = preparer.kept(key);
        if !kept.join("complete").is_file() {
            match self.fetch(preparer, &kept).await? {
                Ok(()) => {}
                Err(reason) => return Ok(Provision::Unavailable { reason }),
            }
        }
        let mut ready = (self.show)(self, &kept);
        ready.key = Some(key);
        ready.notes.clone_from(&self.notes);
        Ok(Provision::Ready(ready))
    }

    async fn fetch(
        &self,
        preparer: &Preparer,
        kept: &Path,
    ) -> Result<Result<(), String>, VerifyError> {
        let Some(toolchain) = preparer.toolchains.get(self.ecosystem) else {
            return Ok(Err(Toolchains::missing(self.ecosystem)));
        };
        let place = Place::make(&preparer.scratch)?;
        self.lay(&place.work())?;
        let io = |path: &Path| VerifyError::io("opening the way out for dependencies", path);
        let (network, egress) = if self.hosts.is_empty() {
            (Network::None, None)
        } else {
            let socket = place.root.join("egress");
            let mut rules = Rules::allow(self.hosts.iter().cloned());
            rules.upstream.clone_from(&preparer.upstream);
            let egress = Egress::start(&socket, rules).map_err(io(&socket))?;
            (
                Network::Egress {
                    socket,
                    port: PROXY_PORT,
                },
                Some(egress),
            )
        };
        let mut env = toolchain.env.clone();
        env.extend(self.env.clone());
        if egress.is_some() {
            let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
            for name in ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"] {
                env.insert(name.to_owned(), proxy.clone());
            }
        }
        let spec = SandboxSpec {
            profile: Profile::Prepare,
            command: self.command.iter().map(OsString::from).collect(),
            cwd: crate::verify::command::inside_work(&self.directory),
            env,
            work_tree: place.work(),
            mounts: toolchain.mounts.clone(),
            path: toolchain.path.clone(),
            network,
            limits: preparer.limits.clone(),
        };
        let output = Arc::new(Mutex::new((Vec::new(), Vec::new())));
        let outcome = preparer
            .executor
            .execute(spec, sink(&output, preparer), preparer.cancel.clone())
            .await
            .map_err(|error| VerifyError::Sandbox {
                job: format!("prepare/{}", self.ecosystem.as_str()),
                reason: error.reason,
            })?;
        if outcome.ending == Ending::Cancelled {
            return Err(VerifyError::Cancelled {
                job: format!("prepare/{}", self.ecosystem.as_str()),
            });
        }
        let (stdout, log) =
            std::mem::take(&mut *output.lock().unwrap_or_else(PoisonError::into_inner));
        if !outcome.success() {
            let refused = egress
                .map(|egress| egress.take_denials())
                .unwrap_or_default();
            let refused: Vec<String> = refused.into_iter().map(|denial| denial.reason).collect();
            return Ok(Err(self.complaint(&outcome.ending, &log, &refused)));
        }
        self.keep(&place, &String::from_utf8_lossy(&stdout), kept)
    }

    /// What a person reads when fetching failed.
    fn complaint(&self, ending: &Ending, log: &[u8], refused: &[String]) -> String {
        let mut text = format!(
            "the {} of {} could not be fetched ({}): {}",
            self.what,
            self.ecosystem.as_str(),
            match ending {
                Ending::Exited { code } => format!("exit {code}"),
                Ending::LimitExceeded { limit } => format!("limit {limit:?}"),
                Ending::Signalled { signal } => format!("signal {signal}"),
                Ending::Cancelled => String::from("cancelled"),
            },
            cut(&words::telling(&String::from_utf8_lossy(log)), 400)
        );
        if let Some(first) = refused.first() {
            text.push_str("; refused: ");
            text.push_str(&cut(first, 200));
            text.push_str("; the operator's configuration can name further hosts and addresses");
        }
        text
    }

    fn lay(&self, work: &Path) -> Result<(), VerifyError> {
        for (path, bytes) in &self.files {
            let full = work.join(path);
            let parent = full.parent().unwrap_or(work);
            std::fs::create_dir_all(parent)
                .and_then(|()| std::fs::write(&full, bytes))
                .map_err(VerifyError::io("copying a manifest", &full))?;
        }
        let here = work.join(&self.directory);
        std::fs::create_dir_all(&here).map_err(VerifyError::io("copying a manifest", &here))
    }

    /// Moves what is kept to the cache; the last file written says that it is complete.
    fn keep(
        &self,
        place: &Place,
        stdout: &str,
        kept: &Path,
    ) -> Result<Result<(), String>, VerifyError> {
        let io = |path: &Path| VerifyError::io("keeping dependencies", path);
        let making = place.root.join("kept");
        let trees = match &self.keep {
            Keep::Paths(paths) => paths.clone(),
            Keep::Named(name) => named(&place.work(), name),
        };
        for tree in trees {
            let (from, to) = (place.work().join(&tree), making.join(&tree));
            let real = std::fs::symlink_metadata(&from).is_ok_and(|found| found.is_dir());
            if !real {
                continue;
            }
            let parent = to.parent().unwrap_or(&making);
            std::fs::create_dir_all(parent).map_err(io(parent))?;
            std::fs::rename(&from, &to).map_err(io(&to))?;
        }
        std::fs::create_dir_all(&making).map_err(io(&making))?;
        if let Err(reason) = (self.finish)(self, stdout, &making) {
            return Ok(Err(reason));
        }
        outputs::open_to_readers(&making)?;
        std::fs::write(making.join("complete"), "").map_err(io(&making))?;
        let parent = kept.parent().unwrap_or(kept);
        std::fs::create_dir_all(parent).map_err(io(parent))?;
        // The cache may lie on another file system than the copy: only then it is copied.
        let moved = std::fs::rename(&making, kept);
        if moved.is_err() && !kept.join("complete").is_file() {
            let nearby = parent.join(format!(".{}", file_name(&place.root)));
            outputs::copy_tree(&making, &nearby)?;
            std::fs::rename(&nearby, kept).map_err(io(kept))?;
        }
        Ok(Ok(()))
    }
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

type Output = Arc<Mutex<(Vec<u8>, Vec<u8>)>>;

fn sink(output: &Output, preparer: &Preparer) -> matrix_sandbox::spec::OutputSink {
    const MOST: usize = 8 << 20;
    let (output, forward) = (Arc::clone(output), preparer.log.clone());
    Box::new(move |stream: Stream, bytes: &[u8]| {
        if let Some(forward) = &forward {
            forward(stream, bytes);
        }
        let mut output = output.lock().unwrap_or_else(PoisonError::into_inner);
        if stream == Stream::Stdout && output.0.len() < MOST {
            output.0.extend_from_slice(bytes);
        }
        if output.1.len() < MOST {
            output.1.extend_from_slice(bytes);
        }
    })
}

/// Directories of a name, relative to the root, not looking into them or through symlinks.
fn named(root: &Path, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut waiting = vec![PathBuf::new()];
    while let Some(directory) = waiting.pop() {
        let Ok(entries) = std::fs::read_dir(root.join(&directory)) else {
            continue;
        };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let path = directory.join(entry.file_name());
            if entry.file_name() == name {
                found.extend(path.to_str().map(str::to_owned));
            } else if path.components().count() < 6 && found.len() < 200 {
                waiting.push(path);
            }
        }
    }
    found.sort();
    found
}

/// The directories of one fetch; they vanish with the value.
struct Place {
    root: PathBuf,
}

impl Place {
    fn make(scratch: &Path) -> Result<Self, VerifyError> {
        let io = |path: &Path| VerifyError::io("making a copy for dependencies", path);
        std::fs::create_dir_all(scratch).map_err(io(scratch))?;
        let root = tempfile::Builder::new()
            .prefix("prepare-")
            .tempdir_in(scratch)
            .map_err(io(scratch))?
            .keep();
        let place = Self { root };
        std::fs::create_dir(place.work()).map_err(io(&place.root))?;
        Ok(place)
    }

    fn work(&self) -> PathBuf {
        self.root.join("work")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = remove_tree_blocking(&self.root) {
            tracing::warn!(path = %self.root.display(), %error, "a throw-away copy stays");
        }
    }
}
