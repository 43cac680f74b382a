//! What entries say, as far as a history is made of it.

use std::collections::BTreeMap;

use matrix_core::{Caller, Digest, RunId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::StepError;

/// The payload of `run_started`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Started {
    /// The durable function's kind.
    pub kind: String,
    /// Its version, to which the run is pinned.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// What it was given.
    pub input: Value,
    /// Who asked for it.
    pub caller: Caller,
    /// Trace id.
    pub trace: String,
    /// Where it comes from.
    #[serde(default, skip_serializing_if = "Origin::is_asked")]
    pub origin: Origin,
}

/// Where a run comes from.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// A caller asked for it.
    #[default]
    Asked,
    /// Another run started it.
    ChildOf {
        /// That run.
        run: RunId,
        /// Where in it.
        path: String,
        /// How many runs stand between it and one that a caller asked for.
        depth: u32,
    },
    /// It shares the first entries of another run.
    ForkOf(ForkPoint),
}

impl Origin {
    fn is_asked(&self) -> bool {
        *self == Self::Asked
    }
}

/// The newest entry that a fork shares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ForkPoint {
    /// The run whose entry it is.
    pub run: RunId,
    /// The entry's position.
    pub seq: i64,
    /// The chain's hash up to and with it.
    pub hash: Digest,
}

impl std::fmt::Display for ForkPoint {
    /// The text that a fork's chain begins with.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {} {}", self.run, self.seq, self.hash)
    }
}

/// The payload of `child_spawned`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spawned {
    /// The new run.
    pub run: RunId,
    /// Its function's kind.
    pub kind: String,
    /// Whether it goes on when this run ends.
    pub detached: bool,
}

/// The payload of `child_ended`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildEnd {
    /// The run that ended.
    pub run: RunId,
    /// How.
    #[serde(flatten)]
    pub ended: Ended,
}

/// The payload of `continued`: all that is left of what was before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Continued {
    /// The run as it goes on: with its new input, and pinned to the newest version.
    pub started: Started,
    /// When it began.
    pub started_at: Timestamp,
    /// The signals it had not taken yet, by name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub signals: BTreeMap<String, Vec<Value>>,
    /// Why it is to be cancelled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancel: Option<String>,
    /// Why it rests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused: Option<String>,
    /// The generation that begins.
    pub generation: u32,
}

/// The payload of `step_failed`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct FailedAttempt {
    /// The error.
    pub error: StepError,
    /// Whether it is the step's outcome.
    #[serde(rename = "final")]
    pub is_final: bool,
    /// Whether nobody knows what the attempt did to the world.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_doubt: bool,
    /// When the next attempt is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_at: Option<Timestamp>,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// With a result.
    Completed(Value),
    /// With an error.
    Failed(StepError),
    /// By request.
    Cancelled(String),
}

impl Ended {
    /// The state of a run that ended so.
    pub fn state(&self) -> &'static str {
        match self {
            Self::Completed(_) => "succeeded",
            Self::Failed(_) => "failed",
            Self::Cancelled(_) => "cancelled",
        }
    }
}
