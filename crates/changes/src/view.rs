//! A change as people and programs see it, read from its journal.

use std::collections::BTreeSet;

use matrix_core::{Digest, RunId, Timestamp};
use matrix_engine::Verdict;
use matrix_engine::history::{Ended, History};
use matrix_evidence::{Evidence, Kind, Status};
use matrix_store::tables::approvals::ApprovalRow;
use matrix_store::tables::runs::RunRow;
use matrix_worktree::LooseHunk;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::risk::Assessment;
use crate::stage::ChangeRequest;
use crate::stage::author::ChangeInput;
use crate::stage::gate::{GateDecision, Question};
use crate::stage::patch::Patch;
use crate::stage::publish::Release;
use crate::stage::stale::Stale;
use crate::stage::verify::Verified;

/// A change.
#[derive(Debug, Clone, Serialize)]
pub struct ChangeView {
    /// The run.
    pub run: RunId,
    /// `running`, `succeeded`, `failed`, `waiting` or `cancelled`.
    pub state: &'static str,
    /// The plan's title.
    pub title: String,
    /// `low`, `medium`, `high` or `critical`, once the gate has looked.
    pub risk: Option<String>,
    /// Why.
    pub risk_reasons: Vec<String>,
    /// `pass`, `needs_approval`, `deny`, once the gate has looked.
    pub verdict: Option<&'static str>,
    /// Why.
    pub verdict_reasons: Vec<String>,
    /// One line for each kind.
    pub evidence: Vec<EvidenceLine>,
    /// The release.
    pub release: Option<String>,
    /// The deployment.
    pub deployment: Option<String>,
    /// The bundle's file.
    pub bundle: Option<String>,
    /// The public key's file.
    pub key: Option<String>,
    /// Where the release lies.
    pub location: Option<String>,
    /// The commit in the registry.
    pub commit: Option<String>,
    /// What it waits for.
    pub waiting: Option<Value>,
    /// The open question to a person.
    pub approval: Option<String>,
    /// How many people have agreed to what is asked, and how many must.
    pub approvals: Option<ApprovalCount>,
    /// Why an earlier question, and whatever was answered to it, counts no more.
    pub stale: Option<Stale>,
    /// Hunks of the plan's diffs that did not stand where they said, to the byte.
    pub loose: Vec<LooseHunk>,
    /// How it ended, if not with a release: `denied`, `rejected`, `rolled_back`, `patch_refused` …
    pub ending: Option<String>,
    /// Why.
    pub reason: Option<String>,
    /// The repository.
    pub repository: String,
    /// The base commit.
    pub base: String,
    /// The target.
    pub target: String,
    /// The agent that makes the plan, and its run once it has begun; nothing where a plan was
    /// submitted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub author: Option<AuthorLine>,
    /// The plan's digest.
    pub plan_digest: Option<Digest>,
    /// The diff's digest.
    pub patch_digest: Option<Digest>,
    /// Who submitted it.
    pub submitter: String,
    /// When.
    pub created_at: Timestamp,
    /// Each stage with its state: `waiting`, `running`, `done`, `failed`.
    pub stages: Vec<StageLine>,
}

/// How far the approval of a change is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct ApprovalCount {
    /// Distinct people who approved exactly what is asked now.
    pub given: u32,
    /// How many must.
    pub needed: u32,
}

impl std::fmt::Display for ApprovalCount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { given, needed } = self;
        let plural = if *needed == 1 { "" } else { "s" };
        write!(f, "{given} of {needed} approval{plural}")
    }
}

impl ApprovalCount {
    /// The count for an open question, out of all that a run has asked.
    fn of(open: &ApprovalRow, asked: &[ApprovalRow], history: &History) -> Option<Self> {
        let question = question(open)?;
        let same = asked.iter().filter(|row| {
            self::question(row).is_some_and(|other| other.bindings == question.bindings)
        });
        let people: BTreeSet<&str> = same
            .flat_map(|row| history.decisions(row.approval))
            .filter(|decision| decision.verdict == Verdict::Approve)
            .map(|decision| decision.actor.as_str())
            .collect();
        Some(Self {
            given: u32::try_from(people.len()).unwrap_or(u32::MAX),
            needed: question.approvals,
        })
    }
}

/// What a row asks.
fn question(row: &ApprovalRow) -> Option<Question> {
    serde_json::from_str(&row.subject).ok()
}

