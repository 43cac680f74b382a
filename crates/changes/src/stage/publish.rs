//! PUBLISH: the commit that anyone can fetch, the artifacts, the signed bundle, the release.

use std::path::Path;

use matrix_core::{Digest, Timestamp};
use matrix_engine::{Run, RunError, Step, StepContext, StepError};
use matrix_evidence::ArtifactRef;
use matrix_sandbox::spec::SelfTest;
use matrix_store::StoreError;
use matrix_store::tables::releases::{self, ArtifactRow, ReleaseRow};
use matrix_store::tables::runs;
use matrix_worktree::registry::Person;
use matrix_worktree::{Publication, Registry, Repository};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::ChangeRequest;
use super::deploy::Names;
use super::gate::Passed;
use super::patch::{self, Patch};
use super::statements;
use super::verify::Verified;
use crate::error::later;
use crate::target::Applied;
use crate::workshop::Workshop;

/// What was committed to the registry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Committed {
    /// The commit.
    pub commit: String,
    /// The branch that has it.
    pub branch: String,
    /// The tag that stands for it.
    pub tag: String,
    /// Everything that is published beside it.
    pub artifacts: Vec<ArtifactRef>,
    /// Its source as an archive.
    pub archive: ArtifactRef,
}

/// The signed bundle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Attested {
    /// The bundle's bytes.
    pub bundle: ArtifactRef,
    /// Where it is as a file.
    pub path: String,
    /// The name of the key that signed.
    pub key: String,
    /// The public key's file.
    pub key_path: String,
}

/// The result of a change: a release.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Release {
    /// Its id and the deployment's.
    #[serde(flatten)]
    pub names: Names,
    /// The commit, branch and tag.
    pub committed: Committed,
    /// The bundle.
    pub attested: Attested,
}

/// What PUBLISH says everything about.
#[derive(Debug, Clone, Copy)]
pub struct Story<'a> {
    /// What was asked.
    pub request: &'a ChangeRequest,
    /// What it made.
    pub patch: &'a Patch,
    /// What was found.
    pub verified: &'a Verified,
    /// The sandbox's test of itself.
    pub sandbox: &'a SelfTest,
    /// What was approved.
    pub passed: &'a Passed,
    /// What was deployed.
    pub applied: &'a Applied,
    /// The ids.
    pub names: Names,
}

/// Publishes a change that was deployed and works.
pub async fn publish(
    run: &Run,
    workshop: &Workshop,
    story: &Story<'_>,
) -> Result<Release, RunError> {
    let began = workshop_time(run, workshop).await?;
    let step = Step::idempotent("publish").input(&(&story.patch.tree, story.names.release));
    let committed: Committed = run
        .step(step.project(artifact_rows(run)), |context| async move {
            commit(workshop, story, &context, began).await
        })
        .await?;
    let step = Step::idempotent("attest").input(&(&committed.commit, story.names.release));
    let attested: Attested = run
        .step(step.project(bundle_row(run)), |context| {
            let committed = &committed;
            async move { attest(run, workshop, story, committed, &context) }
        })
        .await?;
    let release = Release {
        names: story.names,
        committed,
        attested,
    };
    let row = ReleaseRow {
        release: story.names.release,
        run: run.id(),
        scope: run.caller().scope.clone(),
        title: story.request.plan.title.clone(),
        detail: String::new(),
        created_at: Timestamp::default(),
    };
    let step = Step::read("release")
        .input(&release)
        .project(move |tx, release: Release, at| {
            let detail = json!({
                "commit": release.committed.commit,
                "tag": release.committed.tag,
                "branch": release.committed.branch,
                "bundle": release.attested.bundle.digest,
            });
            let detail = detail.to_string();
            releases::put_release(
                tx,
                &ReleaseRow {
                    detail,
                    created_at: at,
                    ..row.clone()
                },
            )
        });
    run.step(step, |_| async { Ok(release.clone()) }).await
}

/// The time that stands in the commit, chosen once.
async fn workshop_time(run: &Run, workshop: &Workshop) -> Result<Timestamp, RunError> {
    run.step(Step::read("commit_time"), |_| async {
        Ok(workshop.clock().now())
    })
    .await
}

