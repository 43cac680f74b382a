//! One attempt of one check: the entry for the durable step that wraps it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use matrix_core::{Clock, Digest};
use matrix_sandbox::spec::{Limits, Stream};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::attempt;
use super::audit;
use super::command;
use super::error::VerifyError;
use super::executor::Executor;
use super::outputs;
use super::prepare::Prepared;
use super::project::{CheckJob, Work};
use super::result::{CheckResult, Checked, Produced, Side, State};
use super::sbom;
use super::security;
use matrix_sandbox::toolchain::Toolchains;

/// Takes a check's log as it comes.
pub type LogSink = Arc<dyn Fn(Stream, &[u8]) + Send + Sync>;

/// One revision's files.
#[derive(Debug, Clone)]
pub struct Tree {
    /// The directory; it is only read.
    pub path: PathBuf,
    /// The git tree id or anything else that is the same only for the same files.
    pub id: String,
}

/// Everything an attempt needs beside the job.
#[derive(Clone)]
pub struct Context {
    /// The sandbox.
    pub executor: Arc<dyn Executor>,
    /// The host's toolchains.
    pub toolchains: Toolchains,
    /// Base's dependencies.
    pub base_prepared: Prepared,
    /// The change's dependencies.
    pub head_prepared: Prepared,
    /// The repository's name, for bills of materials.
    pub subject: String,
    /// Base's files.
    pub base: Tree,
    /// The change's files.
    pub head: Tree,
    /// The canonical diff from base to head.
    pub diff: Arc<[u8]>,
    /// Globs of what the build publishes.
    pub artifacts: Vec<String>,
    /// A directory for throw-away copies.
    pub scratch: PathBuf,
    /// A directory in which base's results are kept between changes; none keeps nothing.
    pub cache: Option<PathBuf>,
    /// A directory of OSV records; none skips the audit.
    pub vulnerabilities: Option<PathBuf>,
    /// Limits on one command; the wall clock is the check's own where it has one.
    pub limits: Limits,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Turns true when the check is not wanted any more.
    pub cancel: watch::Receiver<bool>,
    /// Where the log goes while it is made.
    pub log: Option<LogSink>,
}

impl Context {
    pub(crate) fn tree(&self, side: Side) -> &Tree {
        match side {
            Side::Base => &self.base,
            Side::Head => &self.head,
        }
    }

    pub(crate) fn prepared(&self, side: Side) -> &Prepared {
        match side {
            Side::Base => &self.base_prepared,
            Side::Head => &self.head_prepared,
        }
    }
}

/// Runs one attempt (counted from 1) of a check on one side.
///
/// # Errors
/// Only when nothing was learnt about the change: the sandbox did not start, the disk failed, the
/// caller cancelled. A check that cannot run here is a result that says so.
pub async fn run_check(
    job: &CheckJob,
    side: Side,
    attempt: u32,
    context: &Context,
) -> Result<Checked, VerifyError> {
    if !job.sides().contains(&side) {
        return Err(VerifyError::Side {
            job: job.id.clone(),
            side: side.as_str(),
        });
    }
    let began = context.clock.monotonic();
    let mut checked = match &job.work {
        Work::Command { .. } => command_check(job, side, attempt, context).await?,
        Work::Artifacts => artifacts(job, attempt, context).await,
        Work::SecurityScan => security::check(job, attempt, context).await,
        Work::DependencyAudit => audit::check(job, side, attempt, context).await?,
        Work::Sbom => sbom::check(job, attempt, context).await,
    };
    if !checked.result.cached {
        let took = context.clock.monotonic().saturating_sub(began);
        checked.result.duration_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
        if side == Side::Base && attempt == 1 {
            keep(job, context, &checked);
        }
    }
    Ok(checked)
}

/// What `matrix.yaml` names, where the repository has no build: files of the change itself.
async fn artifacts(job: &CheckJob, attempt: u32, context: &Context) -> Checked {
    let reason = String::from("no build was found; the artifacts are files of the repository");
    let mut result = CheckResult::not_run(&job.id, job.kind, Side::Head, attempt, reason);
    let (root, globs) = (context.head.path.clone(), context.artifacts.clone());
    let found = tokio::task::spawn_blocking(move || outputs::artifacts(&root, &globs)).await;
    let produced = match found.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(produced) => produced,
        Err(reason) => {
            result.state = State::Broken { reason };
            Vec::new()
        }
    };
    result.artifacts = produced.iter().map(Produced::reference).collect();
    Checked { result, produced }
}

