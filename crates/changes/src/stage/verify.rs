//! VERIFY: the repository's checks on the base revision and on the change, side by side.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

use matrix_engine::{Run, RunError, Step, StepContext, StepError};
use matrix_evidence::{ArtifactRef, Evidence, Kind};
use matrix_sandbox::spec::{Profile, SelfTest};
use matrix_worktree::Operation;
use serde::{Deserialize, Serialize};

use super::ChangeRequest;
use super::patch::{self, Patch};
use crate::error::{ending, later};
use crate::verify::config::ProjectConfig;
use crate::verify::facts::Facts;
use crate::verify::judge::{
    Judged, base_build_is_asked, base_needs_second_attempt, judge, needs_second_attempt,
};
use crate::verify::prepare::{Prepared, Preparer};
use crate::verify::project::{CheckJob, Project};
use crate::verify::result::{CheckResult, Side};
use crate::verify::run::{Context, LogSink, Tree, run_check};
use crate::workshop::Workshop;

/// The most bytes of one check's live log.
const LOG_BYTES_MAX: u64 = 64 << 20;

/// What verification found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Verified {
    /// One piece of evidence for each kind.
    pub evidence: Vec<Evidence>,
    /// What the gate is told.
    pub facts: Facts,
    /// What the build gave that is to be published: path in the repository and bytes.
    pub outputs: Vec<ArtifactRef>,
}

/// Tests the sandbox, finds the checks, runs them and judges.
pub async fn verify(
    run: &Run,
    workshop: &Workshop,
    request: &ChangeRequest,
    patch: &Patch,
) -> Result<(SelfTest, Verified), RunError> {
    let tested = sandbox(run, workshop).await?;
    let project: Project = run
        .step(Step::read("checks").input(&patch.tree), |_| async {
            let trees = patch::ensure(workshop, request, run.id(), patch).await?;
            let config = base_config(&trees.base)?;
            Ok(Project::detect(&trees.base, &trees.head, config.as_ref()))
        })
        .await?;
    let prepared: Preparation = run
        .step(
            Step::read("prepare").input(&patch.tree),
            |context| async move { prepare(workshop, request, patch, &context).await },
        )
        .await?;
    let items = project
        .jobs
        .iter()
        .map(|job| (job.id.clone(), job))
        .collect();
    let limit = workshop.shared.settings.sandboxes.max(1) * 2;
    let bench = Bench {
        workshop,
        request,
        patch,
        project: &project,
        prepared: &prepared,
    };
    let results = run
        .join("verify", limit, items, |branch, job| {
            let bench = &bench;
            async move { Box::pin(bench.check(&branch, job)).await }
        })
        .await?;
    let results: Vec<CheckResult> = results.into_iter().flatten().collect();
    let moved = moved(&request.plan.operations);
    let verified = run
        .step(Step::read("evidence").input(&results), |_| async {
            Ok(collect(&project, &results, &moved))
        })
        .await?;
    Ok((tested, verified))
}

async fn sandbox(run: &Run, workshop: &Workshop) -> Result<SelfTest, RunError> {
    run.step(Step::read("sandbox"), |_| async {
        let tested = workshop
            .machine()
            .self_test(Profile::Check)
            .await
            .map_err(later)?;
        if tested.held() {
            return Ok(tested.clone());
        }
        let escaped = tested.probes.iter().filter(|probe| !probe.held);
        let names: Vec<_> = escaped.map(|probe| probe.name.as_str()).collect();
        let text = format!(
            "the sandbox did not hold its own test: {}",
            names.join(", ")
        );
        Err(StepError::permanent(ending::UNSAFE, text))
    })
    .await
}

fn base_config(base: &std::path::Path) -> Result<Option<ProjectConfig>, StepError> {
    let path = base.join(crate::verify::config::FILE_NAME);
    match path.symlink_metadata() {
        Ok(data) if data.is_file() => {
            let bytes = std::fs::read(path).map_err(later)?;
            ProjectConfig::parse(&bytes).map(Some).map_err(|error| {
                StepError::permanent(
                    "config",
                    format!("matrix.yaml at the base revision, {error}"),
                )
            })
        }
        _ => Ok(None),
    }
}

/// Both sides' dependencies.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct Preparation {
    base: Prepared,
    head: Prepared,
}

async fn prepare(
    workshop: &Workshop,
    request: &ChangeRequest,
    patch: &Patch,
    step: &StepContext,
) -> Result<Preparation, StepError> {
    let trees = patch::ensure(workshop, request, step.run, patch).await?;
    let scratch = workshop.layout().work(step.run).join("fetch");
    tokio::fs::create_dir_all(&scratch).await.map_err(later)?;
    let settings = &workshop.shared.settings;
    let preparer = Preparer {
        executor: Arc::new(workshop.clone()),
        toolchains: workshop.machine().toolchains().await.clone(),
        search: settings.search.clone(),
        hosts: settings.fetch_hosts.clone(),
        upstream: settings.upstream.clone(),
        cache: workshop.layout().cache(),
        scratch,
        limits: settings.limits.clone(),
        cancel: step.cancelled.clone(),
        log: log_sink(workshop, step, "prepare"),
    };
    let base = preparer.prepare(&trees.base).await?;
    let head = preparer.prepare_after(&trees.head, &base).await?;
    Ok(Preparation { base, head })
}

/// Everything one check needs.
struct Bench<'a> {
    workshop: &'a Workshop,
    request: &'a ChangeRequest,
    patch: &'a Patch,
    project: &'a Project,
    prepared: &'a Preparation,
}

