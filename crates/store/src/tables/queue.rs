//! The queue: which runs are ready, in which flow, and what holds a flow back.
//!
//! A slot of a lane, a key or a tenant is a run that runs: there is no counter that could be
//! forgotten. Every query is answered from an index over the runs that are ready, or over those
//! that run, so a million runs cost no more than one.

use matrix_core::{RunId, Scope, Timestamp};

use super::runs::{RunRow, run_row};
use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

/// Stands between the parts of a flow's name; no part has it.
const BETWEEN: char = '\u{1f}';
/// The character after it.
const BEHIND: char = ' ';

const FLOWS: Statement = Statement::new(
    "queue.flows",
    "WITH RECURSIVE found (flow) AS (
         SELECT (SELECT MIN(flow) FROM runs WHERE state = 'ready' AND flow > $1)
         UNION ALL
         SELECT (SELECT MIN(r.flow) FROM runs r WHERE r.state = 'ready' AND r.flow > found.flow)
         FROM found WHERE found.flow IS NOT NULL
     )
     SELECT flow FROM found WHERE flow IS NOT NULL LIMIT $2",
);
const HEAD: Statement = Statement::new(
    "queue.head",
    "SELECT run, concurrency_key, queued_at FROM runs
     WHERE state = 'ready' AND flow = $1 ORDER BY queued_at, run LIMIT $2",
);
const HEADS_BY_KEY: Statement = Statement::new(
    "queue.heads_by_key",
    "WITH RECURSIVE found (k) AS (
         SELECT (SELECT MIN(concurrency_key) FROM runs
                 WHERE state = 'ready' AND flow = $1 AND concurrency_key > $2)
         UNION ALL
         SELECT (SELECT MIN(r.concurrency_key) FROM runs r
                 WHERE r.state = 'ready' AND r.flow = $1 AND r.concurrency_key > found.k)
         FROM found WHERE found.k IS NOT NULL
     )
     SELECT (SELECT r.run FROM runs r
             WHERE r.state = 'ready' AND r.flow = $1 AND r.concurrency_key = found.k
             ORDER BY r.queued_at, r.run LIMIT 1),
            found.k,
            (SELECT MIN(r.queued_at) FROM runs r
             WHERE r.state = 'ready' AND r.flow = $1 AND r.concurrency_key = found.k)
     FROM found WHERE found.k IS NOT NULL LIMIT $3",
);
const KEYLESS: Statement = Statement::new(
    "queue.keyless",
    "SELECT run, concurrency_key, queued_at FROM runs
     WHERE state = 'ready' AND flow = $1 AND concurrency_key = '' ORDER BY queued_at, run LIMIT $2",
);
const TAKE: Statement = Statement::new(
    "queue.take",
    concat!(
        "UPDATE runs SET state = 'running', owner = $2, epoch = epoch + 1, waiting = NULL,
                         wake_at = NULL, updated_at = $3
         WHERE run = $1 AND state = 'ready' RETURNING ",
        run_columns!()
    ),
)
.on_postgres(concat!(
    "UPDATE runs SET state = 'running', owner = $2, epoch = epoch + 1, waiting = NULL,
                     wake_at = NULL, updated_at = $3
     WHERE run = (SELECT run FROM runs WHERE run = $1 AND state = 'ready'
                  FOR NO KEY UPDATE SKIP LOCKED)
     RETURNING ",
    run_columns!()
));
const EXEMPT: Statement = Statement::new(
    "queue.exempt",
    "UPDATE runs SET flow = $2, concurrency_key = ''
     WHERE run = $1 AND state = 'ready' AND epoch = 0",
);
const GATE: Statement = Statement::new("queue.gate", "SELECT 1")
    .on_postgres("SELECT pg_try_advisory_xact_lock(7223917)::INT::BIGINT");
