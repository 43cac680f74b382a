//! Retention: what changes left behind goes when it is past its time and nothing refers to it.
//!
//! Three things are kept whatever the operator asks of it: journals with all their payloads (which
//! have a retention of their own, in [`matrix_engine::retention`]), the signed bundle of every release, and everything that an unfinished run, an active deployment, the one to
//! go back to, or a release that is to be kept refers to. All else of a change that ended long
//! enough ago may go: its artifacts, the files behind its evidence, the logs of its checks.
//!
//! Removal has two halves. First the rows of artifacts go, in committed transactions. Then
//! every blob that nothing refers to goes: a run that is kept refers to each digest that its
//! artifacts or its journal name, one that is past its time only to its journal's own payloads. A
//! crash between the halves, or within one, leaves blobs without rows, which the next time removes;
//! it never leaves a row without its blob. Blobs are put before they are named, so young ones
//! ([`GRACE`]) are left alone, and one that is put again meanwhile is young.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use matrix_core::{Action, Authorised, Caller, Digest, RunId, Scope, Timestamp};
use matrix_engine::retention::Keeping;
use matrix_store::tables::retention::{self, Judged, Terms};
use matrix_store::tables::{audit, journal, releases};
use matrix_store::{Blobs, Database, StoreError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::error::ChangeError;
use crate::layout::Layout;
use crate::workshop::Workshop;

/// How long a blob may lie before anything names it. A step of a run puts blobs and names them in
/// the journal when it ends; no step takes this long.
pub const GRACE: Duration = Duration::from_hours(24);

/// How often a host does it by itself.
const INTERVAL: Duration = Duration::from_hours(24);

/// The artifact that proves a release, which is kept for ever.
const BUNDLE: &str = "bundle.intoto.jsonl";

const DAY_SECONDS: u64 = 24 * 60 * 60;
const RUNS_AT_ONCE: u16 = 200;
const ENTRIES_PAGE: i64 = 100;

/// How long something is kept: for ever, or for whole hours, days or weeks (`12h`, `90d`, `8w`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Keep {
    /// It never goes by itself.
    #[default]
    Forever,
    /// It goes so long after its end.
    For(Duration),
}

/// A text that is no time to keep something.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a time to keep something; write `forever`, or as in `12h`, `90d`, `8w`")]
pub struct InvalidKeep(String);

impl FromStr for Keep {
    type Err = InvalidKeep;

    fn from_str(text: &str) -> Result<Self, InvalidKeep> {
        let invalid = || InvalidKeep(text.chars().take(40).collect());
        let text = text.trim();
        if text == "forever" {
            return Ok(Self::Forever);
        }
        let unit = match text.chars().next_back() {
            Some('h') => 60 * 60,
            Some('d') => DAY_SECONDS,
            Some('w') => 7 * DAY_SECONDS,
            _ => return Err(invalid()),
        };
        let digits = &text[..text.len() - 1];
        let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        let number: u32 = digits.parse().map_err(|_| invalid())?;
        if !plain || number == 0 {
            return Err(invalid());
        }
        Ok(Self::For(Duration::from_secs(u64::from(number) * unit)))
    }
}

impl fmt::Display for Keep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forever => f.write_str("forever"),
            Self::For(time) if time.as_secs().is_multiple_of(DAY_SECONDS) => {
                write!(f, "{}d", time.as_secs() / DAY_SECONDS)
            }
            Self::For(time) => write!(f, "{}h", time.as_secs() / 3600),
        }
    }
}

impl TryFrom<String> for Keep {
    type Error = InvalidKeep;

    fn try_from(text: String) -> Result<Self, InvalidKeep> {
        text.parse()
    }
}

impl From<Keep> for String {
    fn from(keep: Keep) -> String {
        keep.to_string()
    }
}

/// What the operator wants kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Retention {
    /// How long after its end a change's artifacts, evidence files and logs are kept.
    pub artifacts: Keep,
    /// How long after its end a run's journal is kept, of whatever kind the run is.
    pub runs: Keep,
    /// How many newest releases of a workspace are kept however old they are; nothing: all.
    pub releases: Option<u32>,
}

impl Retention {
    /// What of it is about runs.
    pub fn keeping(self) -> Keeping {
        Keeping {
            runs: match self.runs {
                Keep::Forever => None,
                Keep::For(time) => Some(time),
            },
            releases: self.releases,
        }
    }

    fn terms(self, now: Timestamp) -> Terms {
        Terms {
            ended_before: match self.artifacts {
                Keep::Forever => Timestamp::from_micros(i64::MIN),
                Keep::For(time) => back(now, time),
            },
            releases: self.releases.map_or(i64::MAX, i64::from),
        }
    }
}

fn back(now: Timestamp, time: Duration) -> Timestamp {
    let micros = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    Timestamp::from_micros(now.as_micros().saturating_sub(micros))
}

