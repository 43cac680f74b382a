//! Runs: who owns them, where their journal ends, what they wait for.

use matrix_core::{Digest, RunId, Scope, Timestamp};

use super::queue::{self, Flow, Placement};
use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", run_columns!(), " FROM runs ", $rest)
    };
}

const INSERT: Statement = Statement::new(
    "runs.insert",
    "INSERT INTO runs (run, organisation, workspace, kind, version, title, trace, state, epoch,
                       crashes, head_seq, head_hash, created_at, updated_at, flow,
                       concurrency_key, queued_at, parent, forked_from, fork_seq, base_seq)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, $9, $10, $11, $11, $12, $13, $14, $15, $16, $17,
             $18)",
);
const GET: Statement = Statement::new("runs.get", select!("WHERE run = $1"));
/// A list: `$has` finds the title's part, and `$more` narrows it further.
macro_rules! list {
    (sqlite, $more:literal) => {
        list!("instr(lower(title), lower($6)) > 0", $more)
    };
    (postgres, $more:literal) => {
        list!(
            "strpos(lower(title COLLATE \"C\"), lower($6 COLLATE \"C\")) > 0",
            $more
        )
    };
    ($has:literal, $more:literal) => {
        concat!(
            "SELECT ",
            run_columns!(),
            " FROM runs
             WHERE organisation = $1 AND workspace = $2 AND run < $3 AND run >= $4
                   AND ($5 = '' OR kind = $5) AND ($6 = '' OR ",
            $has,
            ") AND ($8 = '' OR substr(flow, 1, length($8)) = $8)
                   AND ($9 = '' OR concurrency_key = $9) ",
            $more,
            " ORDER BY run DESC LIMIT $7"
        )
    };
}

const LIST: Statement =
    Statement::new("runs.list", list!(sqlite, "")).on_postgres(list!(postgres, ""));
/// The same in one state, of which there may be few among many.
const LIST_STATE: Statement = Statement::new("runs.list_state", list!(sqlite, "AND state = $10"))
    .on_postgres(list!(postgres, "AND state = $10"));
/// The same of those that stopped by themselves, of which there should be fewer still.
const LIST_STOPPED: Statement = Statement::new(
    "runs.list_stopped",
    list!(
        sqlite,
        "AND state = 'paused' AND stopped <> '' AND ($10 = '' OR stopped = $10)"
    ),
)
.on_postgres(list!(
    postgres,
    "AND state = 'paused' AND stopped <> '' AND ($10 = '' OR stopped = $10)"
));
const SCHEDULE: Statement = Statement::new(
    "runs.schedule",
    select!(
        "WHERE organisation = $1 AND workspace = $2 AND title = $3 AND kind = 'schedule'
               AND state IN ('ready', 'running', 'waiting', 'paused')"
    ),
);
const UNFINISHED: Statement = Statement::new(
    "runs.unfinished",
    select!("WHERE state IN ('ready', 'running', 'waiting', 'paused') ORDER BY run LIMIT $1"),
);
const LIVE_CHILDREN: Statement = Statement::new(
    "runs.live_children",
    "SELECT run FROM runs
     WHERE parent = $1 AND state IN ('ready', 'running', 'waiting', 'paused') ORDER BY run",
);
const CLAIM: Statement = Statement::new(
    "runs.claim",
    "UPDATE runs SET state = 'running', owner = $2, epoch = epoch + 1, waiting = NULL,
                     wake_at = NULL, updated_at = $3
     WHERE run = $1 AND state = 'ready'",
);
const HEAD: Statement = Statement::new(
    "runs.head",
    "SELECT epoch, head_seq, head_hash FROM runs WHERE run = $1",
);
/// Waits for another process that is appending to the run, so that what is read still holds when
/// the head is moved.
const HEAD_LOCKING: Statement = HEAD
    .on_postgres("SELECT epoch, head_seq, head_hash FROM runs WHERE run = $1 FOR NO KEY UPDATE");
const MOVE_HEAD: Statement = Statement::new(
    "runs.move_head",
    "UPDATE runs SET head_seq = $2, head_hash = $3, updated_at = $4
     WHERE run = $1 AND epoch = $5 AND head_seq = $6 AND head_hash = $7
           AND (state = 'running' OR epoch = 0)",
);
const RELEASE: Statement = Statement::new(
    "runs.release",
    "UPDATE runs SET state = $2, waiting = $3, wake_at = $4, owner = NULL, updated_at = $5,
                     queued_at = $5, crashes = 0, stopped = $7
     WHERE run = $1 AND epoch = $6",
);
const WAKE: Statement = Statement::new(
    "runs.wake",
    "UPDATE runs SET state = 'ready', waiting = NULL, wake_at = NULL, updated_at = $2,
                     queued_at = $2
     WHERE run = $1 AND (state = 'waiting' OR (state = 'paused' AND $3 = 1))",
);
const WAKE_DUE: Statement = Statement::new(
    "runs.wake_due",
    "UPDATE runs SET state = 'ready', waiting = NULL, wake_at = NULL, updated_at = $1,
                     queued_at = $1
     WHERE state = 'waiting' AND wake_at IS NOT NULL AND wake_at <= $1",
)
.on_postgres(
    "UPDATE runs SET state = 'ready', waiting = NULL, wake_at = NULL, updated_at = $1,
                     queued_at = $1
     WHERE run IN (SELECT run FROM runs
                   WHERE state = 'waiting' AND wake_at IS NOT NULL AND wake_at <= $1
                   ORDER BY run FOR NO KEY UPDATE SKIP LOCKED)",
);
const NEXT_WAKE: Statement = Statement::new(
    "runs.next_wake",
    "SELECT MIN(wake_at) FROM runs WHERE wake_at IS NOT NULL AND state = 'waiting'",
);
const ORPHAN: Statement = Statement::new(
    "runs.orphan",
    "UPDATE runs SET state = 'ready', owner = NULL, epoch = epoch + 1, crashes = crashes + 1,
                     updated_at = $2
     WHERE state = 'running' AND owner = $1",
);
const REQUEUE: Statement = Statement::new(
    "runs.requeue",
    "UPDATE runs SET state = 'ready', owner = NULL, epoch = epoch + 1, updated_at = $3
     WHERE run = $1 AND state = 'running' AND epoch = $2",
);
const CONTINUE: Statement = Statement::new(
    "runs.continue_as_new",
    "UPDATE runs SET base_seq = head_seq - 1, version = $2, waiting = NULL
     WHERE run = $1 AND epoch = $3",
);
const OWNERS: Statement = Statement::new(
    "runs.owners",
    "SELECT DISTINCT owner FROM runs WHERE state = 'running' AND owner IS NOT NULL",
);
const READY: Statement = Statement::new(
    "runs.ready",
    "SELECT CAST(priority AS BIGINT), COUNT(*)
     FROM (SELECT substr(flow, length(flow)) AS priority FROM runs
           WHERE state = 'ready' AND flow <> '' LIMIT $1) AS ready
     GROUP BY priority ORDER BY priority",
);

const STANDS: Statement = Statement::new(
    "runs.stands",
    "SELECT 1 FROM runs WHERE run = $1 AND removed_at IS NULL",
);
/// Waits for whoever is about to remove the run.
const STANDS_LOCKING: Statement =
    STANDS.on_postgres("SELECT 1 FROM runs WHERE run = $1 AND removed_at IS NULL FOR SHARE");
const HOLD: Statement = Statement::new(
    "runs.hold",
    "UPDATE runs SET hold = $2 WHERE run = $1 AND removed_at IS NULL",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[
    STANDS,
    STANDS_LOCKING,
    HOLD,
    INSERT,
    GET,
    LIST,
    LIST_STATE,
    LIST_STOPPED,
    SCHEDULE,
    UNFINISHED,
    LIVE_CHILDREN,
    CLAIM,
    HEAD,
    HEAD_LOCKING,
    MOVE_HEAD,
    RELEASE,
    WAKE,
    WAKE_DUE,
    NEXT_WAKE,
    ORPHAN,
    REQUEUE,
    CONTINUE,
    OWNERS,
    READY,
];

/// A run's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRow {
    /// The run.
    pub run: RunId,
    /// Where it belongs.
    pub scope: Scope,
    /// The durable function's kind.
    pub kind: String,
    /// The function's version it started with.
    pub version: String,
    /// One line for people.
    pub title: String,
    /// Trace id, 32 hexadecimal digits.
    pub trace: String,
    /// `ready`, `running`, `waiting`, `paused`, `succeeded`, `failed` or `cancelled`.
    pub state: String,
    /// What it waits for, as JSON.
    pub waiting: Option<String>,
    /// When a timer wakes it.
    pub wake_at: Option<Timestamp>,
    /// The worker that owns it.
    pub owner: Option<String>,
    /// Raised at every claim; every append must name it.
    pub epoch: i64,
    /// Times an owner died since the run last came to rest.
    pub crashes: i64,
    /// Position of the newest entry.
    pub head_seq: i64,
    /// Hash of the newest entry.
    pub head_hash: Digest,
    /// When it was created.
    pub created_at: Timestamp,
    /// When its row last changed.
    pub updated_at: Timestamp,
    /// Where it queues.
    pub placement: Placement,
    /// Where it comes from.
    pub lineage: Lineage,
    /// When retention removed its journal; the row stays.
    pub removed_at: Option<Timestamp>,
    /// Why a person holds it, so that retention does not remove it; empty if nobody does.
    pub hold: String,
}

/// Where a run comes from, and how far back its journal counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lineage {
    /// The run that spawned it.
    pub parent: Option<RunId>,
    /// The run whose entries up to and with `fork_seq` are its own first ones.
    pub forked_from: Option<RunId>,
    /// See `forked_from`; `-1` for a run that is no fork. Its own entries begin behind it.
    pub fork_seq: i64,
    /// Entries up to and with this position do not count any more; `-1` when all count.
    pub base_seq: i64,
}