const RUNNING_IN_LANE: Statement = Statement::new(
    "queue.running_in_lane",
    "SELECT COUNT(*) FROM runs WHERE state = 'running' AND flow > $1 AND flow < $2",
);
const RUNNING_WITH_KEY: Statement = Statement::new(
    "queue.running_with_key",
    "SELECT COUNT(*) FROM runs WHERE state = 'running' AND organisation = $1 AND workspace = $2
            AND concurrency_key = $3",
);
const RUNNING_OF_TENANT: Statement = Statement::new(
    "queue.running_of_tenant",
    "SELECT COUNT(*) FROM runs WHERE state = 'running' AND organisation = $1 AND workspace = $2",
);
const HOLDERS_IN_LANE: Statement = Statement::new(
    "queue.holders_in_lane",
    "SELECT run, organisation, workspace FROM runs
     WHERE state = 'running' AND flow > $1 AND flow < $2 LIMIT $3",
);
const HOLDERS_OF_KEY: Statement = Statement::new(
    "queue.holders_of_key",
    "SELECT run, organisation, workspace FROM runs WHERE state = 'running' AND organisation = $1
            AND workspace = $2 AND concurrency_key = $3 ORDER BY run LIMIT $4",
);
const HOLDERS_OF_TENANT: Statement = Statement::new(
    "queue.holders_of_tenant",
    "SELECT run, organisation, workspace FROM runs WHERE state = 'running' AND organisation = $1
            AND workspace = $2 LIMIT $3",
);
const DEPTH: Statement = Statement::new(
    "queue.depth",
    "SELECT COUNT(*) FROM (SELECT 1 FROM runs WHERE state = 'ready' AND flow = $1 LIMIT $2) AS counted",
);
const AHEAD: Statement = Statement::new(
    "queue.ahead",
    "SELECT COUNT(*) FROM (SELECT 1 FROM runs WHERE state = 'ready' AND flow = $1
                           AND (queued_at, run) < ($2, $3) LIMIT $4) AS counted",
);
const RUNNING: Statement = Statement::new(
    "queue.running",
    "SELECT flow, COUNT(*) FROM runs WHERE state = 'running' GROUP BY flow",
);
/// Every statement of the queue.
pub const STATEMENTS: &[Statement] = &[
    FLOWS,
    HEAD,
    HEADS_BY_KEY,
    KEYLESS,
    TAKE,
    EXEMPT,
    GATE,
    RUNNING_IN_LANE,
    RUNNING_WITH_KEY,
    RUNNING_OF_TENANT,
    HOLDERS_IN_LANE,
    HOLDERS_OF_KEY,
    HOLDERS_OF_TENANT,
    DEPTH,
    AHEAD,
    RUNNING,
];

/// Runs that queue behind each other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Flow {
    /// The lane.
    pub lane: String,
    /// The tenant's organisation.
    pub organisation: String,
    /// The tenant's workspace.
    pub workspace: String,
    /// What a worker must have to take them: names in order, with commas between.
    pub capabilities: String,
    /// From 0 to 9, which is the most urgent.
    pub priority: i64,
}

impl Flow {
    /// As it stands in a row.
    pub fn name(&self) -> String {
        let Self {
            lane,
            organisation,
            workspace,
            capabilities,
            priority,
        } = self;
        format!(
            "{lane}{BETWEEN}{organisation}{BETWEEN}{workspace}{BETWEEN}{capabilities}{BETWEEN}{priority}"
        )
    }

    /// What stands in a row.
    pub fn parse(name: &str) -> Result<Self, StoreError> {
        let wrong = || StoreError::corrupt("a flow's name");
        let mut parts = name.split(BETWEEN);
        let mut part = || parts.next().map(str::to_owned).ok_or_else(wrong);
        Ok(Self {
            lane: part()?,
            organisation: part()?,
            workspace: part()?,
            capabilities: part()?,
            priority: part()?.parse().map_err(|_| wrong())?,
        })
    }

    /// The tenant.
    pub fn scope(&self) -> Scope {
        Scope {
            organisation: self.organisation.clone(),
            workspace: self.workspace.clone(),
        }
    }
}

