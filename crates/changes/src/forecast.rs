//! What would come of a plan, told before anything runs: the patch, the checks there are, the least
//! risk, and what the target would get.
//!
//! A forecast needs no data directory and changes none. What only running tells is not in it: the
//! results of the checks, and whatever a build adds to the release.

use matrix_core::{Digest, canonical};
use matrix_evidence::Kind;
use matrix_identity::Risk;
use matrix_store::StoreError;
use matrix_worktree::{Git, LooseHunk, PatchError, TreeId};
use serde::Serialize;

use crate::error::ChangeError;
use crate::intake::{Accepted, Look, Submission, name_of};
use crate::layout::Layout;
use crate::plan::Plan;
use crate::risk::{Assessment, RiskInput, assess};
use crate::target::{DirectoryTarget, DryRun, Payload, Target, TargetError};
use crate::verify::facts::Facts;
use crate::verify::project::{CheckJob, Project};
use crate::verify::result::Side;
use crate::view::risk_sentences;

/// What would come of a plan.
#[derive(Debug, Clone, Serialize)]
pub struct Forecast {
    /// The plan with all defaults.
    pub plan: Plan,
    /// Its canonical digest.
    pub digest: Digest,
    /// The repository, by the name that a change of it has.
    pub repository: String,
    /// The commit that the plan's base revision names now.
    pub base: String,
    /// What the plan makes of it.
    pub patch: PatchForecast,
    /// The checks there are, by their names.
    pub checks: Vec<CheckForecast>,
    /// The risk as far as the patch alone tells; results can only raise it.
    pub risk: Risk,
    /// Why.
    pub risk_reasons: Vec<String>,
    /// The target's name.
    pub target: String,
    /// What the target would get, without the outputs of a build.
    pub dry_run: DryRun,
    /// What approvals would bind to, if the build adds nothing.
    pub dry_run_digest: Digest,
}

/// What a plan makes of its base revision.
#[derive(Debug, Clone, Serialize)]
pub struct PatchForecast {
    /// The git tree of the result.
    pub tree: TreeId,
    /// SHA-256 of the canonical diff.
    pub digest: Digest,
    /// How many paths differ.
    pub files: usize,
    /// Lines that come.
    pub added_lines: u64,
    /// Lines that go.
    pub deleted_lines: u64,
    /// Hunks that did not stand where they said, to the byte.
    pub loose: Vec<LooseHunk>,
}

/// A check there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckForecast {
    /// Its name, such as `test_results/cargo`.
    pub check: String,
    /// What it gives evidence of.
    pub kind: Kind,
    /// The revisions it would run on: `base`, `head`.
    pub sides: Vec<Side>,
}

impl From<&CheckJob> for CheckForecast {
    fn from(job: &CheckJob) -> Self {
        Self {
            check: job.id.clone(),
            kind: job.kind,
            sides: job.sides(),
        }
    }
}

/// Tells what would come of a submission; `layout` says where targets lie.
pub async fn forecast(
    git: &Git,
    layout: &Layout,
    submission: &Submission,
) -> Result<Forecast, ChangeError> {
    let accepted = submission.accept(git).await?;
    let base = Look::at(&accepted.repository, &accepted.base).await?;
    let head = &accepted.look.tree;
    let laid_out = async {
        base.tree.lay_out(base.tree.base_tree()).await?;
        head.lay_out(&accepted.applied.tree).await
    };
    laid_out.await.map_err(PatchError::Git)?;
    let repository = name_of(accepted.repository.path());
    let root = layout.target(&repository, &accepted.target);
    let config = accepted.config.clone();
    let (before, after) = (base.tree.path().to_owned(), head.path().to_owned());
    let looked = move || {
        let project = Project::detect(&before, &after, config.as_ref());
        (project, Payload::of(&after, &[]))
    };
    let unreadable = |source| TargetError::Io {
        target: accepted.target.clone(),
        what: "be compared with the patch".into(),
        source,
    };
    let (project, payload) = tokio::task::spawn_blocking(looked)
        .await
        .map_err(|error| unreadable(std::io::Error::other(error)))?;
    let payload = payload.map_err(unreadable)?;
    let config = accepted.target_config.clone();
    let target = DirectoryTarget::to_look_at(&*accepted.target, root, config);
    let dry_run = target.dry_run(&payload).await?;
    let risk = risk_of(&accepted, &project);
    Ok(Forecast {
        checks: project.jobs.iter().map(CheckForecast::from).collect(),
        risk: risk.level,
        risk_reasons: risk_sentences(&risk),
        dry_run_digest: canonical::digest(&dry_run).map_err(StoreError::corrupt)?,
        dry_run,
        patch: patch_of(&accepted),
        base: accepted.base.to_string(),
        repository,
        plan: accepted.plan,
        digest: accepted.plan_digest,
        target: accepted.target,
    })
}

fn patch_of(accepted: &Accepted) -> PatchForecast {
    let applied = &accepted.applied;
    PatchForecast {
        tree: applied.tree.clone(),
        digest: applied.facts.digest,
        files: applied.facts.files.len(),
        added_lines: applied.facts.added_lines(),
        deleted_lines: applied.facts.deleted_lines(),
        loose: applied.loose.clone(),
    }
}

fn risk_of(accepted: &Accepted, project: &Project) -> Assessment {
    let mut tests = project.of_kind(Kind::TestResults);
    let facts = Facts {
        no_tests_found: !tests.any(|job| job.invocation(Side::Head).is_some()),
        ..Facts::of_project(project)
    };
    let raised = accepted.plan.risk.as_ref();
    assess(&RiskInput {
        files: &accepted.applied.facts.files,
        facts: &facts,
        environment: accepted.target_config.environment,
        raised: raised.map(|risk| (risk.raise, risk.because.as_str())),
    })
}