/// A kind of evidence in one line.
#[derive(Debug, Clone, Serialize)]
pub struct EvidenceLine {
    /// The kind.
    pub kind: Kind,
    /// How it ended.
    pub status: Status,
    /// Why it was skipped or failed.
    pub reason: Option<String>,
    /// What was found.
    pub summary: String,
}

/// An agent that makes a plan.
#[derive(Debug, Clone, Serialize)]
pub struct AuthorLine {
    /// The agent.
    pub agent: String,
    /// Its version.
    pub version: i64,
    /// Its run.
    pub run: Option<RunId>,
}

/// What is asked, as far as it is known.
struct Asked {
    title: String,
    repository: String,
    base: String,
    target: String,
    plan_digest: Option<Digest>,
    author: Option<AuthorLine>,
}

impl Asked {
    fn of(history: &History) -> Option<Self> {
        let request = request_of(history);
        let input = history.started.as_ref()?.input.clone();
        let author = match serde_json::from_value(input).ok()? {
            ChangeInput::Planned(_) => None,
            ChangeInput::ToAuthor(asked) => Some(asked),
        };
        let child = history.child("child:author#1");
        let line = author.as_ref().map(|asked| AuthorLine {
            agent: asked.author.definition.name.clone(),
            version: asked.author.version,
            run: child.map(|child| child.spawned.run),
        });
        match (request, author) {
            (Some(request), _) => Some(Self {
                title: request.plan.title,
                repository: request.repository,
                base: request.base,
                target: request.target,
                plan_digest: Some(request.plan_digest),
                author: line,
            }),
            (None, asked) => asked.map(|asked| Self {
                title: asked.title(),
                repository: asked.repository,
                base: asked.base,
                target: asked.target,
                plan_digest: None,
                author: line,
            }),
        }
    }
}

/// What a change is asked to do, once that is known: as it was submitted, or as an agent planned it.
pub(crate) fn request_of(history: &History) -> Option<ChangeRequest> {
    let input = history.started.as_ref()?.input.clone();
    match serde_json::from_value(input).ok()? {
        ChangeInput::Planned(request) => Some(*request),
        ChangeInput::ToAuthor(_) => last(history, "author"),
    }
}

/// A stage in one line.
#[derive(Debug, Clone, Serialize)]
pub struct StageLine {
    /// `plan`, `patch`, `verify`, `gate`, `deploy`, `publish`.
    pub stage: &'static str,
    /// `waiting`, `running`, `done` or `failed`.
    pub state: &'static str,
}

/// The stages with the step that ends each.
const STAGES: [(&str, &[&str]); 6] = [
    ("plan", &["plan#", "author#", "child:author#"]),
    ("patch", &["patch#"]),
    (
        "verify",
        &["evidence#", "sandbox#", "checks#", "prepare#", "verify/"],
    ),
    (
        "gate",
        &["deploy#", "dry_run#", "gate#", "names#", "payload#"],
    ),
    ("deploy", &["health#", "deploy#", "rollback#"]),
    (
        "publish",
        &["release#", "commit_time#", "publish#", "attest#"],
    ),
];

/// The stage that a step belongs to, for progress.
pub fn stage_of(path: &str) -> Option<&'static str> {
    if path.starts_with("deploy#") {
        return Some("deploy");
    }
    STAGES
        .iter()
        .find(|(_, steps)| steps.iter().any(|step| path.starts_with(step)))
        .map(|(stage, _)| *stage)
}

/// The last recorded result of a step with this name.
fn last<T: DeserializeOwned>(history: &History, name: &str) -> Option<T> {
    let mut number = 1;
    let mut found = None;
    while let Some(record) = history.step(&format!("{name}#{number}")) {
        if let Some(Ok(value)) = &record.outcome {
            found = serde_json::from_value(value.clone()).ok();
        }
        number += 1;
    }
    found
}