impl Default for Lineage {
    fn default() -> Self {
        Self {
            parent: None,
            forked_from: None,
            fork_seq: -1,
            base_seq: -1,
        }
    }
}

/// Reads the columns of `run_columns`.
pub(super) fn run_row(row: &Row) -> Result<RunRow, StoreError> {
    let flow = Flow::parse(&row.get::<String>(17)?)?;
    Ok(RunRow {
        run: row.get(0)?,
        scope: Scope {
            organisation: row.get(1)?,
            workspace: row.get(2)?,
        },
        kind: row.get(3)?,
        version: row.get(4)?,
        title: row.get(5)?,
        trace: row.get(6)?,
        state: row.get(7)?,
        waiting: row.get(8)?,
        wake_at: row.get(9)?,
        owner: row.get(10)?,
        epoch: row.get(11)?,
        crashes: row.get(12)?,
        head_seq: row.get(13)?,
        head_hash: row.get(14)?,
        created_at: row.get(15)?,
        updated_at: row.get(16)?,
        placement: Placement {
            lane: flow.lane,
            priority: flow.priority,
            capabilities: flow.capabilities,
            key: row.get(18)?,
            queued_at: row.get(19)?,
        },
        lineage: Lineage {
            parent: row.get(20)?,
            forked_from: row.get(21)?,
            fork_seq: row.get(22)?,
            base_seq: row.get(23)?,
        },
        removed_at: row.get(24)?,
        hold: row.get(25)?,
    })
}

