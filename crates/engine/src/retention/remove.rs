//! Marking runs as removed, a page at a time.

use std::collections::{BTreeMap, BTreeSet};

use matrix_core::{Digest, RunId, Timestamp};
use matrix_store::tables::removal::{self, EndRow, FORKS_MAX, FactsRow};
use matrix_store::tables::retention::Terms;
use matrix_store::tables::{checkpoints, journal};
use matrix_store::{Database, StoreError, Tx};
use serde::{Deserialize, Serialize};

use super::cover::{Covered, cover};
use super::function::KIND;
use super::rule::{Facts, Reason, judge};
use crate::worker::is_terminal;

/// Runs that are looked at in one step.
const PAGE: i64 = 50;

/// How many runs stay, by why.
pub type Kept = BTreeMap<Reason, u64>;

/// Runs with their own entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Counted {
    /// How many runs.
    pub runs: u64,
    /// How many entries of their own they have together.
    pub entries: u64,
}

impl Counted {
    pub(super) fn add(&mut self, end: &EndRow) {
        self.runs += 1;
        self.entries += (end.head_seq - end.fork_seq).cast_unsigned();
    }

    pub(super) fn add_all(&mut self, other: Self) {
        self.runs += other.runs;
        self.entries += other.entries;
    }
}

/// What became of a page of runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Page {
    /// What was removed.
    pub(super) removed: Counted,
    /// The newest and the oldest removed run.
    pub(super) between: Option<(RunId, RunId)>,
    /// SHA-256 over the ids of the removed runs, each followed by the hash of its newest entry, the
    /// newest run first.
    pub(super) digest: Digest,
    /// What stays.
    pub(super) kept: Kept,
    /// The run before which the next page begins, if there is one.
    pub(super) next: Option<RunId>,
}

/// The last id there can be, behind which the first page begins: a run's id is of the clock of
/// whoever created it, so no id says that a run is too young.
pub(super) fn last_id() -> RunId {
    RunId::from_bytes([0xff; 16])
}

/// Removes what may go of the runs before one, in the name of another, which is the removal. Done
/// again after an interruption it says of what was removed before as well.
pub(super) async fn remove_page(
    database: &Database,
    by: RunId,
    before: RunId,
    terms: Terms,
    now: Timestamp,
) -> Result<Page, StoreError> {
    let find = move |tx: &Tx<'_>| removal::candidates(tx, before, terms.ended_before, PAGE);
    let found: Vec<RunId> = database.read(find).await?;
    let next = found.last().copied();
    let next = next.filter(|_| found.len() as u64 == PAGE.cast_unsigned());
    let mut kept = Kept::new();
    for run in found {
        if let Some(reason) = remove(database, by, run, terms, now).await? {
            *kept.entry(reason).or_default() += 1;
        }
    }
    let from = next.unwrap_or_else(|| RunId::from_bytes([0; 16]));
    let gone: Vec<EndRow> = database
        .read(move |tx| removal::removed(tx, by, from, before))
        .await?;
    let mut removed = Counted::default();
    for end in &gone {
        removed.add(end);
    }
    Ok(Page {
        removed,
        between: gone.first().zip(gone.last()).map(|(a, b)| (a.run, b.run)),
        digest: digest(&gone),
        kept,
        next,
    })
}

/// What says which runs they are and how their journals ended.
pub(super) fn digest(gone: &[EndRow]) -> Digest {
    let parts = gone
        .iter()
        .flat_map(|end| [&end.run.as_bytes()[..], &end.head_hash.as_bytes()[..]]);
    Digest::of_parts(&parts.collect::<Vec<_>>())
}

/// Removes a run, or says why it stays.
async fn remove(
    database: &Database,
    by: RunId,
    run: RunId,
    terms: Terms,
    now: Timestamp,
) -> Result<Option<Reason>, StoreError> {
    let look = move |tx: &Tx<'_>| removal::facts(tx, run, terms);
    let Some(row) = database.read::<_, StoreError, _>(look).await? else {
        return Ok(None);
    };
    let first = row.end.fork_seq;
    if let Some(reason) = judge(facts(&row, true, &BTreeSet::new()), terms.ended_before) {
        return Ok(Some(reason));
    }
    let mut covered = Covered::UpTo(first);
    while let Covered::UpTo(after) = covered {
        covered = database
            .write::<_, StoreError, _>(move |tx| cover(tx, run, after))
            .await?;
    }
    let is_sealed = covered == Covered::Whole;
    // What was known may not hold any more; what is known now holds until the mark stands.
    let mark = move |tx: &Tx<'_>| {
        let Some(row) = removal::facts(tx, run, terms)? else {
            return Ok(None);
        };
        let facts = facts(&row, is_sealed, &BTreeSet::new());
        let reason = judge(facts, terms.ended_before);
        if reason.is_none() {
            removal::mark(tx, run, by, now)?;
        }
        Ok(reason)
    };
    database.write::<_, StoreError, _>(mark).await
}

fn facts(row: &FactsRow, is_sealed: bool, going: &BTreeSet<RunId>) -> Facts {
    let many = row.forks.len() as u64 >= FORKS_MAX.cast_unsigned();
    Facts {
        is_terminal: is_terminal(&row.state),
        ended_at: row.updated_at,
        is_record: row.kind == KIND,
        is_held: !row.hold.is_empty(),
        has_fork: many || row.forks.iter().any(|fork| !going.contains(fork)),
        has_child: row.has_child,
        is_deployed: row.is_deployed,
        is_released: row.is_released,
        is_sealed,
    }
}

/// What would go, and what would stay of what ended long enough ago; nothing is changed.
pub(super) fn would_go(database: &Database, terms: Terms) -> Result<(Counted, Kept), StoreError> {
    let (mut counted, mut kept) = (Counted::default(), Kept::new());
    let mut going = BTreeSet::new();
    let mut before = last_id();
    loop {
        let rows: Vec<(RunId, Option<(FactsRow, bool)>)> = database.read_now(|tx| {
            let found = removal::candidates(tx, before, terms.ended_before, PAGE)?;
            let look = |run| Ok((run, look(tx, run, terms)?));
            found
                .into_iter()
                .map(look)
                .collect::<Result<_, StoreError>>()
        })?;
        let Some((last, _)) = rows.last() else {
            return Ok((counted, kept));
        };
        before = *last;
        for (run, row) in rows {
            let Some((row, is_sealed)) = row else {
                continue;
            };
            if let Some(reason) = judge(facts(&row, is_sealed, &going), terms.ended_before) {
                *kept.entry(reason).or_default() += 1;
            } else {
                counted.add(&row.end);
                going.insert(run);
            }
        }
    }
}

/// What is known of a run, and whether its newest entry is under a signed head.
fn look(tx: &Tx<'_>, run: RunId, terms: Terms) -> Result<Option<(FactsRow, bool)>, StoreError> {
    let Some(row) = removal::facts(tx, run, terms)? else {
        return Ok(None);
    };
    let is_sealed = match checkpoints::position(tx, run, row.end.head_seq)? {
        Some((shard, lsn)) => checkpoints::newest(tx, shard)?.is_some_and(|head| head.size >= lsn),
        // A fork that never began has none of its own.
        None => journal::list(tx, run, row.end.fork_seq, 1)?.is_empty(),
    };
    Ok(Some((row, is_sealed)))
}