/// What the flows of a lane begin with.
pub(super) fn lane_prefix(lane: &str) -> String {
    format!("{lane}{BETWEEN}")
}

/// Where a run stands in the queue, or stood before it was taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The lane.
    pub lane: String,
    /// From 0 to 9, which is the most urgent.
    pub priority: i64,
    /// What a worker must have: names in order, with commas between; empty for nothing.
    pub capabilities: String,
    /// The concurrency key, which is its tenant's own; empty for none.
    pub key: String,
    /// Since when it queues.
    pub queued_at: Timestamp,
}

impl Default for Placement {
    fn default() -> Self {
        Self {
            lane: "default".into(),
            priority: 5,
            capabilities: String::new(),
            key: String::new(),
            queued_at: Timestamp::from_micros(0),
        }
    }
}

impl Placement {
    /// The flow of a tenant's run.
    pub fn flow(&self, scope: &Scope) -> Flow {
        Flow {
            lane: self.lane.clone(),
            organisation: scope.organisation.clone(),
            workspace: scope.workspace.clone(),
            capabilities: self.capabilities.clone(),
            priority: self.priority,
        }
    }
}

/// A run that is ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// The run.
    pub run: RunId,
    /// Its concurrency key; empty for none.
    pub key: String,
    /// Since when it queues.
    pub queued_at: Timestamp,
}

fn queued(row: &Row) -> Result<Queued, StoreError> {
    Ok(Queued {
        run: row.get(0)?,
        key: row.get(1)?,
        queued_at: row.get(2)?,
    })
}

/// The flows that have a run ready, in the order of their names, behind one of them.
pub fn flows(tx: &Tx<'_>, after: &str, limit: i64) -> Result<Vec<Flow>, StoreError> {
    tx.require_engine("the queue")?;
    let rows = tx.query(&FLOWS, params![after, limit])?;
    let names = rows.iter().map(|row| row.get::<String>(0));
    names.map(|name| Flow::parse(&name?)).collect()
}

/// The runs of a flow that came first.
pub fn head(tx: &Tx<'_>, flow: &Flow, limit: i64) -> Result<Vec<Queued>, StoreError> {
    tx.require_engine("the queue")?;
    let rows = tx.query(&HEAD, params![&flow.name(), limit])?;
    rows.iter().map(queued).collect()
}

/// The first run of each key of a flow, in the order of the keys, behind one of them.
pub fn heads_by_key(
    tx: &Tx<'_>,
    flow: &Flow,
    after: &str,
    limit: i64,
) -> Result<Vec<Queued>, StoreError> {
    tx.require_engine("the queue")?;
    let rows = tx.query(&HEADS_BY_KEY, params![&flow.name(), after, limit])?;
    rows.iter().map(queued).collect()
}

/// The runs of a flow that have no key and came first.
pub fn keyless(tx: &Tx<'_>, flow: &Flow, limit: i64) -> Result<Vec<Queued>, StoreError> {
    tx.require_engine("the queue")?;
    let rows = tx.query(&KEYLESS, params![&flow.name(), limit])?;
    rows.iter().map(queued).collect()
}

/// Takes a ready run under a new epoch and gives its row as it is then; nothing if it is not ready,
/// or another process is taking it.
pub fn take(
    tx: &Tx<'_>,
    run: RunId,
    owner: &str,
    at: Timestamp,
) -> Result<Option<RunRow>, StoreError> {
    tx.require_engine("a claim")?;
    tx.query_one(&TAKE, params![&run, owner, at])?
        .as_ref()
        .map(run_row)
        .transpose()
}

/// Moves a ready run that nobody has owned to another flow, without its key; false if it is not
/// such a one.
pub fn exempt(tx: &Tx<'_>, run: RunId, flow: &Flow) -> Result<bool, StoreError> {
    tx.require_engine("the queue")?;
    Ok(tx.execute(&EXEMPT, params![&run, &flow.name()])? == 1)
}

