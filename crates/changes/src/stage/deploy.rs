//! DEPLOY: exactly what was approved is put on the target, once, and taken back if it does not
//! work.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use matrix_core::id::{DeploymentId, ReleaseId};
use matrix_core::{Digest, Scope, Timestamp};
use matrix_engine::{RetryPolicy, Run, RunError, Step, StepContext, StepError};
use matrix_evidence::ArtifactRef;
use matrix_store::tables::releases::{self, DeploymentRow};
use matrix_store::{StoreError, Tx};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ChangeRequest;
use super::patch::{self, Patch, Trees};
use crate::error::{ending, later};
use crate::target::{Applied, DryRun, HealthReport, Order, Outlook, Payload, TargetError};
use crate::workshop::Workshop;

/// How long a new deployment has to become healthy.
const HEALTH_PATIENCE: Duration = Duration::from_secs(30);

/// How often it is asked.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// The ids of what a change will leave behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// The deployment.
    pub deployment: DeploymentId,
    /// The release.
    pub release: ReleaseId,
}

/// How an attempt to deploy ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum Deployed {
    /// It is there.
    Applied(Applied),
    /// The target changed after the gate: its dry run is another one now, so nothing was done.
    Stale,
}

/// What a change puts on its target: its files, with the outputs of its build over them.
#[derive(Debug, Clone, Copy)]
pub struct Delivery<'a> {
    /// The run.
    pub run: &'a Run,
    /// The stages' tools.
    pub workshop: &'a Workshop,
    /// What was asked.
    pub request: &'a ChangeRequest,
    /// What it made.
    pub patch: &'a Patch,
    /// What its build gave.
    pub outputs: &'a [ArtifactRef],
}

impl Delivery<'_> {
    /// The digest of everything that is delivered.
    pub async fn manifest(&self) -> Result<Digest, RunError> {
        let step = Step::read("payload").input(&(&self.patch.tree, self.outputs));
        self.run
            .step(step, |_| async {
                self.payload().await?.manifest.digest().map_err(later)
            })
            .await
    }

    /// The files themselves; they are laid out again if a crash or a person removed them.
    pub async fn payload(&self) -> Result<Payload, StepError> {
        let Self {
            run,
            workshop,
            request,
            patch,
            outputs,
        } = *self;
        let trees = patch::ensure(workshop, request, run.id(), patch).await?;
        let directory = workshop.layout().work(run.id()).join("outputs");
        std::fs::create_dir_all(&directory).map_err(later)?;
        let mut over = Vec::new();
        for output in outputs {
            let file = directory.join(output.digest.to_string());
            if !file.exists() {
                let bytes = patch::kept(workshop, &output.digest)?;
                lay_out(&directory, &file, &bytes).map_err(later)?;
            }
            over.push((PathBuf::from(&output.name), file));
        }
        let Trees { head, .. } = trees;
        tokio::task::spawn_blocking(move || Payload::of(&head, &over))
            .await
            .map_err(later)?
            .map_err(later)
    }
}

/// Writes an output beside its place and renames it, so that half of one is never taken for it.
/// Outputs of a build are programs as a rule; a mode is not kept with an artifact's bytes.
fn lay_out(directory: &Path, place: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let file = tempfile::NamedTempFile::new_in(directory)?;
    std::fs::write(file.path(), bytes)?;
    std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(0o755))?;
    file.persist(place)?;
    Ok(())
}

/// Chooses the ids once.
pub async fn names(run: &Run, workshop: &Workshop) -> Result<Names, RunError> {
    run.step(Step::read("names"), |_| async {
        let (clock, entropy) = (&**workshop.clock(), &**workshop.entropy());
        Ok(Names {
            deployment: DeploymentId::generate(clock, entropy),
            release: ReleaseId::generate(clock, entropy),
        })
    })
    .await
}

