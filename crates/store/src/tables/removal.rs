//! Runs whose journals are removed: what may still need one, the mark that it is removed, and its
//! entries going.
//!
//! A removed run keeps its row. From the mark on nobody reads its journal or forks it; the entries
//! go behind it. On SQLite they go run by run in short transactions; on PostgreSQL, where nobody may
//! delete an entry, with their month's partition, by functions of the tables' owner that look at
//! everything again ([`part`], [`swap`]).

use matrix_core::{Digest, RunId, Scope, Timestamp};

use super::retention::{Terms, needed_deployment, needed_release};
use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const LOCK: Statement = Statement::new("removal.lock", "SELECT 1")
    .on_postgres("SELECT pg_advisory_xact_lock(7223919)::TEXT");
const CANDIDATES: Statement = Statement::new(
    "removal.candidates",
    "SELECT run FROM runs
     WHERE removed_at IS NULL AND run < $1 AND updated_at < $2
           AND state IN ('succeeded', 'failed', 'cancelled')
     ORDER BY run DESC LIMIT $3",
);
macro_rules! facts {
    ($lock:literal) => {
        concat!(
            "SELECT organisation, workspace, kind, state, updated_at, hold, head_seq, fork_seq,
                    head_hash
             FROM runs WHERE run = $1 AND removed_at IS NULL",
            $lock
        )
    };
}
const FACTS: Statement = Statement::new("removal.facts", facts!(""));
/// Whoever forks or holds the run meanwhile has to wait, and what is asked next sees what they did.
const FACTS_LOCKING: Statement = FACTS.on_postgres(facts!(" FOR UPDATE"));
const FORKS: Statement = Statement::new(
    "removal.forks",
    "SELECT run FROM runs WHERE forked_from = $1 AND removed_at IS NULL ORDER BY run LIMIT $2",
);
const CHILD: Statement = Statement::new(
    "removal.child",
    "SELECT 1 FROM runs
     WHERE parent = $1 AND state IN ('ready', 'running', 'waiting', 'paused') LIMIT 1",
);
const USES: Statement = Statement::new(
    "removal.uses",
    concat!(
        "SELECT CASE WHEN EXISTS (SELECT 1 FROM deployments d WHERE d.run = $1 AND ",
        needed_deployment!(),
        ") THEN 1 ELSE 0 END,
                CASE WHEN EXISTS (SELECT 1 FROM releases r WHERE r.run = $1 AND ",
        needed_release!("$2"),
        ") THEN 1 ELSE 0 END"
    ),
);
/// See `journal.list`.
const PLACES: Statement = Statement::new(
    "removal.places",
    "WITH RECURSIVE place (seq, last) AS (
       SELECT max($2, fork_seq) + 1, head_seq FROM runs WHERE run = $1
       UNION ALL SELECT seq + 1, last FROM place WHERE seq < last)
     SELECT j.seq, j.shard, j.lsn
     FROM place CROSS JOIN journal j ON j.seq = place.seq AND j.run = $1 LIMIT $3",
)
.on_postgres(
    "SELECT seq, shard, lsn FROM journal WHERE run = $1 AND seq > $2 ORDER BY seq LIMIT $3",
);
const MARK: Statement = Statement::new(
    "removal.mark",
    "UPDATE runs SET removed_at = $2, removed_by = $3 WHERE run = $1 AND removed_at IS NULL",
);
const REMOVED: Statement = Statement::new(
    "removal.removed",
    "SELECT run, head_seq, fork_seq, head_hash FROM runs
     WHERE removed_at IS NOT NULL AND emptied = 0 AND removed_by = $1 AND run >= $2 AND run < $3
     ORDER BY run DESC",
);
const BY: Statement = Statement::new(
    "removal.by",
    "SELECT DISTINCT removed_by FROM runs WHERE removed_at IS NOT NULL ORDER BY removed_by",
);
const RECORDED: Statement = Statement::new(
    "removal.recorded",
    "SELECT run, head_seq, fork_seq, head_hash FROM runs
     WHERE removed_at IS NOT NULL AND removed_by = $1 AND run >= $2 AND run <= $3
     ORDER BY run DESC",
);
/// On PostgreSQL months go, and no run's entries alone.
const TO_EMPTY: Statement = Statement::new(
    "removal.to_empty",
    "SELECT run, head_seq, fork_seq, head_hash FROM runs
     WHERE removed_at IS NOT NULL AND emptied = 0 ORDER BY run LIMIT $1",
)
.on_postgres("SELECT run, head_seq, fork_seq, head_hash FROM runs WHERE false LIMIT $1");
/// Only entries whose hash is kept go, and none beyond the newest head. On PostgreSQL nobody may
/// delete an entry.
const EMPTY: Statement = Statement::new(
    "removal.empty",
    "DELETE FROM journal WHERE lsn IN (
       WITH RECURSIVE place (seq) AS (
         SELECT $2 UNION ALL SELECT seq + 1 FROM place WHERE seq < $3)
       SELECT j.lsn FROM place CROSS JOIN journal j ON j.seq = place.seq AND j.run = $1
       WHERE j.lsn <= (SELECT max(c.size) FROM checkpoints c WHERE c.shard = j.shard)
         AND EXISTS (SELECT 1 FROM leaves l
                     WHERE l.shard = j.shard AND l.first <= j.lsn AND l.first > j.lsn - 256
                       AND substr(l.hashes, (j.lsn - l.first) * 32 + 1, 32) = j.hash))
     AND EXISTS (SELECT 1 FROM runs WHERE run = $1 AND removed_at IS NOT NULL)",
)
.on_postgres(
    "UPDATE runs SET emptied = emptied
     WHERE false AND run = $1 AND fork_seq >= $2 AND head_seq <= $3",
);
const EMPTIED: Statement = Statement::new(
    "removal.emptied",
    "UPDATE runs SET emptied = 1 WHERE run = $1 AND removed_at IS NOT NULL
        AND NOT EXISTS (SELECT 1 FROM journal WHERE seq = runs.fork_seq + 1 AND run = $1)",
);
const LOGS: Statement = Statement::new("removal.logs", "DELETE FROM task_logs WHERE run = $1");
/// SQLite has no months.
const MONTHS: Statement = Statement::new(
    "removal.months",
    "SELECT '', run FROM runs WHERE 0 LIMIT $1",
)
.on_postgres(
    "SELECT DISTINCT ON (run_month(run)) to_char(run_month(run), 'YYYY_MM'), run FROM runs
     WHERE removed_at IS NOT NULL AND emptied = 0 ORDER BY run_month(run), run LIMIT $1",
);
const PART: Statement = Statement::new("removal.part", "SELECT 'nothing' WHERE $1 <> $2 + $3 + $4")
    .on_postgres("SELECT journal_part($1, $2, $3, $4)");
