//! Appending to, reading, checking and erasing the journal.

mod check;

use std::sync::{Arc, Mutex, PoisonError};

use matrix_core::{Clock, Digest, Entropy, RunId, Timestamp};
use matrix_store::tables::journal::{self as table, EntryRow};
use matrix_store::tables::runs::{self, Head, HeadMove};
use matrix_store::{Blobs, Database, StoreError, Tx};
use tokio::sync::watch;

pub use self::check::{ChainCheck, verify};
use crate::entry::{Canonical, Draft, Entry, EntryKind, FORMAT};
use crate::meters::Meters;
use crate::spans::{Span, SpanSink};
use crate::storage::{Purpose, Storage};

/// Payloads up to this many bytes stand in the row; larger ones are blobs.
const INLINE_MAX: usize = 8 * 1024;

/// How many entries are read at once.
const PAGE: u32 = 1_000;

/// Whose append this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fence {
    /// The run.
    pub run: RunId,
    /// The epoch it was claimed under.
    pub epoch: i64,
}

/// Why an append was not made.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The run has another owner now; nothing was written.
    #[error("another owner has the run")]
    Refused,
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Where an owner believes that its run's journal will end once what it has sent is written. It is
/// compared with the run's row at each append, so a belief that is wrong (a transaction did not
/// stand, mail came, or branches overtook each other) costs a read.
#[derive(Debug, Default)]
pub(crate) struct BelievedHead(Mutex<Option<Head>>);

impl BelievedHead {
    /// Gives an entry its place, if there is a belief.
    fn take_place(&self, row: &mut EntryRow) -> Result<Option<HeadMove>, StoreError> {
        let mut believed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(from) = *believed else {
            return Ok(None);
        };
        let to = place(row, &from)?;
        *believed = Some(to);
        Ok(Some(HeadMove { from, to }))
    }

    fn set(&self, head: Head) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(head);
    }
}

/// More work for the transaction of an append, such as a projection.
pub type Beside = Box<dyn FnOnce(&Tx<'_>) -> Result<(), StoreError> + Send>;

/// An entry with its payload's bytes, salted and kept, but without a place in the chain.
#[derive(Debug, Clone)]
pub(crate) struct Sealed {
    kind: EntryKind,
    path: String,
    fingerprint: String,
    actor: String,
    at: Timestamp,
    payload_digest: Digest,
    salt: [u8; 32],
    payload: Option<Vec<u8>>,
    payload_blob: Option<Digest>,
    value: serde_json::Value,
}

/// A place where a test build may stop the process: see [`Journal::crash_at`].
#[cfg(debug_assertions)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CrashPoint {
    /// Before the entry of this position is committed.
    Before(i64),
    /// After it is committed and before anyone hears of it.
    After(i64),
}

/// The journal of a data directory.
#[derive(Debug, Clone)]
pub struct Journal {
    pub(crate) storage: Storage,
    pub(crate) blobs: Blobs,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) entropy: Arc<dyn Entropy>,
    pub(crate) meters: Arc<Meters>,
    spans: Option<Arc<dyn SpanSink>>,
    newest: watch::Sender<i64>,
    /// The same, without what other processes committed.
    own: watch::Sender<i64>,
    #[cfg(debug_assertions)]
    crash: Option<CrashPoint>,
}

impl Journal {
    /// A journal over a database and blobs.
    pub fn new(
        database: Database,
        blobs: Blobs,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self {
            storage: Storage::new(database),
            blobs,
            clock,
            entropy,
            meters: Arc::default(),
            spans: None,
            newest: watch::Sender::new(0),
            own: watch::Sender::new(0),
            #[cfg(debug_assertions)]
            crash: None,
        }
    }

    /// Tells a sink what takes its time; without one nothing is told.
    #[must_use]
    pub fn told_to(mut self, sink: Option<Arc<dyn SpanSink>>) -> Self {
        self.spans = sink;
        self
    }

