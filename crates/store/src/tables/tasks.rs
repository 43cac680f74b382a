//! Steps that workers outside do: one row from the offer until what a worker reported is in the
//! journal. The engine offers and takes back, across tenants; a tenant's workers lease, beat and
//! report.

use matrix_core::id::TaskId;
use matrix_core::{RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT task, run, organisation, workspace, path, queue, name, class, state, offer, \
             lease_ms, timeout_ms, cancelled, losses, worker, token, beat, since, due_at, \
             progress, report FROM tasks ",
            $rest
        )
    };
}

const OFFER: Statement = Statement::new(
    "tasks.offer",
    "INSERT INTO tasks (task, run, organisation, workspace, path, queue, name, class, state, offer,
                        lease_ms, timeout_ms, cancelled, losses, beat, since)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 'offered', $9, $10, $11, 0, 0, 0, $12)
     ON CONFLICT (run, path) DO UPDATE
         SET task = $1, queue = $6, name = $7, class = $8, state = 'offered', offer = $9,
             lease_ms = $10, timeout_ms = $11, cancelled = 0, losses = 0, worker = NULL,
             token = NULL, beat = 0, since = $12, due_at = NULL, progress = NULL, report = NULL",
);
const GET: Statement = Statement::new("tasks.get", select!("WHERE task = $1"));
const OF_STEP: Statement = Statement::new("tasks.of_step", select!("WHERE run = $1 AND path = $2"));
const OF_RUN: Statement = Statement::new(
    "tasks.of_run",
    select!("WHERE run = $1 ORDER BY path LIMIT 1000"),
);
const OFFERED: Statement = Statement::new(
    "tasks.offered",
    select!(
        "WHERE organisation = $1 AND workspace = $2 AND queue = $3 AND state = 'offered'
               AND ($4 = '' OR instr($4, ',' || name || ',') > 0)
         ORDER BY task LIMIT $5"
    ),
)
.on_postgres(select!(
    "WHERE organisation = $1 AND workspace = $2 AND queue = $3 AND state = 'offered'
           AND ($4 = '' OR strpos($4, ',' || name || ',') > 0)
     ORDER BY task LIMIT $5"
));
/// Passes over the tasks that another process is giving out.
const OFFERED_LOCKING: Statement = OFFERED.on_postgres(select!(
    "WHERE organisation = $1 AND workspace = $2 AND queue = $3 AND state = 'offered'
           AND ($4 = '' OR strpos($4, ',' || name || ',') > 0)
     ORDER BY task LIMIT $5 FOR NO KEY UPDATE SKIP LOCKED"
));
const LEASE: Statement = Statement::new(
    "tasks.lease",
    "UPDATE tasks SET state = 'leased', worker = $4, token = $5, beat = 1, since = $6, due_at = $7
     WHERE task = $1 AND organisation = $2 AND workspace = $3 AND state = 'offered'",
);
const BEAT: Statement = Statement::new(
    "tasks.beat",
    "UPDATE tasks SET beat = beat + 1, progress = coalesce($5, progress)
     WHERE task = $1 AND organisation = $2 AND workspace = $3 AND token = $4 AND state = 'leased'",
);
const REPORT: Statement = Statement::new(
    "tasks.report",
    "UPDATE tasks SET state = 'reported', report = $5, since = $6
     WHERE task = $1 AND organisation = $2 AND workspace = $3 AND token = $4 AND state = 'leased'",
);
const HELD: Statement = Statement::new(
    "tasks.held",
    "SELECT task, run, organisation, workspace, class, state, lease_ms, cancelled, losses, token,
            beat, due_at
     FROM tasks WHERE state <> 'offered' ORDER BY task LIMIT $1",
);
const LOADS: Statement = Statement::new(
    "tasks.loads",
    "SELECT worker, COUNT(*) FROM tasks
     WHERE organisation = $1 AND workspace = $2 AND state = 'leased' AND worker IS NOT NULL
     GROUP BY worker",
);
const LOSE: Statement = Statement::new(
    "tasks.lose",
    "UPDATE tasks SET state = 'offered', losses = losses + 1, worker = NULL, token = NULL,
                      beat = 0, since = $4, due_at = NULL, progress = NULL
     WHERE task = $1 AND token = $2 AND beat = $3 AND state = 'leased'",
);
const EXPIRE: Statement = Statement::new(
    "tasks.expire",
    "UPDATE tasks SET state = 'reported', losses = losses + 1, report = $4, since = $5
     WHERE task = $1 AND token = $2 AND beat = $3 AND state = 'leased'",
);
const CANCEL: Statement = Statement::new(
    "tasks.cancel",
    "UPDATE tasks SET cancelled = 1 WHERE task = $1 AND state = 'leased'",
);
const REMOVE: Statement = Statement::new("tasks.remove", "DELETE FROM tasks WHERE task = $1");
const WITHDRAW: Statement = Statement::new("tasks.withdraw", "DELETE FROM tasks WHERE run = $1");

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[
    OFFER,
    GET,
    OF_STEP,
    OF_RUN,
    OFFERED,
    OFFERED_LOCKING,
    LEASE,
    BEAT,
    REPORT,
    HELD,
    LOADS,
    LOSE,
    EXPIRE,
    CANCEL,
    REMOVE,
    WITHDRAW,
];