/// Whether this transaction may take runs whose number is limited: nobody else does before it ends.
/// Nobody waits for it, so that it blocks no other work of the transaction.
pub fn gate(tx: &Tx<'_>) -> Result<bool, StoreError> {
    tx.require_engine("the queue")?;
    let open: Option<i64> = tx
        .query_one(&GATE, params![])?
        .map(|row| row.get(0))
        .transpose()?;
    Ok(open == Some(1))
}

/// What a number of runs is limited for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Slot {
    /// A lane, of all tenants together.
    Lane(String),
    /// A tenant: organisation and workspace.
    Tenant(String, String),
    /// A tenant's key: organisation, workspace and key.
    Key(String, String, String),
}

impl Slot {
    pub(super) fn parts(&self) -> (&str, &str, &'static str, &str) {
        match self {
            Self::Lane(lane) => ("", "", "lane", lane),
            Self::Tenant(organisation, workspace) => (organisation, workspace, "tenant", ""),
            Self::Key(organisation, workspace, key) => (organisation, workspace, "key", key),
        }
    }
}

fn lane_bounds(lane: &str) -> (String, String) {
    (format!("{lane}{BETWEEN}"), format!("{lane}{BEHIND}"))
}

/// How many runs hold a slot.
pub fn running(tx: &Tx<'_>, slot: &Slot) -> Result<i64, StoreError> {
    tx.require_engine("who runs")?;
    let row = match slot {
        Slot::Lane(lane) => {
            let (from, to) = lane_bounds(lane);
            tx.query_one(&RUNNING_IN_LANE, params![&from, &to])?
        }
        Slot::Tenant(organisation, workspace) => {
            tx.query_one(&RUNNING_OF_TENANT, params![organisation, workspace])?
        }
        Slot::Key(organisation, workspace, key) => {
            tx.query_one(&RUNNING_WITH_KEY, params![organisation, workspace, key])?
        }
    };
    row.map_or(Ok(0), |row| row.get(0))
}

/// Some of the runs that hold a slot, with their tenants.
pub fn holders(tx: &Tx<'_>, slot: &Slot, limit: i64) -> Result<Vec<(RunId, Scope)>, StoreError> {
    tx.require_engine("who runs")?;
    let rows = match slot {
        Slot::Lane(lane) => {
            let (from, to) = lane_bounds(lane);
            tx.query(&HOLDERS_IN_LANE, params![&from, &to, limit])?
        }
        Slot::Tenant(organisation, workspace) => {
            tx.query(&HOLDERS_OF_TENANT, params![organisation, workspace, limit])?
        }
        Slot::Key(organisation, workspace, key) => tx.query(
            &HOLDERS_OF_KEY,
            params![organisation, workspace, key, limit],
        )?,
    };
    let holder = |row: &Row| {
        let scope = Scope {
            organisation: row.get(1)?,
            workspace: row.get(2)?,
        };
        Ok((row.get(0)?, scope))
    };
    rows.iter().map(holder).collect()
}

/// How many runs of a flow are ready, counted up to `most`.
pub fn depth(tx: &Tx<'_>, flow: &Flow, most: i64) -> Result<i64, StoreError> {
    tx.require_engine("the queue")?;
    let row = tx.query_one(&DEPTH, params![&flow.name(), most])?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// How many runs of a flow queue before this one, counted up to `most`.
pub fn ahead(
    tx: &Tx<'_>,
    flow: &Flow,
    queued_at: Timestamp,
    run: RunId,
    most: i64,
) -> Result<i64, StoreError> {
    tx.require_engine("the queue")?;
    let row = tx.query_one(&AHEAD, params![&flow.name(), queued_at, &run, most])?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// How many runs of each flow run.
pub fn running_by_flow(tx: &Tx<'_>) -> Result<Vec<(Flow, i64)>, StoreError> {
    tx.require_engine("who runs")?;
    let rows = tx.query(&RUNNING, params![])?;
    rows.iter()
        .map(|row| Ok((Flow::parse(&row.get::<String>(0)?)?, row.get(1)?)))
        .collect()
}