    /// Tells what took its time, if anybody listens.
    pub(crate) fn tell(&self, span: impl FnOnce() -> Span) {
        if let Some(sink) = &self.spans {
            sink.take(span());
        }
    }

    /// Kills the process (as `kill -9` would) at a boundary of a run's journal. Only in builds
    /// with debug assertions, for crash tests.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn crash_at(mut self, point: Option<CrashPoint>) -> Self {
        self.crash = point;
        self
    }

    /// Reaches the database through a carrier. Only in builds with debug assertions, for tests.
    #[cfg(debug_assertions)]
    #[must_use]
    pub fn carried(mut self, carrier: Arc<dyn crate::storage::Carrier>) -> Self {
        self.storage = self.storage.carried(carrier);
        self
    }

    #[cfg(debug_assertions)]
    pub(crate) fn crash_if(&self, point: CrashPoint) {
        if self.crash == Some(point) {
            let this = rustix::process::getpid();
            rustix::process::kill_process(this, rustix::process::Signal::KILL)
                .unwrap_or_else(|_| std::process::abort());
        }
    }

    /// Changes whenever something was committed; for live views.
    pub fn subscribe(&self) -> watch::Receiver<i64> {
        self.newest.subscribe()
    }

    /// Changes whenever this process committed something; for telling others.
    pub fn subscribe_to_own(&self) -> watch::Receiver<i64> {
        self.own.subscribe()
    }

    pub(crate) fn announce(&self) {
        self.own.send_modify(|counter| *counter += 1);
        self.announce_others();
    }

    /// Another process committed something.
    pub fn announce_others(&self) {
        self.newest.send_modify(|counter| *counter += 1);
    }

    /// Salts a draft and keeps a large payload.
    pub(crate) fn seal(
        &self,
        draft: Draft,
        actor: &str,
        at: Timestamp,
    ) -> Result<Sealed, StoreError> {
        let bytes = serde_json::to_vec(&draft.payload)
            .map_err(|error| StoreError::corrupt(format_args!("a payload: {error}")))?;
        let mut salt = [0_u8; 32];
        self.entropy.fill(&mut salt);
        let payload_digest = Digest::of_parts(&[&salt, &bytes]);
        let (payload, payload_blob) = if bytes.len() <= INLINE_MAX {
            (Some(bytes), None)
        } else {
            (None, Some(self.blobs.put(&bytes)?))
        };
        Ok(Sealed {
            kind: draft.kind,
            path: draft.path,
            fingerprint: draft.fingerprint,
            actor: actor.to_owned(),
            at,
            payload_digest,
            salt,
            payload,
            payload_blob,
            value: draft.payload,
        })
    }

    /// Appends entries under a fence, with more work in the same transaction, and gives them back
    /// once they are durable.
    pub async fn append(
        &self,
        fence: Fence,
        actor: &str,
        drafts: Vec<Draft>,
        beside: Option<Beside>,
    ) -> Result<Vec<Entry>, AppendError> {
        let at = self.clock.now();
        let sealed = drafts
            .into_iter()
            .map(|draft| self.seal(draft, actor, at))
            .collect::<Result<Vec<_>, _>>()?;
        #[cfg(debug_assertions)]
        let crash = self.clone();
        let entries = self
            .storage
            .write::<_, AppendError, _>(Purpose::Append(fence), move |tx| {
                let entries = append_in(tx, fence, sealed, at)?;
                #[cfg(debug_assertions)]
                for entry in &entries {
                    crash.crash_if(CrashPoint::Before(entry.seq));
                }
                if let Some(beside) = beside {
                    beside(tx)?;
                }
                Ok(entries)
            })
            .await?;
        #[cfg(debug_assertions)]
        for entry in &entries {
            self.crash_if(CrashPoint::After(entry.seq));
        }
        self.meters.append(&entries, at);
        self.announce();
        Ok(entries)
    }

    /// Appends one entry, as most come: [`Self::append`] without a look at the run's head.
    pub(crate) async fn extend(
        &self,
        fence: Fence,
        actor: &str,
        draft: Draft,
        believed: &Arc<BelievedHead>,
        beside: Option<Beside>,
    ) -> Result<Entry, AppendError> {
        let at = self.clock.now();
        let (mut row, value) = unplaced(self.seal(draft, actor, at)?, fence);
        let moved = believed.take_place(&mut row)?;
        let believed = Arc::clone(believed);
        #[cfg(debug_assertions)]
        let crash = self.clone();
        let extend = move |tx: &Tx<'_>| -> Result<EntryRow, AppendError> {
            let row = extend_in(tx, row, moved, &believed)?;
            #[cfg(debug_assertions)]
            crash.crash_if(CrashPoint::Before(row.seq));
            Ok(row)
        };
        let purpose = Purpose::Append(fence);
        let row = match beside {
            None => self.storage.write_whole(purpose, extend).await?,
            Some(beside) => {
                let both = move |tx: &Tx<'_>| {
                    let row = extend(tx)?;
                    beside(tx)?;
                    Ok::<_, AppendError>(row)
                };
                self.storage.write(purpose, both).await?
            }
        };
        #[cfg(debug_assertions)]
        self.crash_if(CrashPoint::After(row.seq));
        self.announce();
        Ok(appended(row, Some(value))?)
    }

    /// All entries of a run, in order, with their payloads.
    pub fn read(&self, run: RunId, after: i64) -> Result<Vec<Entry>, StoreError> {
        read(&self.storage.database, &self.blobs, run, after)
    }
}