/// A task's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TaskRow {
    /// This offer.
    pub task: TaskId,
    /// The run whose step it is.
    pub run: RunId,
    /// To whom the run belongs.
    pub scope: Scope,
    /// The step's address.
    pub path: String,
    /// The queue whose workers may take it.
    pub queue: String,
    /// What a worker must be able to do.
    pub name: String,
    /// The step's effect class.
    pub class: String,
    /// `offered`, `leased` or `reported`.
    pub state: String,
    /// What a worker is told, as JSON.
    pub offer: String,
    /// How long a worker may show no heartbeat, in milliseconds.
    pub lease_ms: i64,
    /// How long a worker may take, in milliseconds.
    pub timeout_ms: Option<i64>,
    /// Whether the worker is to stop.
    pub cancelled: bool,
    /// How many workers had it and were lost.
    pub losses: i64,
    /// Who has it.
    pub worker: Option<String>,
    /// What that worker must name to be heard.
    pub token: Option<String>,
    /// The worker's heartbeat counter.
    pub beat: i64,
    /// Since when it is in its state.
    pub since: Timestamp,
    /// When the worker must be done.
    pub due_at: Option<Timestamp>,
    /// How far the worker is, as JSON.
    pub progress: Option<String>,
    /// What the worker reported, as JSON.
    pub report: Option<Vec<u8>>,
}

/// What is watched of a task that a worker has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    /// The task.
    pub task: TaskId,
    /// Its run.
    pub run: RunId,
    /// To whom the run belongs.
    pub scope: Scope,
    /// The step's effect class.
    pub class: String,
    /// `leased` or `reported`.
    pub state: String,
    /// How long the worker may show no heartbeat, in milliseconds.
    pub lease_ms: i64,
    /// Whether the worker is to stop.
    pub cancelled: bool,
    /// How many workers had it before and were lost.
    pub losses: i64,
    /// The lease.
    pub token: String,
    /// The worker's heartbeat counter.
    pub beat: i64,
    /// When the worker must be done.
    pub due_at: Option<Timestamp>,
}

fn task(row: &Row) -> Result<TaskRow, StoreError> {
    Ok(TaskRow {
        task: TaskId::from_bytes(row.get(0)?),
        run: row.get(1)?,
        scope: Scope {
            organisation: row.get(2)?,
            workspace: row.get(3)?,
        },
        path: row.get(4)?,
        queue: row.get(5)?,
        name: row.get(6)?,
        class: row.get(7)?,
        state: row.get(8)?,
        offer: row.get(9)?,
        lease_ms: row.get(10)?,
        timeout_ms: row.get(11)?,
        cancelled: row.get::<i64>(12)? != 0,
        losses: row.get(13)?,
        worker: row.get(14)?,
        token: row.get(15)?,
        beat: row.get(16)?,
        since: row.get(17)?,
        due_at: row.get(18)?,
        progress: row.get(19)?,
        report: row.get(20)?,
    })
}

/// Offers a step, in place of whatever was offered of it before. Worker, lease and report start
/// empty.
pub fn offer(tx: &Tx<'_>, new: &TaskRow) -> Result<(), StoreError> {
    tx.require_engine("offers")?;
    tx.execute(
        &OFFER,
        params![
            new.task.as_bytes(),
            &new.run,
            &new.scope.organisation,
            &new.scope.workspace,
            &new.path,
            &new.queue,
            &new.name,
            &new.class,
            &new.offer,
            new.lease_ms,
            new.timeout_ms,
            new.since
        ],
    )
    .map(drop)
}

/// One task.
pub fn get(tx: &Tx<'_>, id: TaskId) -> Result<Option<TaskRow>, StoreError> {
    let found = tx.query_one(&GET, params![id.as_bytes()])?;
    let found = found.as_ref().map(task).transpose()?;
    Ok(found.filter(|row| tx.owns(&row.scope)))
}

/// What is offered of the step at an address.
pub fn of_step(tx: &Tx<'_>, run: RunId, path: &str) -> Result<Option<TaskRow>, StoreError> {
    let found = tx.query_one(&OF_STEP, params![&run, path])?;
    let found = found.as_ref().map(task).transpose()?;
    Ok(found.filter(|row| tx.owns(&row.scope)))
}

/// A run's tasks by address, at most 1000.
pub fn of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<TaskRow>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    tx.query(&OF_RUN, params![&run])?.iter().map(task).collect()
}

/// Tasks of a queue that wait for a worker, oldest first. `names` is what the worker can do, each
/// name between commas (`,resize,crop,`); empty for everything. In a transaction that writes,
/// those that another process is giving out are passed over.
pub fn offered(
    tx: &Tx<'_>,
    scope: &Scope,
    queue: &str,
    names: &str,
    limit: i64,
) -> Result<Vec<TaskRow>, StoreError> {
    let statement = if tx.writes() {
        &OFFERED_LOCKING
    } else {
        &OFFERED
    };
    let (organisation, workspace) = (&scope.organisation, &scope.workspace);
    let params = params![organisation, workspace, queue, names, limit];
    tx.within(scope, |tx| {
        tx.query(statement, params)?.iter().map(task).collect()
    })
}