/// Removes what is past its time.
#[derive(Debug, Clone, Copy)]
pub struct ArtifactPrune {
    /// Only tells what would go.
    pub dry_run: bool,
}

impl Action for ArtifactPrune {
    const NAME: &'static str = "artifact_prune";

    fn facts(&self) -> Value {
        json!({})
    }
}

/// What went, or would go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Pruned {
    /// Changes past their time that lost artifacts or logs.
    pub changes: u64,
    /// Artifacts by name that are not listed any more.
    pub artifacts: u64,
    /// Blobs removed.
    pub blobs: u64,
    /// Bytes of the disk that these took.
    pub bytes: u64,
}

/// Removes what is past its time, or only tells what would go; the act is recorded.
///
/// # Errors
/// When storage fails. What was removed until then is gone for good reason; the next call goes on.
pub async fn prune(
    workshop: &Workshop,
    request: &Authorised<ArtifactPrune>,
) -> Result<Pruned, ChangeError> {
    let pruned = if request.action().dry_run {
        Work::of(workshop).rehearse().await?
    } else {
        Work::of(workshop).perform().await?
    };
    if !request.action().dry_run {
        let (caller, at) = (request.caller().clone(), workshop.clock().now());
        record(workshop.database(), caller, at, pruned).await?;
    }
    Ok(pruned)
}

async fn record(
    database: &Database,
    caller: Caller,
    at: Timestamp,
    pruned: Pruned,
) -> Result<(), StoreError> {
    let detail = serde_json::to_string(&pruned).map_err(StoreError::corrupt)?;
    let write = move |tx: &matrix_store::Tx<'_>| {
        audit::insert(tx, &caller, at, ArtifactPrune::NAME, "artifacts", &detail)
    };
    database.write::<_, StoreError, _>(write).await
}

/// Prunes once a day for as long as it is polled; `caller` is whom the audit names. A directory
/// that was never pruned begins its first day now.
pub async fn keep_up(workshop: Workshop, caller: Caller) {
    loop {
        let now = workshop.clock().now();
        let due = if let Some(last) = last(workshop.layout()) {
            last.plus(INTERVAL)
        } else {
            note(workshop.layout(), now);
            now.plus(INTERVAL)
        };
        // A clock set back must not put it off for longer than a day.
        tokio::time::sleep(due.since(now).min(INTERVAL)).await;
        let at = workshop.clock().now();
        note(workshop.layout(), at);
        let pruned = match Work::of(&workshop).perform().await {
            Ok(pruned) if pruned == Pruned::default() => continue,
            Ok(pruned) => pruned,
            Err(error) => {
                tracing::warn!(%error, "what is past its time could not be removed");
                continue;
            }
        };
        tracing::info!(?pruned, "what is past its time was removed");
        if let Err(error) = record(workshop.database(), caller.clone(), at, pruned).await {
            tracing::warn!(%error, "the removal could not be recorded");
        }
    }
}

fn last(layout: &Layout) -> Option<Timestamp> {
    let text = std::fs::read_to_string(layout.pruned()).ok()?;
    text.trim().parse().ok().map(Timestamp::from_micros)
}

/// Losing this costs one more look for what may go.
fn note(layout: &Layout, at: Timestamp) {
    if let Err(error) = std::fs::write(layout.pruned(), at.as_micros().to_string()) {
        tracing::warn!(%error, "the time of the removal could not be noted");
    }
}

/// One pruning.
#[derive(Clone)]
struct Work {
    database: Database,
    blobs: Blobs,
    layout: Layout,
    terms: Terms,
    /// Blobs put since then are young.
    since: Timestamp,
}

impl Work {
    fn of(workshop: &Workshop) -> Self {
        let now = workshop.clock().now();
        Self {
            database: workshop.database().clone(),
            blobs: workshop.blobs().clone(),
            layout: workshop.layout().clone(),
            terms: workshop.shared.settings.retention.terms(now),
            since: back(now, GRACE),
        }
    }

    async fn rehearse(self) -> Result<Pruned, StoreError> {
        blocking(move || {
            let mut pruned = Pruned::default();
            let mut surplus = self.candidates()?;
            self.each_run(|judged| {
                if judged.past {
                    let rows = self.artifacts(judged.run)?;
                    let going = rows.iter().filter(|(name, _)| name != BUNDLE).count();
                    let touched = going > 0 || self.layout.logs(judged.run).exists();
                    pruned.artifacts += going as u64;
                    pruned.changes += u64::from(touched);
                }
                self.mark(judged, &mut surplus)
            })?;
            pruned.blobs = surplus.len() as u64;
            pruned.bytes = surplus.values().sum();
            Ok(pruned)
        })
        .await
    }

