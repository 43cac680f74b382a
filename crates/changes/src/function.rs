//! The durable function of a change: PLAN → PATCH → VERIFY → GATE → DEPLOY → PUBLISH.

use async_trait::async_trait;
use matrix_engine::{DurableFunction, Run, RunError, Step, StepError};
use serde_json::Value;

use crate::error::later;
use crate::stage::ChangeRequest;
use crate::stage::author::{self, ChangeInput};
use crate::stage::deploy::{self, Delivery, Deployed, Names};
use crate::stage::gate::{self, Asked, Passed};
use crate::stage::patch;
use crate::stage::publish::{self, Release, Story};
use crate::stage::verify::{self, Verified};
use crate::target::Applied;
use crate::workshop::Workshop;

/// The kind of runs that are changes.
pub const KIND: &str = "change";

/// Brings a change from its plan to its release.
#[derive(Debug)]
pub struct ChangeFunction {
    workshop: Workshop,
}

impl ChangeFunction {
    /// The function over a workshop.
    pub fn new(workshop: Workshop) -> Self {
        Self { workshop }
    }
}

#[async_trait]
impl DurableFunction for ChangeFunction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> &'static str {
        "2"
    }

    /// Patch and evidence are bound to digests, whoever asks for them. Names, verdicts, approvals and
    /// deployments belong to one run.
    fn shares(&self, path: &str) -> bool {
        let stage = path.split(['/', '#']).next().unwrap_or_default();
        matches!(
            stage,
            "author"
                | "child:author"
                | "plan"
                | "patch"
                | "sandbox"
                | "checks"
                | "prepare"
                | "verify"
                | "evidence"
        )
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let input: ChangeInput = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("input", error.to_string()))?;
        let outcome = self.bring_through(&run, input).await;
        let is_over = matches!(
            outcome,
            Ok(_) | Err(RunError::Failed(_) | RunError::Cancelled(_))
        );
        if is_over && !run.is_replay() {
            let work = self.workshop.layout().all_work(run.id());
            if let Err(error) = patch::remove(&work).await {
                tracing::warn!(%error, "the work trees could not be removed");
            }
        }
        serde_json::to_value(outcome?)
            .map_err(|error| StepError::permanent("not_json", error.to_string()).into())
    }
}

impl ChangeFunction {
    async fn bring_through(&self, run: &Run, input: ChangeInput) -> Result<Release, RunError> {
        let request = match input {
            ChangeInput::Planned(request) => *request,
            ChangeInput::ToAuthor(asked) => author::author(run, &self.workshop, &asked).await?,
        };
        let change = Change {
            run,
            workshop: &self.workshop,
            request: &request,
        };
        change.bring_through().await
    }
}

/// PLAN: the plan as it was submitted becomes an artifact.
async fn plan(run: &Run, workshop: &Workshop, request: &ChangeRequest) -> Result<(), RunError> {
    let step = Step::read("plan").input(&request.plan_digest);
    run.step(step, |_| async {
        let bytes = serde_json::to_vec(&request.plan).map_err(later)?;
        workshop.blobs().put(&bytes)?;
        Ok(())
    })
    .await
}

struct Change<'a> {
    run: &'a Run,
    workshop: &'a Workshop,
    request: &'a ChangeRequest,
}

impl Change<'_> {
    async fn bring_through(&self) -> Result<Release, RunError> {
        let Self {
            run,
            workshop,
            request,
        } = *self;
        tracing::info!(stage = "plan", title = request.plan.title);
        plan(run, workshop, request).await?;
        tracing::info!(stage = "patch");
        let patch = patch::patch(run, workshop, request).await?;
        tracing::info!(stage = "verify");
        let (sandbox, verified) = verify::verify(run, workshop, request, &patch).await?;
        let names = deploy::names(run, workshop).await?;
        let outputs = &verified.outputs;
        let delivery = Delivery {
            run,
            workshop,
            request,
            patch: &patch,
            outputs,
        };
        let (passed, applied) = self.release(&delivery, &verified, names).await?;
        tracing::info!(stage = "publish");
        let story = Story {
            request,
            patch: &patch,
            verified: &verified,
            sandbox: &sandbox,
            passed: &passed,
            applied: &applied,
            names,
        };
        // From the deployment on the world has changed: a request to cancel comes too late.
        publish::publish(&run.shielded(), workshop, &story).await
    }

    /// GATE and DEPLOY, until what was approved is what is there, works, or is refused.
    async fn release(
        &self,
        delivery: &Delivery<'_>,
        verified: &Verified,
        names: Names,
    ) -> Result<(Passed, Applied), RunError> {
        let Self {
            run,
            workshop,
            request,
        } = *self;
        let mut asked = Asked::default();
        loop {
            tracing::info!(stage = "gate");
            let passed = gate::gate(delivery, verified, &mut asked).await?;
            tracing::info!(stage = "deploy");
            let deployed = deploy::apply(delivery, &passed.dry_run, names).await?;
            let Deployed::Applied(applied) = deployed else {
                tracing::warn!("the target changed after the gate, which is asked again");
                continue;
            };
            let shielded = run.shielded();
            let health = deploy::health(&shielded, workshop, request, names).await?;
            if health.healthy {
                return Ok((passed, applied));
            }
            let why = health.detail;
            return Err(deploy::roll_back(&shielded, workshop, request, names, &why).await?);
        }
    }
}