impl ChangeView {
    /// The view of a run of kind `change`; nothing if it is of another kind.
    pub fn new(row: &RunRow, history: &History, approvals: &[ApprovalRow]) -> Option<Self> {
        let started = history.started.as_ref()?;
        let asked = Asked::of(history)?;
        let patch: Option<Patch> = last(history, "patch");
        let verified: Option<Verified> = last(history, "evidence");
        let gate: Option<GateDecision> = last(history, "gate");
        let release: Option<Release> = last(history, "release");
        let deployed: Option<Value> = last(history, "deploy");
        let applied = deployed.filter(|deployed| deployed["how"] == "applied");
        let text = |value: &Value| value.as_str().map(str::to_owned);
        let (ending, reason) = match &history.ended {
            Some(Ended::Failed(error)) => (Some(error.code.clone()), Some(error.message.clone())),
            Some(Ended::Cancelled(reason)) => (Some("cancelled".into()), Some(reason.clone())),
            _ => (None, None),
        };
        let (verdict, verdict_reasons) = verdict(gate.as_ref(), ending.as_deref(), reason.as_ref());
        let open = approvals.iter().find(|approval| approval.state == "open");
        let rolled_back = ending.as_deref() == Some(crate::error::ending::ROLLED_BACK);
        Some(Self {
            run: row.run,
            state: state(&row.state),
            title: asked.title,
            risk: gate.as_ref().map(|gate| gate.risk.level.to_string()),
            risk_reasons: gate
                .as_ref()
                .map(|gate| risk_sentences(&gate.risk))
                .unwrap_or_default(),
            verdict,
            verdict_reasons,
            evidence: verified
                .map(|found| found.evidence.iter().map(line).collect())
                .unwrap_or_default(),
            release: release
                .as_ref()
                .map(|release| release.names.release.to_string()),
            deployment: applied
                .as_ref()
                .filter(|_| !rolled_back)
                .and_then(|applied| text(&applied["deployment"])),
            bundle: release
                .as_ref()
                .map(|release| release.attested.path.clone()),
            key: release
                .as_ref()
                .map(|release| release.attested.key_path.clone()),
            location: applied
                .as_ref()
                .filter(|_| !rolled_back)
                .and_then(|applied| text(&applied["location"])),
            commit: release.map(|release| release.committed.commit),
            waiting: row
                .waiting
                .as_deref()
                .and_then(|text| serde_json::from_str(text).ok()),
            approval: open.map(|approval| approval.approval.to_string()),
            approvals: open.and_then(|open| ApprovalCount::of(open, approvals, history)),
            stale: open.and_then(question).and_then(|question| question.stale),
            loose: loose(patch.as_ref()),
            ending,
            reason,
            repository: asked.repository,
            base: asked.base,
            target: asked.target,
            plan_digest: asked.plan_digest,
            author: asked.author,
            patch_digest: patch.map(|patch| patch.facts.digest),
            submitter: started.caller.principal.to_string(),
            created_at: row.created_at,
            stages: stages(history),
        })
    }
}

fn state(state: &str) -> &'static str {
    match state {
        "succeeded" => "succeeded",
        "failed" => "failed",
        "cancelled" => "cancelled",
        "waiting" | "paused" => "waiting",
        _ => "running",
    }
}

/// Each rule of a risk that held, in words: `high: tests are skipped`.
pub(crate) fn risk_sentences(risk: &Assessment) -> Vec<String> {
    let reasons = risk.reasons.iter();
    reasons
        .map(|(level, text)| format!("{level}: {text}"))
        .collect()
}

fn loose(patch: Option<&Patch>) -> Vec<LooseHunk> {
    patch.map(|patch| patch.loose.clone()).unwrap_or_default()
}

/// The verdict with its reasons; a person's no is the last word.
fn verdict(
    gate: Option<&GateDecision>,
    ending: Option<&str>,
    reason: Option<&String>,
) -> (Option<&'static str>, Vec<String>) {
    let Some(gate) = gate else {
        return (None, Vec::new());
    };
    match (ending, reason) {
        (Some(crate::error::ending::REJECTED), Some(reason)) => {
            (Some("deny"), vec![reason.clone()])
        }
        _ => (Some(gate.verdict.as_str()), gate.verdict.reasons().to_vec()),
    }
}

fn line(evidence: &Evidence) -> EvidenceLine {
    EvidenceLine {
        kind: evidence.kind,
        status: evidence.status,
        reason: evidence.reason.clone(),
        summary: evidence.summary.clone(),
    }
}

fn stages(history: &History) -> Vec<StageLine> {
    let steps = history.steps();
    let failed = matches!(history.ended, Some(Ended::Failed(_)));
    let mut lines: Vec<StageLine> = STAGES
        .iter()
        .map(|(stage, names)| {
            let of_stage = steps
                .iter()
                .filter(|(path, _)| stage_of(path) == Some(stage));
            let done = steps.iter().any(|(path, step)| {
                path.starts_with(names[0]) && matches!(step.outcome, Some(Ok(_)))
            });
            let state = match (done, of_stage.count()) {
                (true, _) => "done",
                (false, 0) => "waiting",
                (false, _) => "running",
            };
            StageLine { stage, state }
        })
        .collect();
    if failed && let Some(line) = lines.iter_mut().rev().find(|line| line.state == "running") {
        line.state = "failed";
    }
    lines
}
