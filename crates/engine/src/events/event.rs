//! One event as it is told.

use matrix_core::{Digest, RunId, Scope, Timestamp};
use matrix_store::tables::events::EventRow;
use matrix_store::{Blobs, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Events;
use super::topic::{About, topics};

/// The largest payload that is told with an event, in bytes; a larger one is read by its link.
const PAYLOAD_MAX: usize = 256 * 1024;

/// An event. Without its payload it holds no text that a run was given or made, but for the names
/// of steps and people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Its position: the shard and the number in it, as `0:17`.
    pub id: String,
    /// What it is about, in general: `step.completed`.
    pub topic: String,
    /// Everything it can be subscribed by, the general topic first.
    pub topics: Vec<String>,
    /// When, in microseconds since 1970.
    pub at: Timestamp,
    /// Whose it is.
    pub scope: Scope,
    /// The run.
    pub run: RunId,
    /// The kind of the run's function: `change`.
    pub run_kind: String,
    /// The entry's position in the run, from zero.
    pub seq: i64,
    /// What the entry says: `step_completed`.
    pub kind: String,
    /// The address of the step, timer, signal or approval; empty for the run itself.
    pub path: String,
    /// Who wrote it, as `user:name` or `worker:id`.
    pub actor: String,
    /// The chain's hash up to and with this entry.
    pub hash: Digest,
    /// Where to read on.
    pub links: EventLinks,
    /// The payload, where it was asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<Value>,
    /// Why the payload that was asked for is not here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
}

/// Addresses at the API, from its root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventLinks {
    /// The run.
    pub run: String,
    /// A page that begins with the entry, payload and all.
    pub entry: String,
}

impl Events {
    /// What a row is about.
    pub(super) fn topics(&self, row: &EventRow) -> Vec<String> {
        let about = About {
            run_kind: &row.run_kind,
            entry: &row.kind,
            path: &row.path,
            payload: row.payload.as_deref(),
        };
        topics(&about, &self.rules)
    }

    /// A row as it is told.
    pub(super) fn event(
        &self,
        row: EventRow,
        topics: Vec<String>,
        scope: &Scope,
        payloads: bool,
    ) -> Result<Event, StoreError> {
        let (payload, withheld) = if payloads {
            self.payload(&row)?
        } else {
            (None, None)
        };
        let base = format!("/api/v1/runs/{}", row.run);
        Ok(Event {
            id: format!("{}:{}", row.shard, row.lsn),
            topic: topics.first().cloned().unwrap_or_default(),
            topics,
            at: row.at,
            scope: scope.clone(),
            run: row.run,
            run_kind: row.run_kind,
            seq: row.seq,
            links: EventLinks {
                entry: format!("{base}/entries?cursor={}&limit=1", row.seq - 1),
                run: base,
            },
            kind: row.kind,
            path: row.path,
            actor: row.actor,
            hash: row.hash,
            payload,
            withheld,
        })
    }

    fn payload(&self, row: &EventRow) -> Result<(Option<Value>, Option<String>), StoreError> {
        let withheld = |why: String| Ok((None, Some(why)));
        let bytes = match (&row.payload, &row.payload_blob) {
            (Some(bytes), _) => bytes.clone(),
            (None, Some(digest)) => match read(&self.blobs, digest, row)? {
                Some(bytes) => bytes,
                None => return withheld("it is larger than what is told with an event".into()),
            },
            (None, None) => return withheld("it was erased".into()),
        };
        let damaged = || StoreError::corrupt(format_args!("entry {} of {}", row.seq, row.run));
        let text = std::str::from_utf8(&bytes).map_err(|_| damaged())?;
        let found = (self.screen)(text);
        if !found.is_empty() {
            return withheld(format!("it holds a secret ({})", found.join(", ")));
        }
        let value = serde_json::from_str(text).map_err(|_| damaged())?;
        Ok((Some(value), None))
    }
}

/// A payload that is a blob, unless it is too large.
fn read(blobs: &Blobs, digest: &Digest, row: &EventRow) -> Result<Option<Vec<u8>>, StoreError> {
    let missing =
        || StoreError::corrupt(format_args!("the blob of entry {} of {}", row.seq, row.run));
    let bytes = blobs.get(digest)?.ok_or_else(missing)?;
    Ok((bytes.len() <= PAYLOAD_MAX).then_some(bytes))
}