const SWAP: Statement = Statement::new("removal.swap", "SELECT 'nothing' WHERE $1 <> $2 + $3")
    .on_postgres("SELECT journal_swap($1, $2, $3)");
const MONTH_EMPTIED: Statement = Statement::new(
    "removal.month_emptied",
    "UPDATE runs SET emptied = 1 WHERE 0 AND run = $1",
)
.on_postgres(
    "UPDATE runs SET emptied = 1
     WHERE removed_at IS NOT NULL AND emptied = 0 AND run_month(run) = run_month($1)",
);
const MONTH_LOGS: Statement = Statement::new(
    "removal.month_logs",
    "DELETE FROM task_logs WHERE 0 AND run = $1",
)
.on_postgres(
    "DELETE FROM task_logs WHERE run IN (
       SELECT run FROM runs WHERE removed_at IS NOT NULL AND emptied = 0
                              AND run_month(run) = run_month($1))",
);

/// Every statement of this subject.
pub const STATEMENTS: &[Statement] = &[
    LOCK,
    CANDIDATES,
    FACTS,
    FACTS_LOCKING,
    FORKS,
    CHILD,
    USES,
    PLACES,
    MARK,
    REMOVED,
    BY,
    RECORDED,
    TO_EMPTY,
    EMPTY,
    EMPTIED,
    LOGS,
    MONTHS,
    PART,
    SWAP,
    MONTH_EMPTIED,
    MONTH_LOGS,
];

/// The most forks of a run that are named.
pub const FORKS_MAX: i64 = 100;