    async fn perform(self) -> Result<Pruned, StoreError> {
        let mut pruned = self.forget().await?;
        blocking(move || {
            // Listed before anything is marked: what is put or named later is not on the list, or
            // is young when its turn comes.
            let mut surplus = self.candidates()?;
            self.each_run(|judged| self.mark(judged, &mut surplus))?;
            for digest in surplus.keys() {
                if let Some(bytes) = self.blobs.remove_unused(digest, self.since)? {
                    pruned.blobs += 1;
                    pruned.bytes += bytes;
                }
            }
            Ok(pruned)
        })
        .await
    }

    /// The first half: the rows of artifacts, and the logs.
    async fn forget(&self) -> Result<Pruned, StoreError> {
        let work = self.clone();
        let past = blocking(move || {
            let mut past: Vec<RunId> = Vec::new();
            work.each_run(|judged| {
                past.extend(judged.past.then_some(judged.run));
                Ok(())
            })?;
            Ok(past)
        });
        let mut pruned = Pruned::default();
        for some in past.await?.chunks(usize::from(RUNS_AT_ONCE)) {
            let (terms, some) = (self.terms, some.to_vec());
            // Whether it is still past its time is asked again with the removal.
            let forgotten = self
                .database
                .write::<_, StoreError, _>(move |tx| {
                    some.into_iter()
                        .map(|run| Ok((run, retention::forget(tx, terms, run, BUNDLE)?)))
                        .collect::<Result<Vec<_>, StoreError>>()
                })
                .await?;
            for (run, artifacts) in forgotten {
                let logs = match std::fs::remove_dir_all(self.layout.logs(run)) {
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => false,
                    other => other.map(|()| true)?,
                };
                pruned.artifacts += artifacts;
                pruned.changes += u64::from(logs || artifacts > 0);
            }
        }
        Ok(pruned)
    }

    /// Blobs that are not young, with their size on the disk.
    fn candidates(&self) -> Result<HashMap<Digest, u64>, StoreError> {
        let stored = self.blobs.stored()?.into_iter();
        Ok(stored
            .filter(|blob| blob.put_at < self.since)
            .map(|blob| (blob.digest, blob.size))
            .collect())
    }

    /// Shows every run of every scope: the blobs are one store for all of them.
    fn each_run(
        &self,
        mut visit: impl FnMut(Judged) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let scopes: Vec<Scope> = self.database.read_now(retention::scopes)?;
        for scope in scopes {
            let mut after = None;
            loop {
                let page: Vec<Judged> = self.database.read_now(|tx| {
                    retention::runs(tx, &scope, self.terms, after, i64::from(RUNS_AT_ONCE))
                })?;
                let Some(last) = page.last() else { break };
                after = Some(last.run);
                page.into_iter().try_for_each(&mut visit)?;
            }
        }
        Ok(())
    }

    fn artifacts(&self, run: RunId) -> Result<Vec<(String, Digest)>, StoreError> {
        let rows = self.database.read_now(|tx| releases::artifacts(tx, run))?;
        Ok(rows.into_iter().map(|row| (row.name, row.digest)).collect())
    }

    /// Takes away from the candidates what a run refers to.
    fn mark(&self, judged: Judged, surplus: &mut HashMap<Digest, u64>) -> Result<(), StoreError> {
        let Judged { run, past } = judged;
        if surplus.is_empty() {
            return Ok(());
        }
        for (name, digest) in self.artifacts(run)? {
            if !past || name == BUNDLE {
                surplus.remove(&digest);
            }
        }
        if past {
            let payloads: Vec<Digest> = self
                .database
                .read_now(|tx| retention::payload_blobs(tx, run))?;
            for digest in payloads {
                surplus.remove(&digest);
            }
            return Ok(());
        }
        let mut after = -1;
        loop {
            let entries = self
                .database
                .read_now(|tx| journal::list(tx, run, after, ENTRIES_PAGE));
            let entries = match entries {
                // What its entries referred to went with them.
                Err(StoreError::Removed { .. }) => return Ok(()),
                entries => entries?,
            };
            let Some(last) = entries.last() else {
                return Ok(());
            };
            after = last.seq;
            for entry in entries {
                let large = match entry.payload_blob {
                    Some(digest) => {
                        surplus.remove(&digest);
                        self.blobs.get(&digest)?
                    }
                    None => None,
                };
                for payload in entry.payload.iter().chain(&large) {
                    digests(payload, |digest| {
                        surplus.remove(&digest);
                    });
                }
            }
        }
    }
}

/// Every digest that some bytes spell, in whatever place.
fn digests(bytes: &[u8], mut found: impl FnMut(Digest)) {
    let hexadecimal = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    for word in bytes.split(|byte| !hexadecimal(byte)) {
        for window in word.windows(64) {
            let text = std::str::from_utf8(window).ok();
            if let Some(digest) = text.and_then(|text| text.parse().ok()) {
                found(digest);
            }
        }
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(StoreError::Unavailable("the removal was cut off".into())))
}

#[cfg(test)]
mod tests;
