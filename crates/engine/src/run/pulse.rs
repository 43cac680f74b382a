//! Signs of life of a step under way, and how far it is.
//!
//! A sign of life is not an entry: the journal says what happened, and that somebody still works is
//! true for a moment only. The attempt's last sign stands in memory, where the owner that awaits the
//! attempt looks at it; how far it is goes to a row beside the journal, at most once a second, for
//! whoever watches.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use matrix_store::StoreError;
use matrix_store::tables::runs;
use matrix_store::tables::step_progress::{self, ProgressRow};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::Run;
use crate::error::{RunError, StepError};
use crate::storage::Purpose;

/// How often news of a step are written at most.
const INTERVAL: Duration = Duration::from_secs(1);

/// The longest time until it is looked again whether a step is silent, so that a clock that stood
/// still is noticed.
const LOOK: Duration = Duration::from_millis(250);

/// The most characters of a message.
const MESSAGE_MAX: usize = 200;

/// The code of the error that stands for an attempt that showed no sign of life.
pub const SILENT: &str = "heartbeat_timeout";

/// The code of the error that a sign of life gets when nobody wants it any more.
pub const UNHEARD: &str = "attempt_over";

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// How much is done, in units of the step's own.
    pub done: u64,
    /// How much there is to do, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<u64>,
    /// What it is doing, in a few words; at most 200 characters are kept.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
}

/// One attempt's signs of life. Its clones are the same attempt's.
#[derive(Debug, Clone)]
pub(crate) struct Pulse {
    run: Run,
    path: String,
    attempt: Arc<Attempt>,
}

#[derive(Debug, Default)]
struct Attempt {
    /// Whether its owner awaits it.
    open: AtomicBool,
    /// When it last showed a sign of life, in microseconds of the owner's monotonic clock.
    last: AtomicU64,
    newest: Mutex<Option<Progress>>,
    news: Notify,
}

/// Closes an attempt: what is left of it is not heard any more.
struct Awaited(Arc<Attempt>);

impl Drop for Awaited {
    fn drop(&mut self) {
        self.0.open.store(false, Ordering::SeqCst);
    }
}

impl Pulse {
    pub(super) fn new(run: &Run, path: &str) -> Self {
        Self {
            run: run.clone(),
            path: path.to_owned(),
            attempt: Arc::default(),
        }
    }

    /// A sign of life; refused when the attempt is over, or the run is somebody else's by now.
    pub(crate) async fn beat(&self, progress: Option<Progress>) -> Result<(), StepError> {
        let unheard = |why: &str| StepError::transient(UNHEARD, format!("`{}`: {why}", self.path));
        if !self.attempt.open.load(Ordering::SeqCst) {
            return Err(unheard("the attempt was given up"));
        }
        match self.run.hold().await {
            Ok(()) => {}
            Err(RunError::Store(error)) => return Err(error.into()),
            Err(_) => return Err(unheard("another worker has the run")),
        }
        self.attempt.last.store(self.now(), Ordering::SeqCst);
        if let Some(progress) = progress {
            let newest = self.attempt.newest.lock();
            *newest.unwrap_or_else(PoisonError::into_inner) = Some(progress.bounded());
            self.attempt.news.notify_one();
        }
        Ok(())
    }

    /// Awaits the attempt's work as long as it shows signs of life, and tells how far it is.
    pub(super) async fn attend<T>(
        &self,
        timeout: Option<Duration>,
        mut work: Pin<&mut impl Future<Output = Result<T, StepError>>>,
    ) -> Result<Result<T, StepError>, RunError> {
        self.attempt.last.store(self.now(), Ordering::SeqCst);
        self.attempt.open.store(true, Ordering::SeqCst);
        let _awaited = Awaited(Arc::clone(&self.attempt));
        let mut told = None;
        loop {
            tokio::select! {
                biased;
                done = work.as_mut() => return Ok(done),
                silence = self.silence(timeout) => {
                    let text = format!("no sign of life for {} ms", silence.as_millis());
                    return Ok(Err(StepError::transient(SILENT, text)));
                }
                () = self.news(told) => {
                    told = Some(self.clock());
                    self.tell().await?;
                }
            }
        }
    }

    fn clock(&self) -> Duration {
        self.run.execution.journal.clock.monotonic()
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock().as_micros()).unwrap_or(u64::MAX)
    }

    /// Ready when the attempt has shown no sign of life for this long.
    async fn silence(&self, timeout: Option<Duration>) -> Duration {
        let Some(timeout) = timeout else {
            return std::future::pending().await;
        };
        loop {
            let last = self.attempt.last.load(Ordering::SeqCst);
            let silent = self.clock().saturating_sub(Duration::from_micros(last));
            let left = timeout.saturating_sub(silent);
            if left.is_zero() {
                return silent;
            }
            tokio::time::sleep(left.min(LOOK)).await;
        }
    }

    /// Ready when there are news, and the last ones were told an interval ago.
    async fn news(&self, told: Option<Duration>) {
        self.attempt.news.notified().await;
        if let Some(told) = told {
            let since = self.clock().saturating_sub(told);
            tokio::time::sleep(INTERVAL.saturating_sub(since)).await;
        }
    }

    /// Writes how far the step is, for whoever watches. What cannot be written is told again with
    /// the next news.
    async fn tell(&self) -> Result<(), RunError> {
        let newest = self.attempt.newest.lock();
        let newest = newest.unwrap_or_else(PoisonError::into_inner).clone();
        let Some(progress) = newest.and_then(|newest| serde_json::to_string(&newest).ok()) else {
            return Ok(());
        };
        let execution = &self.run.execution;
        let (fence, journal) = (execution.fence, &execution.journal);
        execution.say_told(&self.path);
        let row = ProgressRow {
            run: fence.run,
            path: self.path.clone(),
            epoch: fence.epoch,
            at: journal.clock.now(),
            progress,
        };
        let said = journal
            .storage
            .write::<_, StoreError, _>(Purpose::Progress(fence), move |tx| {
                let head = runs::head(tx, fence.run)?;
                if head.is_none_or(|head| head.epoch != fence.epoch) {
                    return Ok(false);
                }
                step_progress::say(tx, &row).map(|()| true)
            })
            .await;
        match said {
            Ok(true) => journal.announce(),
            Ok(false) => return Err(RunError::Lost),
            Err(error) => tracing::debug!(%error, "how far a step is was not written"),
        }
        Ok(())
    }
}

impl Progress {
    fn bounded(mut self) -> Self {
        if let Some((end, _)) = self.message.char_indices().nth(MESSAGE_MAX) {
            self.message.truncate(end);
        }
        self
    }
}