/// Appends within a transaction; the fence is checked first, so a refusal writes nothing.
pub(crate) fn append_in(
    tx: &Tx<'_>,
    fence: Fence,
    sealed: Vec<Sealed>,
    now: Timestamp,
) -> Result<Vec<Entry>, AppendError> {
    let head = runs::head(tx, fence.run)?.ok_or(AppendError::Refused)?;
    if head.epoch != fence.epoch {
        return Err(AppendError::Refused);
    }
    let mut newest = head;
    let mut entries = Vec::with_capacity(sealed.len());
    for entry in sealed {
        let (mut row, value) = unplaced(entry, fence);
        newest = place(&mut row, &newest)?;
        table::insert(tx, &row)?;
        entries.push(appended(row, Some(value))?);
    }
    let moved = HeadMove {
        from: head,
        to: newest,
    };
    if runs::move_head(tx, fence.run, &moved, now)? {
        Ok(entries)
    } else {
        Err(AppendError::Refused)
    }
}

/// Appends one entry within a transaction, behind the head that is believed or else the real one.
/// It refuses before it writes.
fn extend_in(
    tx: &Tx<'_>,
    mut row: EntryRow,
    moved: Option<HeadMove>,
    believed: &BelievedHead,
) -> Result<EntryRow, AppendError> {
    let stands = match moved {
        Some(moved) => runs::move_head(tx, row.run, &moved, row.at)?,
        None => false,
    };
    if !stands {
        let from = runs::head(tx, row.run)?
            .filter(|head| head.epoch == row.epoch)
            .ok_or(AppendError::Refused)?;
        let to = place(&mut row, &from)?;
        if !runs::move_head(tx, row.run, &HeadMove { from, to }, row.at)? {
            return Err(AppendError::Refused);
        }
        believed.set(to);
    }
    table::insert(tx, &row)?;
    Ok(row)
}

/// An entry's row, but for its place.
fn unplaced(entry: Sealed, fence: Fence) -> (EntryRow, serde_json::Value) {
    let row = EntryRow {
        lsn: 0,
        run: fence.run,
        seq: 0,
        kind: entry.kind.as_str().into(),
        path: entry.path,
        fingerprint: entry.fingerprint,
        actor: entry.actor,
        epoch: fence.epoch,
        at: entry.at,
        payload_digest: entry.payload_digest,
        hash: entry.payload_digest,
        salt: Some(entry.salt.to_vec()),
        payload: entry.payload,
        payload_blob: entry.payload_blob,
    };
    (row, entry.value)
}