/// What is known of a run whose journal may go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FactsRow {
    /// Where its journal ends.
    pub end: EndRow,
    /// The durable function's kind.
    pub kind: String,
    /// See [`runs`](super::runs::RunRow).
    pub state: String,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// Why a person holds it; empty if nobody does.
    pub hold: String,
    /// Its forks that are not removed, at most [`FORKS_MAX`] of them.
    pub forks: Vec<RunId>,
    /// Whether a run that it started goes on.
    pub has_child: bool,
    /// Whether a deployment of it is active or the one to go back to.
    pub is_deployed: bool,
    /// Whether it has a release that is kept.
    pub is_released: bool,
}

/// A run and where its own journal begins and ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EndRow {
    /// The run.
    pub run: RunId,
    /// Position of its newest entry.
    pub head_seq: i64,
    /// Position before its first own entry.
    pub fork_seq: i64,
    /// Hash of its newest entry.
    pub head_hash: Digest,
}

fn end(row: &Row) -> Result<EndRow, StoreError> {
    Ok(EndRow {
        run: row.get(0)?,
        head_seq: row.get(1)?,
        fork_seq: row.get(2)?,
        head_hash: row.get(3)?,
    })
}

/// Waits for another process that removes runs, until the transaction ends.
pub fn lock(tx: &Tx<'_>) -> Result<(), StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&LOCK, params![]).map(drop)
}

/// Runs of every tenant before one that ended before a time and have their journal, the newest
/// first, so that a fork comes before what it was forked from.
pub fn candidates(
    tx: &Tx<'_>,
    before: RunId,
    ended_before: Timestamp,
    limit: i64,
) -> Result<Vec<RunId>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&CANDIDATES, params![&before, ended_before, limit])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// What may need a run; nothing for one that is removed or not there. In a transaction that writes,
/// nobody else forks, holds or removes the run before that one ends.
pub fn facts(tx: &Tx<'_>, run: RunId, terms: Terms) -> Result<Option<FactsRow>, StoreError> {
    tx.require_engine("the removal of runs")?;
    let statement = if tx.writes() { &FACTS_LOCKING } else { &FACTS };
    let Some(row) = tx.query_one(statement, params![&run])? else {
        return Ok(None);
    };
    let forks = tx.query(&FORKS, params![&run, FORKS_MAX])?;
    let has_child = tx.query_one(&CHILD, params![&run])?.is_some();
    let scope = Scope {
        organisation: row.get(0)?,
        workspace: row.get(1)?,
    };
    let (is_deployed, is_released) = tx.within(&scope, |tx| {
        let uses = tx.query(&USES, params![&run, terms.releases])?;
        let uses = uses
            .first()
            .ok_or_else(|| StoreError::corrupt(format_args!("run {run}")))?;
        Ok::<_, StoreError>((uses.get::<i64>(0)? == 1, uses.get::<i64>(1)? == 1))
    })?;
    Ok(Some(FactsRow {
        end: EndRow {
            run,
            head_seq: row.get(6)?,
            fork_seq: row.get(7)?,
            head_hash: row.get(8)?,
        },
        kind: row.get(2)?,
        state: row.get(3)?,
        updated_at: row.get(4)?,
        hold: row.get(5)?,
        forks: forks
            .iter()
            .map(|row| row.get(0))
            .collect::<Result<_, _>>()?,
        has_child,
        is_deployed,
        is_released,
    }))
}

/// Where a run's own entry stands: its position in the run, the shard, the position there.
pub type PlaceRow = (i64, i64, i64);

/// Where a run's own entries after a position stand, in order, at most `limit`.
pub fn places(
    tx: &Tx<'_>,
    run: RunId,
    after: i64,
    limit: i64,
) -> Result<Vec<PlaceRow>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&PLACES, params![&run, after, limit])?
        .iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
        .collect()
}

/// Marks a run as removed by another one; false if it was before.
pub fn mark(tx: &Tx<'_>, run: RunId, by: RunId, at: Timestamp) -> Result<bool, StoreError> {
    tx.require_engine("the removal of runs")?;
    Ok(tx.execute(&MARK, params![&run, at, &by])? == 1)
}

/// Runs from one on and before another that a run has removed and whose entries are not gone yet,
/// the newest first.
pub fn removed(
    tx: &Tx<'_>,
    by: RunId,
    from: RunId,
    before: RunId,
) -> Result<Vec<EndRow>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&REMOVED, params![&by, &from, &before])?
        .iter()
        .map(end)
        .collect()
}