/// Adds a run; epoch, crashes, owner, waits and hold start empty.
pub fn insert(tx: &Tx<'_>, new: &RunRow) -> Result<(), StoreError> {
    tx.require_scope(&new.scope)?;
    tx.execute(
        &INSERT,
        params![
            &new.run,
            &new.scope.organisation,
            &new.scope.workspace,
            &new.kind,
            &new.version,
            &new.title,
            &new.trace,
            &new.state,
            new.head_seq,
            &new.head_hash,
            new.created_at,
            &new.placement.flow(&new.scope).name(),
            &new.placement.key,
            new.placement.queued_at,
            new.lineage.parent.as_ref(),
            new.lineage.forked_from.as_ref(),
            new.lineage.fork_seq,
            new.lineage.base_seq
        ],
    )
    .map(drop)
}

/// One run.
pub fn get(tx: &Tx<'_>, id: RunId) -> Result<Option<RunRow>, StoreError> {
    let found = tx
        .query_one(&GET, params![&id])?
        .as_ref()
        .map(run_row)
        .transpose()?;
    Ok(found.filter(|row| tx.owns(&row.scope)))
}

/// Which runs are listed; as it is made, all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Only runs older than this one.
    pub before: Option<RunId>,
    /// Only runs that were created at this time or later.
    pub since: Option<Timestamp>,
    /// Only runs that were created before this time.
    pub until: Option<Timestamp>,
    /// Only runs of this kind; empty for all.
    pub kind: String,
    /// Only runs in this state; empty for all.
    pub state: String,
    /// Only runs whose title has this in it, in whatever case of ASCII letters; empty for all.
    pub title: String,
    /// Only runs that queue in this lane; empty for all.
    pub lane: String,
    /// Only runs with this concurrency key; empty for all.
    pub key: String,
    /// Only runs that rest because they stopped by themselves: for this cause, or for any if it is
    /// empty.
    pub stopped: Option<String>,
}

