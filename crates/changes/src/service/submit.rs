//! Submits a change: plan and repository are looked at first, so that what cannot work is refused
//! before a run exists.

use std::path::PathBuf;

use matrix_core::{Action, Authorised, RunId};
use matrix_engine::{Beside, Engine, NewRun};
use matrix_store::StoreError;
use matrix_worktree::{CommitId, Repository};

use crate::error::ChangeError;
use crate::function::KIND;
use crate::plan::Plan;
use crate::stage::ChangeRequest;
use crate::verify::config::{Environment, FILE_NAME, ProjectConfig, TargetConfig, TargetKind};
use crate::workshop::Workshop;

/// The target there always is: a release directory of the data directory.
const LOCAL: &str = "local";

/// How many releases the implicit target keeps.
const LOCAL_KEEP: u32 = 5;

/// The most bytes of a `matrix.yaml`.
const CONFIG_BYTES: u64 = 256 * 1024;

/// Submits a change.
#[derive(Debug, Clone)]
pub struct ChangeSubmit {
    /// The repository's path on this machine.
    pub repository: PathBuf,
    /// The plan's text.
    pub plan: Vec<u8>,
    /// The plan's file name, for messages.
    pub plan_name: String,
    /// The target's name; it wins over the plan's.
    pub target: Option<String>,
}

impl Action for ChangeSubmit {
    const NAME: &'static str = "change_submit";
}

/// Creates the run of a change, and in the same transaction whatever has to stand beside it.
pub async fn submit(
    engine: &Engine,
    workshop: &Workshop,
    request: Authorised<ChangeSubmit>,
    beside: Beside,
) -> Result<RunId, ChangeError> {
    let (caller, submit) = request.into_parts();
    let plan = Plan::parse(&submit.plan, &submit.plan_name)?;
    let repository = Repository::open(workshop.git(), &submit.repository).await?;
    let base = repository.resolve(&plan.base).await?;
    let config = config_at(&repository, &base).await?;
    let name = submit
        .target
        .or_else(|| plan.target.clone())
        .unwrap_or_else(|| LOCAL.into());
    let target_config = target_of(config, &name)?;
    workshop.sandbox().await?;
    let plan_digest = plan.digest().map_err(StoreError::corrupt)?;
    // One name for one repository, whatever way it was given: its targets are found by it.
    let repository = std::fs::canonicalize(&submit.repository)
        .or_else(|_| std::path::absolute(&submit.repository))
        .unwrap_or(submit.repository);
    let input = ChangeRequest {
        repository: repository.to_string_lossy().into_owned(),
        base: base.to_string(),
        plan_digest,
        target: name,
        target_config,
        plan,
    };
    let new = NewRun {
        kind: KIND.into(),
        title: input.plan.title.clone(),
        input: serde_json::to_value(input).map_err(StoreError::corrupt)?,
        caller,
    };
    Ok(engine.create_run_beside(new, beside).await?)
}

async fn config_at(
    repository: &Repository,
    base: &CommitId,
) -> Result<Option<ProjectConfig>, ChangeError> {
    let Some(bytes) = repository.file_at(base, FILE_NAME, CONFIG_BYTES).await? else {
        return Ok(None);
    };
    ProjectConfig::parse(&bytes)
        .map(Some)
        .map_err(|source| ChangeError::Config {
            commit: base.to_string(),
            source,
        })
}

fn target_of(config: Option<ProjectConfig>, name: &str) -> Result<TargetConfig, ChangeError> {
    let mut targets = config.map(|config| config.targets).unwrap_or_default();
    if let Some(target) = targets.remove(name) {
        return Ok(target);
    }
    if name == LOCAL {
        return Ok(TargetConfig {
            kind: TargetKind::Directory,
            environment: Environment::Development,
            start: None,
            stop: None,
            health: None,
            port: None,
            keep: LOCAL_KEEP,
        });
    }
    let mut known: Vec<&str> = targets.keys().map(String::as_str).collect();
    known.push(LOCAL);
    Err(ChangeError::Target {
        name: name.to_owned(),
        known: known.join(", "),
    })
}