/// Applies what was approved. A target that changed since the gate is left as it is.
pub async fn apply(
    delivery: &Delivery<'_>,
    approved: &DryRun,
    names: Names,
) -> Result<Deployed, RunError> {
    let Delivery {
        run,
        workshop,
        request,
        ..
    } = *delivery;
    let digest = approved.digest()?;
    let target = workshop.target(request);
    let order = move |context: &StepContext| Order {
        deployment: names.deployment,
        run: context.run,
        epoch: context.epoch,
    };
    let probed = Arc::clone(&target);
    let row = deployment_row(run, request, names.deployment);
    let step = Step::external("deploy")
        .input(&(names.deployment, digest))
        .probe(move |context| {
            let target = Arc::clone(&probed);
            Box::pin(async move {
                let found = target.find(order(&context)).await.map_err(refused)?;
                Ok(found.map(Deployed::Applied))
            })
        })
        .project(move |tx, deployed: Deployed, at| match deployed {
            Deployed::Applied(applied) => record(tx, &row, &applied, at),
            Deployed::Stale => Ok(()),
        });
    run.step(step, |context| {
        let target = Arc::clone(&target);
        async move {
            let payload = delivery.payload().await?;
            let applied = target.apply(&payload, order(&context), approved).await;
            Ok(applied
                .map_err(refused)?
                .map_or(Deployed::Stale, Deployed::Applied))
        }
    })
    .await
}

/// The deployment's row, and what became of the one it replaced.
fn record(
    tx: &Tx<'_>,
    row: &DeploymentRow,
    applied: &Applied,
    at: Timestamp,
) -> Result<(), StoreError> {
    if let Some(before) = applied.replaced
        && let Some(old) = releases::get_deployment(tx, &row.scope, before)?
    {
        let state = "superseded".into();
        releases::put_deployment(
            tx,
            &DeploymentRow {
                state,
                updated_at: at,
                ..old
            },
        )?;
    }
    let detail = serde_json::to_string(applied).map_err(StoreError::corrupt)?;
    let new = DeploymentRow {
        detail,
        created_at: at,
        updated_at: at,
        ..row.clone()
    };
    releases::put_deployment(tx, &new)
}

fn deployment_row(run: &Run, request: &ChangeRequest, deployment: DeploymentId) -> DeploymentRow {
    DeploymentRow {
        deployment,
        run: run.id(),
        scope: run.caller().scope.clone(),
        target: request.target.clone(),
        state: "active".into(),
        detail: String::new(),
        created_at: Timestamp::default(),
        updated_at: Timestamp::default(),
    }
}

fn refused(error: TargetError) -> StepError {
    match error {
        TargetError::Fenced { .. }
        | TargetError::NoPrevious { .. }
        | TargetError::NotCurrent { .. }
        | TargetError::Unrecorded { .. } => StepError::permanent("target", error.to_string()),
        _ => later(error),
    }
}

/// How long it may refuse, without a break, before that is taken for its answer.
const REFUSAL_PATIENCE: Duration = Duration::from_secs(3);

/// Decides from one report after the other whether to ask again.
#[derive(Debug, Default)]
struct Asking {
    refused_since: Option<Duration>,
}

impl Asking {
    /// Whether this report, which came so long after the first question, is the last.
    fn is_over(&mut self, report: &HealthReport, elapsed: Duration) -> bool {
        if report.healthy || report.outlook == Outlook::Over || elapsed >= HEALTH_PATIENCE {
            return true;
        }
        if report.outlook != Outlook::Refuses {
            self.refused_since = None;
            return false;
        }
        let since = *self.refused_since.get_or_insert(elapsed);
        elapsed.saturating_sub(since) >= REFUSAL_PATIENCE
    }
}

