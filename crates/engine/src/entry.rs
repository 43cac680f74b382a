//! Journal entries and their chain.
//!
//! The canonical form of an entry is the RFC 8785 JSON of [`Canonical`]; its hash is
//! `SHA-256(previous hash ‖ canonical)`, over the previous hash's 32 raw bytes. The payload enters
//! only as `payload_digest = SHA-256(salt ‖ payload)`: salt and payload stand beside the chain and
//! can be erased without breaking it.

use matrix_core::canonical::{self, NotCanonical};
use matrix_core::{Digest, RunId, Scope, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The version of the canonical form.
pub const FORMAT: u32 = 1;

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// What an entry says.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        pub enum EntryKind {
            $($(#[$doc])* $name,)*
        }

        impl EntryKind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name),*];

            /// The kind's name in the journal.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The kind of this name.
            pub fn parse(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// The run exists: function, version, input, caller.
    RunStarted = "run_started",
    /// An effect is about to happen; without a result behind it, it is in doubt.
    StepBegun = "step_begun",
    /// A step's result.
    StepCompleted = "step_completed",
    /// A step's error; final, or with the time of the next attempt.
    StepFailed = "step_failed",
    /// A timer and when it is due.
    TimerSet = "timer_set",
    /// A timer was due.
    TimerFired = "timer_fired",
    /// A question to a person.
    ApprovalRequested = "approval_requested",
    /// A person's answer.
    ApprovalDecided = "approval_decided",
    /// A named value from outside.
    SignalReceived = "signal_received",
    /// Another run was started by this one.
    ChildSpawned = "child_spawned",
    /// A run that this one started has ended.
    ChildEnded = "child_ended",
    /// Somebody wants the run to end.
    CancelRequested = "cancel_requested",
    /// The run rests until somebody resumes it.
    Paused = "paused",
    /// It goes on.
    Resumed = "resumed",
    /// Everything recorded from a position on counts no more; the generation rises.
    Reset = "reset",
    /// The function starts again with another input, from nothing; the generation rises.
    Continued = "continued",
    /// The function gave its result.
    RunCompleted = "run_completed",
    /// The function gave an error.
    RunFailed = "run_failed",
    /// The run ended because it was cancelled.
    RunCancelled = "run_cancelled",
}

/// An entry before it has a place in the chain.
#[derive(Debug, Clone)]
pub struct Draft {
    /// What it says.
    pub kind: EntryKind,
    /// The address of the step, timer, signal or approval; empty for the run itself.
    pub path: String,
    /// What the step was, so that replay recognises it; empty where there is none.
    pub fingerprint: String,
    /// The content.
    pub payload: Value,
}

impl Draft {
    /// An entry about the run itself.
    pub fn new(kind: EntryKind, payload: Value) -> Self {
        Self {
            kind,
            path: String::new(),
            fingerprint: String::new(),
            payload,
        }
    }

    /// An entry with an address.
    pub fn at(kind: EntryKind, path: impl Into<String>, payload: Value) -> Self {
        Self {
            kind,
            path: path.into(),
            fingerprint: String::new(),
            payload,
        }
    }
}

/// An entry of the journal.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// Position among all entries of the shard.
    pub lsn: i64,
    /// The run.
    pub run: RunId,
    /// Position in the run, from zero.
    pub seq: i64,
    /// What it says.
    pub kind: EntryKind,
    /// Its address.
    pub path: String,
    /// The step's fingerprint.
    pub fingerprint: String,
    /// Who wrote it.
    pub actor: String,
    /// The owner's epoch.
    pub epoch: i64,
    /// When.
    pub at: Timestamp,
    /// SHA-256 of salt and payload.
    pub payload_digest: Digest,
    /// The chain's hash up to and with this entry.
    pub hash: Digest,
    /// The content; nothing when it was erased.
    pub payload: Option<Value>,
}

/// What is hashed of an entry. The fields stand in the order in which RFC 8785 sorts them.
#[derive(Debug, Serialize)]
pub struct Canonical<'a> {
    /// Who wrote it.
    pub actor: &'a str,
    /// The owner's epoch.
    pub epoch: i64,
    /// The fingerprint.
    pub fingerprint: &'a str,
    /// [`FORMAT`].
    pub format: u32,
    /// The kind's name.
    pub kind: &'a str,
    /// The address.
    pub path: &'a str,
    /// SHA-256 of salt and payload, in hexadecimal.
    pub payload_digest: Digest,
    /// The run, as text.
    pub run: RunId,
    /// Position in the run.
    pub seq: i64,
    /// Microseconds since 1970.
    pub time: i64,
}

/// Above it, a number of JSON is not exact (RFC 8785 takes numbers as IEEE 754 doubles).
const EXACT: u64 = 1 << 53;

impl Canonical<'_> {
    /// The RFC 8785 bytes.
    pub fn to_vec(&self) -> Result<Vec<u8>, NotCanonical> {
        let numbers = [self.epoch, self.seq, self.time];
        if numbers.iter().all(|number| number.unsigned_abs() < EXACT) {
            canonical::plain_to_vec(self)
        } else {
            canonical::to_vec(self)
        }
    }

    /// The hash of this entry after `previous`.
    pub fn chain(&self, previous: &Digest) -> Result<Digest, NotCanonical> {
        Ok(Digest::of_parts(&[previous.as_bytes(), &self.to_vec()?]))
    }
}

/// What stands before a run's first entry: `SHA-256("matrix-journal-v1" ‖ run ‖ scope ‖ fork
/// point)`, with the run as text, the scope as RFC 8785 JSON and the fork point as text (empty for
/// a run that is not a fork).
pub fn genesis(run: RunId, scope: &Scope, fork_point: &str) -> Result<Digest, NotCanonical> {
    Ok(Digest::of_parts(&[
        b"matrix-journal-v1",
        run.to_string().as_bytes(),
        &canonical::to_vec(scope)?,
        fork_point.as_bytes(),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_own_name() {
        for kind in EntryKind::ALL {
            assert_eq!(EntryKind::parse(kind.as_str()), Some(*kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        assert_eq!(EntryKind::parse("nonsense"), None);
    }
}