/// Every run in whose name others were removed.
pub fn removals(tx: &Tx<'_>) -> Result<Vec<RunId>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&BY, params![])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// Runs from one up to and with another that a run has removed, the newest first.
pub fn recorded(
    tx: &Tx<'_>,
    by: RunId,
    oldest: RunId,
    newest: RunId,
) -> Result<Vec<EndRow>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&RECORDED, params![&by, &oldest, &newest])?
        .iter()
        .map(end)
        .collect()
}

/// Removed runs whose entries are to be deleted, the oldest first, at most `limit`; none where
/// entries go by [`months`].
pub fn to_empty(tx: &Tx<'_>, limit: i64) -> Result<Vec<EndRow>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&TO_EMPTY, params![limit])?
        .iter()
        .map(end)
        .collect()
}

/// Deletes the entries of a removed run from one position up to and with another, as far as their
/// hashes are kept; gives how many went. Last comes the first entry, whose place says that a run is
/// not emptied.
pub fn empty(tx: &Tx<'_>, run: RunId, first: i64, last: i64) -> Result<u64, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.execute(&EMPTY, params![&run, first, last])
}

/// Says that the entries of a removed run are gone, and deletes what workers printed for it; false
/// if they are not.
pub fn emptied(tx: &Tx<'_>, run: RunId) -> Result<bool, StoreError> {
    tx.require_engine("the removal of runs")?;
    let done = tx.execute(&EMPTIED, params![&run])? == 1;
    if done {
        tx.execute(&LOGS, params![&run])?;
    }
    Ok(done)
}

/// Months of which entries are to go, the oldest first, each with a run that began in it, at most
/// `limit`; none where entries are deleted run by run.
pub fn months(tx: &Tx<'_>, limit: i64) -> Result<Vec<(String, RunId)>, StoreError> {
    tx.require_engine("the removal of runs")?;
    tx.query(&MONTHS, params![limit])?
        .iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect()
}

/// How far the copy of what stays of a month is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parted {
    /// There are more runs to look at.
    More,
    /// All were looked at.
    Whole {
        /// Entries that go.
        removed: u64,
        /// Entries that stay.
        kept: u64,
    },
    /// The month stays as it is, and why: a word.
    Stays(String),
}

/// Copies what stays of the next `most` runs of the month in which a run began, and makes sure that
/// the hashes of what goes are kept.
pub fn part(tx: &Tx<'_>, of: RunId, terms: Terms, most: i64) -> Result<Parted, StoreError> {
    tx.require_engine("the removal of runs")?;
    let params = params![&of, terms.ended_before, terms.releases, most];
    let said = answer(tx.query_one(&PART, params)?)?;
    if said == "more" {
        return Ok(Parted::More);
    }
    let Some(counts) = said.strip_prefix("whole ") else {
        return Ok(Parted::Stays(said));
    };
    let counts = counts
        .split_once(' ')
        .and_then(|(removed, kept)| removed.parse().ok().zip(kept.parse().ok()));
    let (removed, kept) =
        counts.ok_or_else(|| StoreError::corrupt(format_args!("the answer `{said}`")))?;
    Ok(Parted::Whole { removed, kept })
}

/// What became of a month.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Swapped {
    /// Its entries are gone, but those of runs that stay.
    Dropped {
        /// SHA-256 over the hashes of those that stay, by run and position, in hexadecimal digits.
        kept: String,
    },
    /// It stays as it is, and why: a word.
    Stays(String),
}

/// Puts what [`part`] copied in the place of the whole month, if nothing speaks against it.
pub fn swap(tx: &Tx<'_>, of: RunId, terms: Terms) -> Result<Swapped, StoreError> {
    tx.require_engine("the removal of runs")?;
    let said = answer(tx.query_one(&SWAP, params![&of, terms.ended_before, terms.releases])?)?;
    let Some(kept) = said.strip_prefix("dropped ").map(str::to_owned) else {
        return Ok(Swapped::Stays(said));
    };
    tx.execute(&MONTH_LOGS, params![&of])?;
    tx.execute(&MONTH_EMPTIED, params![&of])?;
    Ok(Swapped::Dropped { kept })
}

fn answer(row: Option<Row>) -> Result<String, StoreError> {
    row.map_or_else(|| Ok("nothing".into()), |row| row.get(0))
}
