//! Runs and entries as the API gives them.

use matrix_core::{Digest, RunId, Timestamp};
use matrix_engine::runs::RunView;
use matrix_engine::stopped::Stopped;
use matrix_store::tables::runs::RunRow;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::rest::answer::{Links, run_links};

/// What a run is doing, or how it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// It waits for a worker.
    Ready,
    /// A worker drives it.
    Running,
    /// It waits for a person, a signal or a time.
    Waiting,
    /// It rests until somebody resumes it.
    Paused,
    /// It gave its result.
    Succeeded,
    /// It gave an error.
    Failed,
    /// It ended by request.
    Cancelled,
}

impl RunState {
    /// Its name.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Paused => "paused",
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// One execution of a durable function.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Run {
    /// Its id.
    #[schema(value_type = String, example = "run_01k6g0000000000000000000aa")]
    pub run: RunId,
    /// What it executes, such as `change`.
    pub kind: String,
    /// The function's version it is pinned to.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// `ready`, `running`, `waiting`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// What it waits for, since when and why.
    pub waiting: Option<Value>,
    /// Of a run that rests because it stopped by itself: why, and what to do next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<DeadLetter>,
    /// The lane it queues in.
    pub lane: String,
    /// How urgent it is: 0 to 9, which is the most urgent.
    pub priority: i64,
    /// Its concurrency key; absent if it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub key: String,
    /// The trace id of its log lines.
    pub trace: String,
    /// When it was created, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub created_at: Timestamp,
    /// When it last changed, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub updated_at: Timestamp,
    /// Position of its newest entry.
    pub head_seq: i64,
    /// SHA-256 of its newest entry and all before it.
    #[schema(value_type = String)]
    pub head_hash: Digest,
    /// The run that started it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub parent: Option<RunId>,
    /// The run whose first entries it shares.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub forked_from: Option<RunId>,
    /// Why a person holds it, so that retention does not remove it; absent if nobody does.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hold: String,
    /// When retention removed its journal, in microseconds since 1970; only lists still have it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub removed_at: Option<Timestamp>,
    /// Its result, once it has one; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// The error it ended with, or why it was cancelled; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Its steps in order; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub steps: Option<Vec<Step>>,
    /// The runs that it started, in order; absent in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub children: Option<Vec<Child>>,
    /// Where to look on.
    pub links: Links,
}

/// How a run came to rest by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeadLetter {
    /// Why: `crashes`, `retries`, `doubt`, `divergence`, `function`, `erased`, `undo`, `damage` or
    /// `panic`.
    pub cause: String,
    /// The step it stopped at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
    /// How often that was tried, or how many of its owners died; zero where nothing was tried.
    pub tries: u32,
    /// Since when, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub since: Timestamp,
    /// What a person does next.
    pub next: String,
}

impl DeadLetter {
    fn of(run: RunId, stopped: Stopped) -> Self {
        Self {
            cause: stopped.cause.as_str().into(),
            next: stopped.cause.next(run),
            step: stopped.step,
            tries: stopped.tries,
            since: stopped.since,
        }
    }
}

/// A run that another one started, as that one knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Child {
    /// Where it was started.
    pub path: String,
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// What it executes.
    pub kind: String,
    /// `started`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
}

/// One step of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Step {
    /// Its address in the run.
    pub path: String,
    /// `running`, `retrying`, `done` or `failed`.
    pub state: String,
    /// How many attempts failed.
    pub failures: u32,
    /// The error it ended with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How far it is: `done`, `total` and `message` of a step of the host's own, and whatever a
    /// worker outside says of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
}

impl From<RunRow> for Run {
    fn from(row: RunRow) -> Self {
        let waiting = row.waiting.as_deref();
        let stopped = Stopped::of(&row);
        Self {
            stopped: stopped.map(|stopped| DeadLetter::of(row.run, stopped)),
            run: row.run,
            kind: row.kind,
            version: row.version,
            title: row.title,
            state: row.state,
            waiting: waiting.and_then(|text| serde_json::from_str(text).ok()),
            lane: row.placement.lane,
            priority: row.placement.priority,
            key: row.placement.key,
            trace: row.trace,
            created_at: row.created_at,
            updated_at: row.updated_at,
            head_seq: row.head_seq,
            head_hash: row.head_hash,
            parent: row.lineage.parent,
            forked_from: row.lineage.forked_from,
            hold: row.hold,
            removed_at: row.removed_at,
            result: None,
            error: None,
            steps: None,
            children: None,
            links: run_links(row.run),
        }
    }
}

impl From<RunView> for Run {
    fn from(view: RunView) -> Self {
        let steps = view.steps.into_iter().map(|step| Step {
            path: step.path,
            state: step.state.to_owned(),
            failures: step.failures,
            error: step.error,
            progress: step.progress,
        });
        let children = view.children.into_iter().map(|child| Child {
            path: child.path,
            run: child.run,
            kind: child.kind,
            state: child.state.to_owned(),
        });
        let stopped = view.stopped.clone();
        Self {
            stopped: stopped.map(|stopped| DeadLetter::of(view.run, stopped)),
            run: view.run,
            kind: view.kind,
            version: view.version,
            title: view.title,
            state: view.state,
            waiting: view.waiting,
            lane: view.lane,
            priority: view.priority,
            key: view.key,
            trace: view.trace,
            created_at: view.created_at,
            updated_at: view.updated_at,
            head_seq: view.head_seq,
            head_hash: view.head_hash,
            parent: view.parent,
            forked_from: view.forked_from,
            hold: view.hold,
            removed_at: None,
            result: view.result,
            error: view.error,
            steps: Some(steps.collect()),
            children: Some(children.collect()),
            links: run_links(view.run),
        }
    }
}

/// An entry of a run's journal; `docs/reference/api.md` says how its hash is recomputed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Entry {
    /// Position among all entries of the data directory.
    pub lsn: i64,
    /// The run.
    #[schema(value_type = String)]
    pub run: RunId,
    /// Position in the run, from zero.
    pub seq: i64,
    /// What it says, such as `step_completed`.
    pub kind: String,
    /// The address of the step, timer, signal or approval; empty for the run itself.
    pub path: String,
    /// What the step was, so that replay recognises it.
    pub fingerprint: String,
    /// Who wrote it.
    pub actor: String,
    /// The owner's epoch.
    pub epoch: i64,
    /// When, in microseconds since 1970.
    #[schema(value_type = i64)]
    pub at: Timestamp,
    /// SHA-256 of salt and payload.
    #[schema(value_type = String)]
    pub payload_digest: Digest,
    /// The chain's hash up to and with this entry.
    #[schema(value_type = String)]
    pub hash: Digest,
    /// The content; null when it was erased.
    pub payload: Option<Value>,
}

impl From<matrix_engine::Entry> for Entry {
    fn from(entry: matrix_engine::Entry) -> Self {
        Self {
            lsn: entry.lsn,
            run: entry.run,
            seq: entry.seq,
            kind: entry.kind.as_str().to_owned(),
            path: entry.path,
            fingerprint: entry.fingerprint,
            actor: entry.actor,
            epoch: entry.epoch,
            at: entry.at,
            payload_digest: entry.payload_digest,
            hash: entry.hash,
            payload: entry.payload,
        }
    }
}