type Project<T> = Box<
    dyn Fn(&matrix_store::Tx<'_>, T, Timestamp) -> Result<(), StoreError> + Send + Sync + 'static,
>;

fn artifact_rows(run: &Run) -> Project<Committed> {
    let run = run.id();
    Box::new(move |tx, committed, at| {
        for artifact in committed.artifacts {
            releases::put_artifact(tx, &artifact_row(run, artifact, at))?;
        }
        Ok(())
    })
}

fn bundle_row(run: &Run) -> Project<Attested> {
    let run = run.id();
    Box::new(move |tx, attested, at| {
        releases::put_artifact(tx, &artifact_row(run, attested.bundle, at))
    })
}

fn artifact_row(run: matrix_core::RunId, artifact: ArtifactRef, at: Timestamp) -> ArtifactRow {
    ArtifactRow {
        run,
        name: artifact.name,
        digest: artifact.digest,
        media_type: artifact.media_type,
        size: artifact.size,
        created_at: at,
    }
}

async fn commit(
    workshop: &Workshop,
    story: &Story<'_>,
    context: &StepContext,
    time: Timestamp,
) -> Result<Committed, StepError> {
    let Story { request, patch, .. } = story;
    let trees = patch::ensure(workshop, request, context.run, patch).await?;
    let work_tree = patch::head(workshop, request, &trees).await?;
    // The private copy has every object that is needed, so the source may be gone by now.
    let source = Repository::open(workshop.git(), &trees.head)
        .await
        .map_err(later)?;
    let registry = Registry::open(
        workshop.git(),
        &workshop.layout().registry(),
        source.object_format(),
    )
    .await
    .map_err(later)?;
    let branch = format!("change/{}", story.names.release);
    let tag = story.names.release.to_string();
    let publication = Publication {
        key: story.names.release.to_string(),
        message: message(request, context),
        tree: patch.tree.parse().map_err(later)?,
        parent: request.base.parse().map_err(later)?,
        author: author(request),
        committer: Person {
            name: "Matrix".into(),
            email: "matrix@localhost".into(),
        },
        time,
        branch: branch.clone(),
        tag: tag.clone(),
    };
    let published = registry
        .publish(&publication, &work_tree, &source)
        .await
        .map_err(later)?;
    let archive = workshop.layout().work(context.run).join("source.tar");
    registry
        .archive(&published.commit, "source", &archive)
        .await
        .map_err(later)?;
    let (digest, size) = workshop.blobs().put_file(&archive)?;
    let archive = ArtifactRef {
        name: "source.tar".into(),
        media_type: "application/x-tar".into(),
        digest,
        size,
    };
    let artifacts = artifacts(workshop, story, &archive)?;
    Ok(Committed {
        commit: published.commit.to_string(),
        branch,
        tag,
        artifacts,
        archive,
    })
}

fn message(request: &ChangeRequest, context: &StepContext) -> String {
    let goal = request.plan.goal.trim();
    let title = request.plan.title.trim();
    format!(
        "{title}\n\n{goal}\n\nMatrix-Run: {}\nMatrix-Plan: {}\n",
        context.run, request.plan_digest
    )
}

fn author(request: &ChangeRequest) -> Person {
    let author = &request.plan.author;
    Person {
        name: author.name.clone(),
        email: author.email.clone(),
    }
}

/// Everything that is kept of a change, by name: source, plan, diff, evidence, outputs.
fn artifacts(
    workshop: &Workshop,
    story: &Story<'_>,
    archive: &ArtifactRef,
) -> Result<Vec<ArtifactRef>, StepError> {
    let Story {
        request,
        patch,
        verified,
        sandbox,
        ..
    } = story;
    let json = "application/json";
    let mut artifacts = vec![
        archive.clone(),
        keep(
            workshop,
            "plan.json",
            json,
            &serde_json::to_vec(&request.plan).map_err(later)?,
        )?,
        keep(
            workshop,
            "sandbox.json",
            json,
            &serde_json::to_vec(sandbox).map_err(later)?,
        )?,
        ArtifactRef {
            name: "patch.diff".into(),
            media_type: "text/x-diff".into(),
            digest: patch.facts.digest,
            size: patch.facts.size,
        },
    ];
    for evidence in &verified.evidence {
        artifacts.extend(evidence.artifacts.iter().cloned());
    }
    artifacts.extend(verified.outputs.iter().map(|output| ArtifactRef {
        name: format!("outputs/{}", output.name),
        ..output.clone()
    }));
    artifacts.sort_by(|a, b| a.name.cmp(&b.name));
    artifacts.dedup_by(|a, b| a.name == b.name && a.digest == b.digest);
    Ok(artifacts)
}

fn keep(
    workshop: &Workshop,
    name: &str,
    media_type: &str,
    bytes: &[u8],
) -> Result<ArtifactRef, StepError> {
    let digest = workshop.blobs().put(bytes)?;
    Ok(ArtifactRef {
        name: name.into(),
        media_type: media_type.into(),
        digest,
        size: bytes.len() as u64,
    })
}

/// Where a run's journal ends now.
pub(super) fn head(
    workshop: &Workshop,
    run: matrix_core::RunId,
) -> Result<(u64, Digest), StepError> {
    let head = workshop
        .database()
        .read_now::<_, StoreError, _>(|tx| runs::head(tx, run))?
        .ok_or_else(|| later(format_args!("run {run} is gone")))?;
    Ok((u64::try_from(head.seq).unwrap_or(0), head.hash))
}

fn attest(
    run: &Run,
    workshop: &Workshop,
    story: &Story<'_>,
    committed: &Committed,
    context: &StepContext,
) -> Result<Attested, StepError> {
    let signer = workshop
        .keyring()
        .signer(&**workshop.entropy())
        .map_err(later)?;
    let bytes = statements::bundle(run, workshop, story, committed, &signer)?;
    let bundle = keep(
        workshop,
        "bundle.intoto.jsonl",
        matrix_evidence::bundle::MEDIA_TYPE,
        &bytes,
    )?;
    let path = workshop.layout().bundle(context.run);
    write(&path, &bytes).map_err(later)?;
    let public = signer.public();
    Ok(Attested {
        bundle,
        path: path.display().to_string(),
        key: public.key_id().to_string(),
        key_path: workshop
            .keyring()
            .public_path(&public)
            .display()
            .to_string(),
    })
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write as _;
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}