impl Bench<'_> {
    /// One check: on the base and on the change at once, and again where one outcome alone would
    /// decide: on the change if it turned red, on the base if it was red and is green now.
    async fn check(&self, branch: &Run, job: &CheckJob) -> Result<Vec<CheckResult>, RunError> {
        let on = |side: Side| async move {
            if job.sides().contains(&side) {
                self.attempt(branch, job, side, 1).await.map(Some)
            } else {
                Ok(None)
            }
        };
        let (base, head) = if job.kind == Kind::BuildLog {
            // Base's build counts only beside one that failed or did not run: whether it could be
            // made before.
            let head = on(Side::Head).await?;
            if head.as_ref().is_some_and(base_build_is_asked) {
                (on(Side::Base).await?, head)
            } else {
                (None, head)
            }
        } else {
            let (base, head) = futures::join!(on(Side::Base), on(Side::Head));
            (base?, head?)
        };
        let mut results: Vec<CheckResult> = base.iter().cloned().collect();
        if let Some(head) = head {
            let again = job.kind == Kind::TestResults && needs_second_attempt(base.as_ref(), &head);
            let base_again = job.kind == Kind::TestResults
                && base
                    .as_ref()
                    .is_some_and(|base| base_needs_second_attempt(base, &head));
            results.push(head);
            if again {
                results.push(self.attempt(branch, job, Side::Head, 2).await?);
            }
            if base_again {
                results.push(self.attempt(branch, job, Side::Base, 2).await?);
            }
        }
        Ok(results)
    }

    async fn attempt(
        &self,
        branch: &Run,
        job: &CheckJob,
        side: Side,
        number: u32,
    ) -> Result<CheckResult, RunError> {
        let step = Step::read(side.as_str()).input(&(job, side.as_str(), &self.patch.tree, number));
        branch
            .step(step, |step| async move {
                let context = self.context(job, side, number, &step).await?;
                let checked = run_check(job, side, number, &context).await?;
                for file in &checked.produced {
                    self.workshop.blobs().put(&file.bytes)?;
                }
                Ok(checked.result)
            })
            .await
    }

    async fn context(
        &self,
        job: &CheckJob,
        side: Side,
        number: u32,
        step: &StepContext,
    ) -> Result<Context, StepError> {
        let workshop = self.workshop;
        let trees = patch::ensure(workshop, self.request, step.run, self.patch).await?;
        let scratch = workshop.layout().work(step.run).join("scratch");
        tokio::fs::create_dir_all(&scratch).await.map_err(later)?;
        let log = format!("{}.{}.{number}", job.id.replace('/', "."), side.as_str());
        Ok(Context {
            executor: Arc::new(workshop.clone()),
            toolchains: workshop.machine().toolchains().await.clone(),
            base_prepared: self.prepared.base.clone(),
            head_prepared: self.prepared.head.clone(),
            subject: repository_name(&self.request.repository),
            base: Tree {
                path: trees.base,
                id: self.patch.base_tree.clone(),
            },
            head: Tree {
                path: trees.head,
                id: self.patch.tree.clone(),
            },
            diff: patch::kept(workshop, &self.patch.facts.digest)?.into(),
            artifacts: self.project.artifacts.clone(),
            scratch,
            cache: Some(workshop.layout().cache()),
            vulnerabilities: workshop.shared.settings.vulnerabilities.clone(),
            limits: workshop.shared.settings.limits.clone(),
            clock: Arc::clone(workshop.clock()),
            cancel: step.cancelled.clone(),
            log: log_sink(workshop, step, &log),
        })
    }
}

/// What a repository is called: its directory, without git's ending.
fn repository_name(path: &str) -> String {
    let name = std::path::Path::new(path)
        .file_name()
        .map(|name| name.to_string_lossy());
    let name = name.unwrap_or_else(|| "repository".into());
    name.strip_suffix(".git").unwrap_or(&name).to_owned()
}

/// A file that the check's output goes to while it runs. A log that cannot be written costs the
/// live view, not the check.
fn log_sink(workshop: &Workshop, step: &StepContext, name: &str) -> Option<LogSink> {
    let directory = workshop.layout().logs(step.run);
    std::fs::create_dir_all(&directory).ok()?;
    let file = std::fs::File::create(directory.join(format!("{name}.log"))).ok()?;
    let open = Mutex::new((file, 0_u64));
    Some(Arc::new(move |_, bytes| {
        let mut open = open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.1 < LOG_BYTES_MAX && open.0.write_all(bytes).is_ok() {
            open.1 += bytes.len() as u64;
        }
    }))
}

fn moved(operations: &[Operation]) -> BTreeMap<String, String> {
    operations
        .iter()
        .filter_map(|operation| match operation {
            Operation::Move(moved) => Some((moved.from.clone(), moved.to.clone())),
            _ => None,
        })
        .collect()
}

fn collect(
    project: &Project,
    results: &[CheckResult],
    moved: &BTreeMap<String, String>,
) -> Verified {
    let of = |side: Side| -> Vec<CheckResult> {
        results
            .iter()
            .filter(|result| result.side == side)
            .cloned()
            .collect()
    };
    let (base, head) = (of(Side::Base), of(Side::Head));
    let mut verified = Verified {
        evidence: Vec::new(),
        facts: Facts::of_project(project),
        outputs: Vec::new(),
    };
    for kind in Kind::ALL {
        let Judged {
            evidence,
            facts,
            outputs,
        } = judge(kind, &base, &head, moved);
        verified.evidence.push(evidence);
        verified.facts.add(facts);
        verified.outputs.extend(outputs);
    }
    verified
}