/// Asks until the deployment works, cannot work any more, or its patience is over.
pub async fn health(
    run: &Run,
    workshop: &Workshop,
    request: &ChangeRequest,
    names: Names,
) -> Result<HealthReport, RunError> {
    let target = workshop.target(request);
    run.step(Step::read("health").input(&names.deployment), |_| async {
        let clock = workshop.clock();
        let began = clock.monotonic();
        let mut asking = Asking::default();
        loop {
            // A target that cannot be asked is not healthy; what was found is recorded, so that
            // a later execution goes the same way.
            let report = target.health(names.deployment).await;
            let report =
                report.unwrap_or_else(|error| HealthReport::sick(Outlook::Open, error.to_string()));
            if asking.is_over(&report, clock.monotonic().saturating_sub(began)) {
                return Ok(report);
            }
            tokio::time::sleep(HEALTH_INTERVAL).await;
        }
    })
    .await
}

/// Goes back to what was there before, and ends the change.
pub async fn roll_back(
    run: &Run,
    workshop: &Workshop,
    request: &ChangeRequest,
    names: Names,
    why: &str,
) -> Result<RunError, RunError> {
    let target = workshop.target(request);
    let row = deployment_row(run, request, names.deployment);
    let patient = RetryPolicy {
        attempts: 8,
        ..RetryPolicy::default()
    };
    let step = Step::idempotent("rollback")
        .input(&names.deployment)
        .retry(patient)
        .project(move |tx, previous: Option<DeploymentId>, at| {
            let detail = json!({ "rolled_back_to": previous }).to_string();
            let known = releases::get_deployment(tx, &row.scope, row.deployment)?;
            let state = "rolled_back".into();
            let base = known.unwrap_or_else(|| row.clone());
            releases::put_deployment(
                tx,
                &DeploymentRow {
                    state,
                    detail,
                    updated_at: at,
                    ..base
                },
            )?;
            activate(tx, &row.scope, previous, at)
        });
    let previous: Option<DeploymentId> = run
        .step(step, |context| {
            let target = Arc::clone(&target);
            async move {
                let order = Order {
                    deployment: names.deployment,
                    run: context.run,
                    epoch: context.epoch,
                };
                match target.rollback(order).await {
                    // Somebody took it away, or put something else there: that stays.
                    Err(TargetError::NotCurrent { current, .. }) => Ok(current),
                    other => other.map_err(refused),
                }
            }
        })
        .await?;
    let to = previous.map_or_else(
        || "nothing was there before".into(),
        |id| format!("{id} is back"),
    );
    let text = format!("the deployment does not work ({why}); {to}");
    Ok(StepError::permanent(ending::ROLLED_BACK, text).into())
}

/// Marks the deployment that is there again.
pub(crate) fn activate(
    tx: &Tx<'_>,
    scope: &Scope,
    deployment: Option<DeploymentId>,
    at: Timestamp,
) -> Result<(), StoreError> {
    let Some(id) = deployment else { return Ok(()) };
    match releases::get_deployment(tx, scope, id)? {
        Some(row) => {
            let state = "active".into();
            releases::put_deployment(
                tx,
                &DeploymentRow {
                    state,
                    updated_at: at,
                    ..row
                },
            )
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many quarter seconds the asking ends, if each answers this.
    fn ends(answer: impl Fn(u32) -> HealthReport) -> u32 {
        let mut asking = Asking::default();
        (0..1_000)
            .find(|quarter| asking.is_over(&answer(*quarter), HEALTH_INTERVAL * *quarter))
            .unwrap()
    }

    fn sick(outlook: Outlook) -> HealthReport {
        HealthReport::sick(outlook, "no")
    }

    #[test]
    fn a_definite_answer_ends_the_asking_and_a_passing_one_does_not() {
        assert_eq!(ends(|_| HealthReport::well("yes")), 0);
        assert_eq!(ends(|_| sick(Outlook::Over)), 0);
        assert_eq!(ends(|_| sick(Outlook::Refuses)), 12, "3 s of the same no");
        assert_eq!(ends(|_| sick(Outlook::Open)), 120, "30 s of nobody there");
        // Each time that nobody is there, the refusal begins anew.
        let wavering = |quarter: u32| {
            sick(if quarter.is_multiple_of(8) {
                Outlook::Open
            } else {
                Outlook::Refuses
            })
        };
        assert_eq!(ends(wavering), 120);
    }
}
