//! A change as the API gives it: one object that says everything a reader asks first.

use matrix_changes::stage::stale::{Changed, Stale};
use matrix_changes::view::{ApprovalCount, ChangeView, EvidenceLine, StageLine};
use matrix_core::{Digest, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::answer::{Links, job_links};
use crate::rest::plan::Loose;

/// A change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Job {
    /// Its run; also the job's id.
    #[schema(value_type = String, example = "run_01k6g0000000000000000000aa")]
    pub run: RunId,
    /// `running`, `succeeded`, `failed`, `waiting` or `cancelled`.
    pub state: String,
    /// The plan's title.
    pub title: String,
    /// `low`, `medium`, `high` or `critical`, once the gate has looked.
    pub risk: Option<String>,
    /// Why the risk is what it is.
    pub risk_reasons: Vec<String>,
    /// `pass`, `needs_approval` or `deny`, once the gate has looked.
    pub verdict: Option<String>,
    /// Why the verdict is what it is.
    pub verdict_reasons: Vec<String>,
    /// What was checked, one item for each kind.
    pub evidence: Vec<JobEvidence>,
    /// The release's id.
    pub release: Option<String>,
    /// The deployment's id.
    pub deployment: Option<String>,
    /// The signed bundle's file on the server's machine.
    pub bundle: Option<String>,
    /// The public key's file on the server's machine.
    pub key: Option<String>,
    /// Where the release lies on the server's machine.
    pub location: Option<String>,
    /// The commit in the registry.
    pub commit: Option<String>,
    /// What it waits for, since when and why.
    pub waiting: Option<Value>,
    /// The open question to a person.
    pub approval: Option<String>,
    /// How many people have agreed to what is asked, and how many must.
    pub approvals: Option<JobApprovals>,
    /// Why an earlier question, and whatever was answered to it, counts no more.
    pub stale: Option<JobStale>,
    /// Hunks of the plan's diffs that did not stand where they said, to the byte.
    pub loose: Vec<Loose>,
    /// How it ended, if not with a release: `denied`, `rejected`, `rolled_back` and others.
    pub ending: Option<String>,
    /// Why it ended so.
    pub reason: Option<String>,
    /// The repository's path.
    pub repository: String,
    /// The base commit.
    pub base: String,
    /// The target's name.
    pub target: String,
    /// The digest of the plan's meaning.
    #[schema(value_type = Option<String>)]
    pub plan_digest: Option<Digest>,
    /// The diff's digest.
    #[schema(value_type = Option<String>)]
    pub patch_digest: Option<Digest>,
    /// Who submitted it, such as `user:ada`.
    pub submitter: String,
    /// When, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// The stages in order.
    pub stages: Vec<JobStage>,
    /// Where to look on.
    pub links: Links,
}

/// What one kind of check says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobEvidence {
    /// The kind, such as `test_results`.
    pub kind: String,
    /// `passed`, `failed` or `skipped`.
    pub status: String,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// What was found, in one line.
    pub summary: String,
}

/// How far a change is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStage {
    /// `plan`, `patch`, `verify`, `gate`, `deploy` or `publish`.
    pub stage: String,
    /// `waiting`, `running`, `done` or `failed`.
    pub state: String,
}

/// How far the approval of a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobApprovals {
    /// Distinct people who approved exactly what is asked now.
    pub given: u32,
    /// How many must.
    pub needed: u32,
}

/// Why a question went stale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobStale {
    /// In a few words.
    pub because: String,
    /// What changed; at least one.
    pub changed: Vec<JobChanged>,
}

/// One thing that approvals bind to, before and after.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct JobChanged {
    /// `plan`, `patch`, `tree`, `evidence`, `policy` or `dry_run`.
    pub what: String,
    /// Its digest before.
    pub from: String,
    /// Its digest now.
    pub to: String,
}

impl From<Stale> for JobStale {
    fn from(stale: Stale) -> Self {
        let Stale { because, changed } = stale;
        let changed = changed
            .into_iter()
            .map(|Changed { what, from, to }| JobChanged { what, from, to });
        Self {
            because,
            changed: changed.collect(),
        }
    }
}

impl From<ApprovalCount> for JobApprovals {
    fn from(count: ApprovalCount) -> Self {
        let ApprovalCount { given, needed } = count;
        Self { given, needed }
    }
}

impl From<EvidenceLine> for JobEvidence {
    fn from(line: EvidenceLine) -> Self {
        // The words of the room's own JSON, so that both forms agree.
        let status = serde_json::to_value(line.status).ok();
        let status = status.as_ref().and_then(Value::as_str).unwrap_or_default();
        Self {
            kind: line.kind.to_string(),
            status: status.to_owned(),
            reason: line.reason,
            summary: line.summary,
        }
    }
}

impl From<StageLine> for JobStage {
    fn from(line: StageLine) -> Self {
        Self {
            stage: line.stage.to_owned(),
            state: line.state.to_owned(),
        }
    }
}

impl From<ChangeView> for Job {
    fn from(view: ChangeView) -> Self {
        Self {
            run: view.run,
            state: view.state.to_owned(),
            title: view.title,
            risk: view.risk,
            risk_reasons: view.risk_reasons,
            verdict: view.verdict.map(ToOwned::to_owned),
            verdict_reasons: view.verdict_reasons,
            evidence: view.evidence.into_iter().map(JobEvidence::from).collect(),
            release: view.release,
            deployment: view.deployment,
            bundle: view.bundle,
            key: view.key,
            location: view.location,
            commit: view.commit,
            waiting: view.waiting,
            approval: view.approval,
            approvals: view.approvals.map(JobApprovals::from),
            stale: view.stale.map(JobStale::from),
            loose: view.loose.into_iter().map(Loose::from).collect(),
            ending: view.ending,
            reason: view.reason,
            repository: view.repository,
            base: view.base,
            target: view.target,
            plan_digest: view.plan_digest,
            patch_digest: view.patch_digest,
            submitter: view.submitter,
            created_at: view.created_at,
            stages: view.stages.into_iter().map(JobStage::from).collect(),
            links: job_links(view.run),
        }
    }
}