async fn command_check(
    job: &CheckJob,
    side: Side,
    attempt: u32,
    context: &Context,
) -> Result<Checked, VerifyError> {
    if side == Side::Base
        && attempt == 1
        && let Some(kept) = kept(job, context)
    {
        return Ok(kept);
    }
    let Some(invocation) = job.invocation(side) else {
        return Err(VerifyError::Side {
            job: job.id.clone(),
            side: side.as_str(),
        });
    };
    let planned = command::plan(
        job.kind,
        invocation,
        &context.tree(side).path,
        &context.toolchains,
        context.prepared(side),
    );
    match planned {
        // On the heap, because callers hold several of these at once.
        Ok(planned) => Box::pin(attempt::run(job, side, attempt, &planned, context)).await,
        Err(missing) => {
            let mut result = CheckResult::not_run(&job.id, job.kind, side, attempt, missing.0);
            result.state = attempt::held_to_promise(job, side, &context.artifacts, result.state);
            Ok(Checked {
                result,
                produced: Vec::new(),
            })
        }
    }
}

/// What a base result depends on: files, command, tools, dependencies.
fn cache_key(job: &CheckJob, context: &Context) -> Option<Digest> {
    let invocation = job.invocation(Side::Base)?;
    matrix_core::canonical::digest(&serde_json::json!({
        "format": 1,
        "tree": context.base.id,
        "job": job.id,
        "invocation": invocation,
        "toolchains": context.toolchains.digest(),
        "prepared": context.base_prepared.digest(),
        "artifacts": context.artifacts,
        "limits": context.limits,
    }))
    .ok()
}

#[derive(Serialize, Deserialize)]
struct Kept {
    result: CheckResult,
    produced: Vec<KeptFile>,
}

#[derive(Serialize, Deserialize)]
struct KeptFile {
    name: String,
    media_type: String,
    digest: Digest,
}

/// The largest file that is kept with a cached result, in bytes.
const MAX_KEPT: usize = 16 << 20;

fn cache_directory(context: &Context, key: Digest) -> Option<PathBuf> {
    Some(
        context
            .cache
            .as_ref()?
            .join("base-results")
            .join(key.to_string()),
    )
}

/// Keeps a complete base result. A cache that cannot be written costs time, not the change.
fn keep(job: &CheckJob, context: &Context, checked: &Checked) {
    let complete = checked.result.state == State::Completed;
    let small = checked
        .produced
        .iter()
        .all(|file| file.bytes.len() <= MAX_KEPT);
    let Some(directory) = cache_key(job, context).and_then(|key| cache_directory(context, key))
    else {
        return;
    };
    if !complete || !small {
        return;
    }
    if let Err(error) = write_kept(&directory, checked) {
        tracing::warn!(job = job.id, %error, "a base result could not be kept");
    }
}

fn write_kept(directory: &Path, checked: &Checked) -> std::io::Result<()> {
    let parent = directory.parent().unwrap_or(directory);
    std::fs::create_dir_all(parent)?;
    let making = tempfile::Builder::new()
        .prefix(".making-")
        .tempdir_in(parent)?;
    let mut produced = Vec::new();
    for file in &checked.produced {
        let digest = Digest::of(&file.bytes);
        std::fs::write(making.path().join(digest.to_string()), &file.bytes)?;
        produced.push(KeptFile {
            name: file.name.clone(),
            media_type: file.media_type.clone(),
            digest,
        });
    }
    let kept = Kept {
        result: checked.result.clone(),
        produced,
    };
    std::fs::write(
        making.path().join("result.json"),
        serde_json::to_vec(&kept)?,
    )?;
    match std::fs::rename(making.path(), directory) {
        Ok(()) => {
            let _ = making.keep();
            Ok(())
        }
        // Another change was faster; its result is the same.
        Err(_) if directory.exists() => Ok(()),
        Err(error) => Err(error),
    }
}

/// An earlier result for the same base, or nothing if there is none or it is damaged.
fn kept(job: &CheckJob, context: &Context) -> Option<Checked> {
    let directory = cache_directory(context, cache_key(job, context)?)?;
    let bytes = std::fs::read(directory.join("result.json")).ok()?;
    let mut kept: Kept = serde_json::from_slice(&bytes).ok()?;
    let mut produced = Vec::new();
    for file in kept.produced {
        let bytes = std::fs::read(directory.join(file.digest.to_string())).ok()?;
        if Digest::of(&bytes) != file.digest {
            return None;
        }
        produced.push(Produced::new(file.name, &file.media_type, bytes));
    }
    kept.result.cached = true;
    Some(Checked {
        result: kept.result,
        produced,
    })
}