/// Runs of a scope, newest first, at most `limit`.
pub fn list(
    tx: &Tx<'_>,
    scope: &Scope,
    filter: &Filter,
    limit: i64,
) -> Result<Vec<RunRow>, StoreError> {
    let newest = RunId::from_bytes([0xff; 16]);
    let before = filter.before.unwrap_or(newest);
    let before = before.min(filter.until.map_or(newest, RunId::first_at));
    let since = filter
        .since
        .map_or(RunId::from_bytes([0; 16]), RunId::first_at);
    let lane = match &*filter.lane {
        "" => String::new(),
        lane => queue::lane_prefix(lane),
    };
    let rests = matches!(&*filter.state, "" | "paused");
    let (statement, narrowed) = match &filter.stopped {
        Some(_) if !rests => return Ok(Vec::new()),
        Some(cause) => (&LIST_STOPPED, Some(cause)),
        None if filter.state.is_empty() => (&LIST, None),
        None => (&LIST_STATE, Some(&filter.state)),
    };
    let all = params![
        &scope.organisation,
        &scope.workspace,
        &before,
        &since,
        &filter.kind,
        &filter.title,
        limit,
        &lane,
        &filter.key,
        narrowed
    ];
    let params = match narrowed {
        Some(_) => &all[..],
        None => &all[..9],
    };
    tx.within(scope, |tx| {
        tx.query(statement, params)?.iter().map(run_row).collect()
    })
}

/// The schedule of this name that has not ended.
pub fn schedule(tx: &Tx<'_>, scope: &Scope, name: &str) -> Result<Option<RunRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name];
    tx.within(scope, |tx| {
        tx.query_one(&SCHEDULE, params)?
            .as_ref()
            .map(run_row)
            .transpose()
    })
}

/// Runs that have not ended, oldest first.
pub fn unfinished(tx: &Tx<'_>, limit: i64) -> Result<Vec<RunRow>, StoreError> {
    tx.require_engine("unfinished runs")?;
    tx.query(&UNFINISHED, params![limit])?
        .iter()
        .map(run_row)
        .collect()
}

/// The runs that this one started and that have not ended, oldest first.
pub fn live_children(tx: &Tx<'_>, id: RunId) -> Result<Vec<RunId>, StoreError> {
    if !tx.owns_run(id)? {
        return Ok(Vec::new());
    }
    tx.query(&LIVE_CHILDREN, params![&id])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// Takes a ready run under a new epoch; false if somebody else had it.
pub fn claim(tx: &Tx<'_>, id: RunId, owner: &str, at: Timestamp) -> Result<bool, StoreError> {
    tx.require_engine("a claim")?;
    Ok(tx.execute(&CLAIM, params![&id, owner, at])? == 1)
}

/// Where a run's journal ends, and under which epoch it may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    /// The present owner's epoch.
    pub epoch: i64,
    /// Position of the newest entry, `-1` before the first.
    pub seq: i64,
    /// Hash of the newest entry.
    pub hash: Digest,
}

/// The head of a run. In a transaction that writes nobody else moves it before that one ends.
pub fn head(tx: &Tx<'_>, id: RunId) -> Result<Option<Head>, StoreError> {
    if !tx.owns_run(id)? {
        return Ok(None);
    }
    let statement = if tx.writes() { &HEAD_LOCKING } else { &HEAD };
    tx.query_one(statement, params![&id])?
        .map(|row| {
            Ok(Head {
                epoch: row.get(0)?,
                seq: row.get(1)?,
                hash: row.get(2)?,
            })
        })
        .transpose()
}

/// Where a run's journal ended and will end.
#[derive(Debug, Clone, Copy)]
pub struct HeadMove {
    /// Where the writer believes that it ends, under the writer's epoch.
    pub from: Head,
    /// Where it is to end.
    pub to: Head,
}

/// Moves a run's head; false means that the writer is not the owner any more, or that the journal does
/// not end where it believes. A run that was let go of
/// has no owner; only its first entry, under epoch zero, is written before anyone owns it.
pub fn move_head(
    tx: &Tx<'_>,
    id: RunId,
    head: &HeadMove,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let HeadMove { from, to } = head;
    let params = params![&id, to.seq, &to.hash, at, from.epoch, from.seq, &from.hash];
    Ok(tx.owns_run(id)? && tx.execute(&MOVE_HEAD, params)? == 1)
}

