//! Models in memory: each is read once, when it is first asked, and works for one call at a time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

use super::answer::Speaker;
use super::vectors::{self, Vectors};
use super::{named, unusable};
use crate::provider::{ProviderError, Reason};

/// The most calls that wait for one model.
const WAITING_MAX: usize = 64;

/// When to come back where too many wait: later than the gateway waits itself.
const LATER: Duration = Duration::from_secs(10);

/// Every model that was asked. Each stays until the process ends or its file changes.
#[derive(Debug, Default)]
pub(super) struct Shelf {
    places: Mutex<HashMap<PathBuf, Arc<Place>>>,
}

#[derive(Debug, Default)]
struct Place {
    kept: Arc<Turns<Option<Kept>>>,
    waiting: AtomicUsize,
}

/// A model in memory, and how its file looked when it was read.
#[derive(Debug)]
struct Kept {
    look: Look,
    network: Network,
}

/// By which a change of a file is noticed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Look {
    changed: Option<SystemTime>,
    bytes: u64,
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Network {
    /// It answers.
    Speaker(Box<Speaker>),
    /// It makes vectors.
    Vectors(Box<Vectors>),
}

/// The right to use a model, which is one call's.
#[derive(Debug)]
pub(super) struct Turn {
    kept: OwnedMutexGuard<Option<Kept>>,
    path: PathBuf,
}

/// One of those who wait; it is no more when it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Shelf {
    /// Waits for a turn, first come, first served.
    pub(super) async fn turn(
        &self,
        path: &Path,
        patience: Duration,
    ) -> Result<Turn, ProviderError> {
        let place = {
            let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(places.entry(path.to_owned()).or_default())
        };
        let retry_after = Some(LATER);
        let busy = |why| ProviderError::new(Reason::Busy { retry_after }, why);
        let before = place.waiting.fetch_add(1, Ordering::AcqRel);
        let waiting = Waiting(&place.waiting);
        if before >= WAITING_MAX {
            return Err(busy("too many calls wait for this model"));
        }
        let kept = Arc::clone(&place.kept).lock_owned();
        let kept = tokio::time::timeout(patience, kept).await;
        let kept = kept.map_err(|_| busy("the model was busy with others for too long"))?;
        drop(waiting);
        Ok(Turn {
            kept,
            path: path.to_owned(),
        })
    }
}

impl Turn {
    /// The model, which is read first where it is not in memory or its file has changed. This takes
    /// seconds, and a thread of its own.
    pub(super) fn network(&mut self) -> Result<&Network, ProviderError> {
        let look = look(&self.path).map_err(|error| named(&self.path, &error))?;
        if self.kept.as_ref().is_none_or(|kept| kept.look != look) {
            // First, so that there is never room needed for both.
            *self.kept = None;
            let network = read(&self.path).map_err(|error| named(&self.path, &error))?;
            tracing::info!(path = %self.path.display(), "a model was read");
            *self.kept = Some(Kept { look, network });
        }
        match &*self.kept {
            Some(kept) => Ok(&kept.network),
            None => Err(unusable("it is not in memory")),
        }
    }
}

fn look(path: &Path) -> Result<Look, ProviderError> {
    let file = if speaks(path) {
        path.to_owned()
    } else {
        vectors::weights(path)
    };
    let data = std::fs::metadata(file).map_err(unusable)?;
    if !data.is_file() {
        return Err(unusable("it is no file"));
    }
    Ok(Look {
        changed: data.modified().ok(),
        bytes: data.len(),
    })
}

fn speaks(path: &Path) -> bool {
    path.extension().is_some_and(|kind| kind == "gguf")
}

fn read(path: &Path) -> Result<Network, ProviderError> {
    if speaks(path) {
        let speaker = Speaker::read(path)?;
        return Ok(Network::Speaker(Box::new(speaker)));
    }
    let vectors = Vectors::read(path)?;
    Ok(Network::Vectors(Box::new(vectors)))
}
