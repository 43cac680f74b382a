//! How much of files and batches a workspace may have.

use std::sync::{Arc, Mutex, PoisonError};

use matrix_core::{RunId, Scope};
use matrix_engine::{Beside, Engine, NewRun};
use matrix_store::tables::model_batches;
use matrix_store::{StoreError, Tx};

use crate::error::ModelError;

/// How much of files and batches a workspace may have at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// Batches that have not ended.
    pub batches: u32,
    /// The bytes of all files that were put here and not removed.
    pub file_bytes: u64,
}

impl Default for Quota {
    fn default() -> Self {
        Self {
            batches: 100,
            file_bytes: 10 * 1024 * 1024 * 1024,
        }
    }
}

impl Quota {
    /// What is in the way of a file of so many bytes, if anything is.
    pub(super) fn of_file(
        self,
        tx: &Tx<'_>,
        scope: &Scope,
        bytes: i64,
    ) -> Result<Option<ModelError>, StoreError> {
        let most = i64::try_from(self.file_bytes).unwrap_or(i64::MAX);
        let held = model_batches::bytes(tx, scope)?;
        let full = held.saturating_add(bytes) > most;
        Ok(full.then(|| ModelError::Full {
            what: "bytes of files",
            held: u64::try_from(held).unwrap_or(0),
            most: self.file_bytes,
        }))
    }

    /// What is in the way of one more batch, if anything is.
    pub(super) fn of_batch(
        self,
        tx: &Tx<'_>,
        scope: &Scope,
    ) -> Result<Option<ModelError>, StoreError> {
        let open = u64::try_from(model_batches::open(tx, scope)?).unwrap_or(0);
        let most = u64::from(self.batches);
        Ok((open >= most).then_some(ModelError::Full {
            what: "batches that have not ended",
            held: open,
            most,
        }))
    }
}

/// Creates a run with what is noted of it, unless something is in its way: both are looked at in the
/// transaction that writes it.
pub(super) async fn create<F>(engine: &Engine, new: NewRun, note: F) -> Result<RunId, ModelError>
where
    F: FnOnce(&Tx<'_>, RunId) -> Result<Option<ModelError>, StoreError> + Send + 'static,
{
    let full = Arc::new(Mutex::new(None));
    let found = Arc::clone(&full);
    let beside: Beside = Box::new(move |tx, run| match note(tx, run)? {
        None => Ok(()),
        Some(error) => {
            let why = error.to_string();
            *found.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
            Err(StoreError::Conflict(why))
        }
    });
    let created = engine.create_run_beside(new, beside).await;
    let full = full.lock().unwrap_or_else(PoisonError::into_inner).take();
    match full {
        Some(error) => Err(error),
        None => Ok(created?),
    }
}
