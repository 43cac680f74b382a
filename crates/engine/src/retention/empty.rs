//! Letting the entries of removed runs go.

use matrix_core::RunId;
use matrix_store::tables::removal::{self, EndRow, Parted, Swapped};
use matrix_store::tables::retention::Terms;
use matrix_store::{Database, StoreError, Tx};
use serde::{Deserialize, Serialize};

use super::remove::Counted;
use crate::error::StepError;
use crate::step::StepContext;

/// Runs that are emptied in one step.
const RUNS: i64 = 50;

/// Entries that are deleted in one transaction.
const ENTRIES: i64 = 500;

/// Months that one removal takes to hand.
const MONTHS: i64 = 240;

/// Runs of a month that are looked at in one transaction.
const MONTH_RUNS: i64 = 200;

/// How often the copy of a month is made again because somebody changed what stays meanwhile.
const COPIES_MAX: u32 = 5;

/// What was deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Emptied {
    /// Of which runs, and how much.
    pub(super) emptied: Counted,
    /// Whether there are more.
    pub(super) more: bool,
}

/// Deletes the entries of the next removed runs; there are none where entries go by months.
pub(super) async fn empty_page(
    database: &Database,
    context: &StepContext,
) -> Result<Emptied, StepError> {
    let find = |tx: &Tx<'_>| removal::to_empty(tx, RUNS);
    let runs: Vec<EndRow> = database.read::<_, StoreError, _>(find).await?;
    let more = runs.len() as u64 == RUNS.cast_unsigned();
    let mut emptied = Counted::default();
    for end in runs {
        empty(database, &end).await?;
        emptied.add(&end);
        context.heartbeat().await?;
    }
    Ok(Emptied { emptied, more })
}

/// Deletes a run's entries from the end, so that the first one says that it is not done.
async fn empty(database: &Database, end: &EndRow) -> Result<(), StepError> {
    let (run, first) = (end.run, end.fork_seq + 1);
    let mut last = end.head_seq;
    while last >= first {
        let from = first.max(last - ENTRIES + 1);
        database
            .write::<_, StoreError, _>(move |tx| removal::empty(tx, run, from, last))
            .await?;
        last = from - 1;
    }
    let done = database
        .write::<_, StoreError, _>(move |tx| removal::emptied(tx, run))
        .await?;
    if done {
        return Ok(());
    }
    let text = format!(
        "entries of {run} stay, because their hashes are not kept; `matrix journal verify` says \
         what is wrong with the journal"
    );
    Err(StepError::permanent("not_covered", text))
}

/// The months of which entries are to go, each with a run that began in it.
pub(super) async fn months(database: &Database) -> Result<Vec<(String, RunId)>, StoreError> {
    database.read(|tx| removal::months(tx, MONTHS)).await
}

/// What is to become of a month, or became of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub(super) enum Month {
    /// What stays is copied.
    Copied {
        /// Entries that go.
        removed: u64,
        /// Entries that stay.
        kept: u64,
    },
    /// The partition was dropped and another one is in its place.
    Dropped {
        /// SHA-256 over the hashes of the entries that stay.
        kept: String,
    },
    /// It stays as it is.
    Stays {
        /// Why, in a word.
        because: String,
    },
}

/// Copies what stays of a month.
pub(super) async fn copy(
    database: &Database,
    context: &StepContext,
    of: RunId,
    terms: Terms,
) -> Result<Month, StepError> {
    loop {
        let part = move |tx: &Tx<'_>| removal::part(tx, of, terms, MONTH_RUNS);
        match database.write::<_, StoreError, _>(part).await? {
            Parted::More => context.heartbeat().await?,
            Parted::Whole { removed, kept } => return Ok(Month::Copied { removed, kept }),
            Parted::Stays(because) => return Ok(Month::Stays { because }),
        }
    }
}

/// Drops a month whose rest is copied. Somebody who uses the journal for long, and somebody who
/// erased what stays since it was copied, only delay that.
pub(super) async fn drop_month(
    database: &Database,
    context: &StepContext,
    of: RunId,
    terms: Terms,
) -> Result<Month, StepError> {
    for _ in 0..COPIES_MAX {
        let swap = move |tx: &Tx<'_>| removal::swap(tx, of, terms);
        match database.write::<_, StoreError, _>(swap).await? {
            Swapped::Dropped { kept } => return Ok(Month::Dropped { kept }),
            Swapped::Stays(because) if because == "busy" => {
                let text = "the journal is in use";
                return Err(StepError::transient("busy", text));
            }
            Swapped::Stays(because) if because == "stale" => {
                if let stays @ Month::Stays { .. } = copy(database, context, of, terms).await? {
                    return Ok(stays);
                }
            }
            Swapped::Stays(because) => return Ok(Month::Stays { because }),
        }
    }
    let because = "its entries change".into();
    Ok(Month::Stays { because })
}