/// How a run is let go of.
#[derive(Debug, Clone)]
pub struct Release<'a> {
    /// The state it is left in.
    pub state: &'a str,
    /// What it waits for, as JSON.
    pub waiting: Option<&'a str>,
    /// When a timer wakes it.
    pub wake_at: Option<Timestamp>,
    /// A word for why it stopped by itself; empty if it did not.
    pub stopped: &'a str,
}

/// Gives up ownership; false means it was lost before.
pub fn release(
    tx: &Tx<'_>,
    id: RunId,
    epoch: i64,
    release: &Release<'_>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let Release {
        state,
        waiting,
        wake_at,
        stopped,
    } = release;
    let params = params![&id, *state, *waiting, *wake_at, at, epoch, *stopped];
    Ok(tx.owns_run(id)? && tx.execute(&RELEASE, params)? == 1)
}

/// Whether a paused run may be woken by a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WakePaused {
    /// Resume, cancel and retry wake it.
    Yes,
    /// Signals and approvals wait until it is resumed.
    No,
}

/// Makes a waiting run ready.
pub fn wake(tx: &Tx<'_>, id: RunId, paused: WakePaused, at: Timestamp) -> Result<bool, StoreError> {
    let paused = i64::from(paused == WakePaused::Yes);
    Ok(tx.owns_run(id)? && tx.execute(&WAKE, params![&id, at, paused])? == 1)
}

/// Makes every run ready whose timer is due; gives their number.
pub fn wake_due(tx: &Tx<'_>, now: Timestamp) -> Result<u64, StoreError> {
    tx.require_engine("timers")?;
    tx.execute(&WAKE_DUE, params![now])
}

/// When the next timer is due.
pub fn next_wake(tx: &Tx<'_>) -> Result<Option<Timestamp>, StoreError> {
    tx.require_engine("timers")?;
    tx.query_one(&NEXT_WAKE, params![])?
        .map_or(Ok(None), |row| row.get(0))
}

/// Returns every run of a dead owner to the queue under a new epoch; gives their number.
pub fn orphan(tx: &Tx<'_>, owner: &str, at: Timestamp) -> Result<u64, StoreError> {
    tx.require_engine("the runs")?;
    tx.execute(&ORPHAN, params![owner, at])
}

/// Returns a run that its owner of this epoch cannot go on with to the queue, under a new epoch;
/// false if it was lost before. The owner lives, so this counts as no crash.
pub fn requeue(tx: &Tx<'_>, id: RunId, epoch: i64, at: Timestamp) -> Result<bool, StoreError> {
    tx.require_engine("the queue")?;
    Ok(tx.execute(&REQUEUE, params![&id, epoch, at])? == 1)
}

/// Lets a run's journal count from its newest entry on, and pins the run to a version; false if the
/// owner of this epoch lost it before.
pub fn continue_as_new(
    tx: &Tx<'_>,
    id: RunId,
    version: &str,
    epoch: i64,
) -> Result<bool, StoreError> {
    Ok(tx.owns_run(id)? && tx.execute(&CONTINUE, params![&id, version, epoch])? == 1)
}

/// Whether a run is there with its journal. In a transaction that writes nobody removes it before
/// that one ends.
pub fn stands(tx: &Tx<'_>, id: RunId) -> Result<bool, StoreError> {
    let statement = if tx.writes() {
        &STANDS_LOCKING
    } else {
        &STANDS
    };
    Ok(tx.owns_run(id)? && tx.query_one(statement, params![&id])?.is_some())
}

/// Holds a run, so that retention does not remove it, or lets go of it with an empty reason; false
/// if it was removed before.
pub fn hold(tx: &Tx<'_>, id: RunId, reason: &str) -> Result<bool, StoreError> {
    Ok(tx.owns_run(id)? && tx.execute(&HOLD, params![&id, reason])? == 1)
}

/// Everyone who owns a running run.
pub fn owners(tx: &Tx<'_>) -> Result<Vec<String>, StoreError> {
    tx.require_engine("the owners")?;
    tx.query(&OWNERS, params![])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}

/// How many runs of each priority wait for a worker; at most `limit` runs are counted.
pub fn ready(tx: &Tx<'_>, limit: i64) -> Result<Vec<(i64, u64)>, StoreError> {
    tx.require_engine("the queue")?;
    tx.query(&READY, params![limit])?
        .iter()
        .map(|row| Ok((row.get(0)?, row.get(1)?)))
        .collect()
}