/// Who takes a task, and under what.
#[derive(Debug, Clone)]
pub struct Lease<'a> {
    /// Who.
    pub worker: &'a str,
    /// What the worker must name to be heard.
    pub token: &'a str,
    /// When the worker must be done.
    pub due_at: Option<Timestamp>,
}

/// Gives a task to a worker; false if somebody else had it.
pub fn lease(
    tx: &Tx<'_>,
    scope: &Scope,
    id: TaskId,
    lease: &Lease<'_>,
    at: Timestamp,
) -> Result<bool, StoreError> {
    let params = params![
        id.as_bytes(),
        &scope.organisation,
        &scope.workspace,
        lease.worker,
        lease.token,
        at,
        lease.due_at
    ];
    tx.within(scope, |tx| Ok(tx.execute(&LEASE, params)? == 1))
}

/// Counts a worker's heartbeat up, and keeps its progress where there is news; false if the worker
/// does not have the task any more.
pub fn beat(
    tx: &Tx<'_>,
    scope: &Scope,
    id: TaskId,
    token: &str,
    progress: Option<&str>,
) -> Result<bool, StoreError> {
    let (organisation, workspace) = (&scope.organisation, &scope.workspace);
    let params = params![id.as_bytes(), organisation, workspace, token, progress];
    tx.within(scope, |tx| Ok(tx.execute(&BEAT, params)? == 1))
}

/// Keeps what a worker reported; false if it does not have the task any more, or has reported.
pub fn report(
    tx: &Tx<'_>,
    scope: &Scope,
    id: TaskId,
    token: &str,
    report: &[u8],
    at: Timestamp,
) -> Result<bool, StoreError> {
    let (organisation, workspace) = (&scope.organisation, &scope.workspace);
    let params = params![id.as_bytes(), organisation, workspace, token, report, at];
    tx.within(scope, |tx| Ok(tx.execute(&REPORT, params)? == 1))
}

/// Tasks that are not waiting for a worker, at most `limit`.
pub fn held(tx: &Tx<'_>, limit: i64) -> Result<Vec<Held>, StoreError> {
    tx.require_engine("held tasks")?;
    let rows = tx.query(&HELD, params![limit])?;
    rows.iter()
        .map(|row| {
            Ok(Held {
                task: TaskId::from_bytes(row.get(0)?),
                run: row.get(1)?,
                scope: Scope {
                    organisation: row.get(2)?,
                    workspace: row.get(3)?,
                },
                class: row.get(4)?,
                state: row.get(5)?,
                lease_ms: row.get(6)?,
                cancelled: row.get::<i64>(7)? != 0,
                losses: row.get(8)?,
                token: row.get(9)?,
                beat: row.get(10)?,
                due_at: row.get(11)?,
            })
        })
        .collect()
}

/// How many tasks each worker of a tenant has that has any.
pub fn loads(tx: &Tx<'_>, scope: &Scope) -> Result<Vec<(String, i64)>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace];
    tx.within(scope, |tx| {
        let rows = tx.query(&LOADS, params)?;
        rows.iter()
            .map(|row| Ok((row.get(0)?, row.get(1)?)))
            .collect()
    })
}

/// Offers a task again whose worker was lost; false if the worker has been heard of since.
pub fn lose(tx: &Tx<'_>, lost: &Held, at: Timestamp) -> Result<bool, StoreError> {
    tx.require_engine("lost tasks")?;
    let params = params![lost.task.as_bytes(), &lost.token, lost.beat, at];
    Ok(tx.execute(&LOSE, params)? == 1)
}

/// Reports in place of a worker that was lost; false if the worker has been heard of since.
pub fn expire(tx: &Tx<'_>, lost: &Held, report: &[u8], at: Timestamp) -> Result<bool, StoreError> {
    tx.require_engine("lost tasks")?;
    let params = params![lost.task.as_bytes(), &lost.token, lost.beat, report, at];
    Ok(tx.execute(&EXPIRE, params)? == 1)
}

/// Asks whoever has a task to stop; false if nobody has it.
pub fn cancel(tx: &Tx<'_>, id: TaskId) -> Result<bool, StoreError> {
    tx.require_engine("a task")?;
    Ok(tx.execute(&CANCEL, params![id.as_bytes()])? == 1)
}

/// Takes a task back; false if it was gone.
pub fn remove(tx: &Tx<'_>, id: TaskId) -> Result<bool, StoreError> {
    tx.require_engine("a task")?;
    Ok(tx.execute(&REMOVE, params![id.as_bytes()])? == 1)
}

/// Takes everything back that a run offers.
pub fn withdraw(tx: &Tx<'_>, run: RunId) -> Result<(), StoreError> {
    tx.require_engine("a run's tasks")?;
    tx.send(&WITHDRAW, params![&run])
}