/// Gives an entry its place behind a head; that is the next head.
fn place(row: &mut EntryRow, head: &Head) -> Result<Head, StoreError> {
    row.seq = head.seq + 1;
    row.hash = canonical(row)
        .chain(&head.hash)
        .map_err(StoreError::corrupt)?;
    Ok(Head {
        epoch: head.epoch,
        seq: row.seq,
        hash: row.hash,
    })
}

/// What is hashed of a row.
pub(crate) fn canonical(row: &EntryRow) -> Canonical<'_> {
    Canonical {
        actor: &row.actor,
        epoch: row.epoch,
        fingerprint: &row.fingerprint,
        format: FORMAT,
        kind: &row.kind,
        path: &row.path,
        payload_digest: row.payload_digest,
        run: row.run,
        seq: row.seq,
        time: row.at.as_micros(),
    }
}

fn appended(row: EntryRow, payload: Option<serde_json::Value>) -> Result<Entry, StoreError> {
    let kind = EntryKind::parse(&row.kind)
        .ok_or_else(|| StoreError::corrupt(format_args!("entry {} of {}", row.seq, row.run)))?;
    Ok(Entry {
        lsn: row.lsn,
        run: row.run,
        seq: row.seq,
        kind,
        path: row.path,
        fingerprint: row.fingerprint,
        actor: row.actor,
        epoch: row.epoch,
        at: row.at,
        payload_digest: row.payload_digest,
        hash: row.hash,
        payload,
    })
}

/// Reads a run's own entries after a position, with their payloads.
pub fn read(
    database: &Database,
    blobs: &Blobs,
    run: RunId,
    after: i64,
) -> Result<Vec<Entry>, StoreError> {
    between(database, blobs, run, after, i64::MAX)
}

/// Reads a run's own entries after a position, up to and with another.
pub(crate) fn between(
    database: &Database,
    blobs: &Blobs,
    run: RunId,
    after: i64,
    upto: i64,
) -> Result<Vec<Entry>, StoreError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let position = entries.last().map_or(after, |entry| entry.seq);
        let left = u32::try_from(upto.saturating_sub(position)).unwrap_or(u32::MAX);
        let limit = left.min(PAGE);
        let more = page(database, blobs, run, position, limit)?;
        let is_last = more.len() < limit as usize || left <= PAGE;
        entries.extend(more);
        if is_last {
            return Ok(entries);
        }
    }
}

/// Reads a run's entries after a position, with their payloads, at most `limit` of them.
pub fn page(
    database: &Database,
    blobs: &Blobs,
    run: RunId,
    after: i64,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let limit = i64::from(limit);
    let rows = database.read_now::<_, StoreError, _>(|tx| table::list(tx, run, after, limit))?;
    rows.into_iter().map(|row| entry_of(row, blobs)).collect()
}

fn entry_of(mut row: EntryRow, blobs: &Blobs) -> Result<Entry, StoreError> {
    let damaged = || StoreError::corrupt(format_args!("entry {} of run {}", row.seq, row.run));
    let bytes = match (&row.payload, &row.payload_blob) {
        (Some(_), _) | (None, None) => None,
        (None, Some(digest)) => Some(blobs.get(digest)?.ok_or_else(damaged)?),
    };
    let payload = row.payload.as_ref().or(bytes.as_ref());
    let payload = payload
        .map(|bytes| serde_json::from_slice(bytes))
        .transpose()
        .map_err(|_| damaged())?;
    row.payload = None;
    appended(row, payload)
}

/// Erases the payload and salt of one entry; the chain still verifies.
pub async fn erase(database: &Database, run: RunId, seq: i64) -> Result<bool, StoreError> {
    database
        .write::<_, StoreError, _>(move |tx| table::erase(tx, run, seq))
        .await
}
