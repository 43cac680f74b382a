//! What is looked at before a run exists: plan, repository, target, and whether the one applies to
//! the other. What cannot work is refused here, with the place in the plan.
//!
//! The plan is applied on a look at the repository ([`matrix_worktree::look_at`]) by the very code
//! that PATCH applies it with, so that the two cannot disagree.

use std::path::{Path, PathBuf};

use matrix_core::Digest;
use matrix_store::StoreError;
use matrix_worktree::{
    Applied, CommitId, Git, Limits, PatchError, Repository, RepositoryError, WorkTree, look_at,
};

use crate::error::ChangeError;
use crate::plan::{Plan, PlanErrors};
use crate::stage::ChangeRequest;
use crate::verify::config::{Environment, FILE_NAME, ProjectConfig, TargetConfig, TargetKind};

/// The target there always is: a release directory of the data directory.
const LOCAL: &str = "local";

/// How many releases the implicit target keeps.
const LOCAL_KEEP: u32 = 5;

/// The most bytes of a `matrix.yaml`.
const CONFIG_BYTES: u64 = 256 * 1024;

/// A plan for a repository, as somebody hands it in.
#[derive(Debug, Clone)]
pub struct Submission {
    /// The repository's path on this machine.
    pub repository: PathBuf,
    /// The plan's text.
    pub plan: Vec<u8>,
    /// The plan's file name, for messages.
    pub plan_name: String,
    /// The target's name; it wins over the plan's.
    pub target: Option<String>,
}

/// A submission that can become a change.
pub(crate) struct Accepted {
    pub(crate) plan: Plan,
    pub(crate) plan_digest: Digest,
    pub(crate) repository: Repository,
    pub(crate) base: CommitId,
    /// What base's `matrix.yaml` says, if it has one.
    pub(crate) config: Option<ProjectConfig>,
    /// The target's name.
    pub(crate) target: String,
    pub(crate) target_config: TargetConfig,
    /// What the plan makes of the base revision.
    pub(crate) applied: Applied,
    /// The look it was applied on; it goes with this value.
    pub(crate) look: Look,
}

/// A work tree that is only looked at, in a directory that goes with it.
pub(crate) struct Look {
    pub(crate) tree: WorkTree,
    _directory: tempfile::TempDir,
}

impl Look {
    /// A look at a commit; no file is laid out yet.
    pub(crate) async fn at(
        repository: &Repository,
        commit: &CommitId,
    ) -> Result<Self, RepositoryError> {
        let directory = tempfile::Builder::new().prefix("matrix-look-").tempdir();
        let directory = directory.map_err(|error| RepositoryError::Destination {
            path: std::env::temp_dir(),
            why: error.to_string(),
        })?;
        Ok(Self {
            tree: look_at(repository, commit, directory.path()).await?,
            _directory: directory,
        })
    }
}

impl Submission {
    /// Looks at everything that can be told before anything runs.
    pub(crate) async fn accept(&self, git: &Git) -> Result<Accepted, ChangeError> {
        let plan = Plan::parse(&self.plan, &self.plan_name)?;
        let plan_digest = plan.digest().map_err(StoreError::corrupt)?;
        let repository = Repository::open(git, &self.repository).await?;
        let base = repository.resolve(&plan.base).await?;
        let config = config_at(&repository, &base).await?;
        let wanted = self.target.clone().or_else(|| plan.target.clone());
        let target = wanted.unwrap_or_else(|| LOCAL.into());
        let target_config = target_of(config.as_ref(), &target)?;
        let look = Look::at(&repository, &base).await?;
        let limits = Limits::default();
        let tried = look.tree.try_apply(&plan.operations, &limits).await;
        let applied = tried.map_err(|error| self.refused(error))?;
        Ok(Accepted {
            plan,
            plan_digest,
            repository,
            base,
            config,
            target,
            target_config,
            applied,
            look,
        })
    }

    fn refused(&self, error: PatchError) -> ChangeError {
        match error {
            PatchError::Refused(refusals) => {
                PlanErrors::refused(&self.plan, &self.plan_name, &refusals).into()
            }
            other => other.into(),
        }
    }
}

impl Accepted {
    /// The input of the change's run.
    pub(crate) fn into_request(self) -> ChangeRequest {
        ChangeRequest {
            repository: name_of(self.repository.path()),
            base: self.base.to_string(),
            plan_digest: self.plan_digest,
            target: self.target,
            target_config: self.target_config,
            plan: self.plan,
        }
    }
}

/// The one name of a repository, whatever way it was given: its targets are found by it.
pub fn name_of(path: &Path) -> String {
    let absolute = std::fs::canonicalize(path).or_else(|_| std::path::absolute(path));
    let absolute = absolute.unwrap_or_else(|_| path.to_owned());
    absolute.to_string_lossy().into_owned()
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

/// The target of a change of a revision, by its name or the one there always is.
pub(crate) async fn aim(
    git: &Git,
    repository: &Path,
    commit: &str,
    target: Option<String>,
) -> Result<(String, TargetConfig), ChangeError> {
    let repository = Repository::open(git, repository).await?;
    let commit = repository.resolve(commit).await?;
    let config = config_at(&repository, &commit).await?;
    let target = target.unwrap_or_else(|| LOCAL.into());
    let target_config = target_of(config.as_ref(), &target)?;
    Ok((target, target_config))
}

fn target_of(config: Option<&ProjectConfig>, name: &str) -> Result<TargetConfig, ChangeError> {
    let targets = config.map(|config| &config.targets);
    if let Some(target) = targets.and_then(|targets| targets.get(name)) {
        return Ok(target.clone());
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
    let known = targets.into_iter().flat_map(|targets| targets.keys());
    let mut known: Vec<&str> = known.map(String::as_str).collect();
    known.push(LOCAL);
    Err(ChangeError::Target {
        name: name.to_owned(),
        known: known.join(", "),
    })
}
