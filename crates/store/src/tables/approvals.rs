//! What waits for a person: one row for each question a run has asked.

use matrix_core::id::ApprovalId;
use matrix_core::{RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const OPEN: Statement = Statement::new(
    "approvals.open",
    "INSERT INTO approvals (approval, run, name, state, subject, requested_at)
     VALUES ($1, $2, $3, 'open', $4, $5)
     ON CONFLICT (approval) DO UPDATE SET state = 'open', closed_at = NULL",
);
const CLOSE: Statement = Statement::new(
    "approvals.close",
    "UPDATE approvals SET state = $2, closed_at = $3
     WHERE run = $1 AND state = 'open' AND approval <> $4",
);
const GET: Statement = Statement::new(
    "approvals.get",
    "SELECT approval, run, name, state, subject, requested_at, closed_at
     FROM approvals WHERE approval = $1",
);
const OF_RUN: Statement = Statement::new(
    "approvals.of_run",
    "SELECT approval, run, name, state, subject, requested_at, closed_at
     FROM approvals WHERE run = $1 ORDER BY requested_at, approval",
);
const LIST: Statement = Statement::new(
    "approvals.list",
    "SELECT a.approval, a.run, a.name, a.state, a.subject, a.requested_at, a.closed_at
     FROM approvals a JOIN runs r ON r.run = a.run
     WHERE r.organisation = $1 AND r.workspace = $2 AND ($3 = '' OR a.state = $3)
       AND (a.requested_at < $4 OR (a.requested_at = $4 AND a.approval < $5))
     ORDER BY a.requested_at DESC, a.approval DESC LIMIT $6",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[OPEN, CLOSE, GET, OF_RUN, LIST];

/// A question to a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApprovalRow {
    /// Its id, the same for the same run, name and subject.
    pub approval: ApprovalId,
    /// The run that asks.
    pub run: RunId,
    /// Which of the run's questions.
    pub name: String,
    /// `open`, `closed` or `stale`.
    pub state: String,
    /// What is asked, as JSON.
    pub subject: String,
    /// When it was first asked.
    pub requested_at: Timestamp,
    /// When it stopped waiting.
    pub closed_at: Option<Timestamp>,
}

fn approval(row: &Row) -> Result<ApprovalRow, StoreError> {
    Ok(ApprovalRow {
        approval: ApprovalId::from_bytes(row.get(0)?),
        run: row.get(1)?,
        name: row.get(2)?,
        state: row.get(3)?,
        subject: row.get(4)?,
        requested_at: row.get(5)?,
        closed_at: row.get(6)?,
    })
}

/// Asks, or asks again.
pub fn open(tx: &Tx<'_>, row: &ApprovalRow) -> Result<(), StoreError> {
    let ApprovalRow {
        approval,
        run,
        name,
        subject,
        requested_at,
        ..
    } = row;
    tx.require_run(*run)?;
    tx.execute(
        &OPEN,
        params![approval.as_bytes(), run, name, subject, *requested_at],
    )
    .map(drop)
}

/// Closes a run's open questions but one, with the state `closed` or `stale`.
pub fn close_others(
    tx: &Tx<'_>,
    run: RunId,
    keep: Option<ApprovalId>,
    state: &str,
    at: Timestamp,
) -> Result<(), StoreError> {
    let keep = keep.unwrap_or(ApprovalId::from_bytes([0; 16]));
    tx.require_run(run)?;
    tx.execute(&CLOSE, params![&run, state, at, keep.as_bytes()])
        .map(drop)
}

/// One question.
pub fn get(tx: &Tx<'_>, id: ApprovalId) -> Result<Option<ApprovalRow>, StoreError> {
    let found = tx
        .query_one(&GET, params![id.as_bytes()])?
        .as_ref()
        .map(approval)
        .transpose()?;
    match found {
        Some(row) if tx.owns_run(row.run)? => Ok(Some(row)),
        _ => Ok(None),
    }
}

/// A run's questions, oldest first.
pub fn of_run(tx: &Tx<'_>, run: RunId) -> Result<Vec<ApprovalRow>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    tx.query(&OF_RUN, params![&run])?
        .iter()
        .map(approval)
        .collect()
}

/// Questions of a scope before a cursor (when one was asked, and which), newest first; an empty
/// state means all.
pub fn list(
    tx: &Tx<'_>,
    scope: &matrix_core::Scope,
    before: Option<(Timestamp, ApprovalId)>,
    state: &str,
    limit: i64,
) -> Result<Vec<ApprovalRow>, StoreError> {
    let newest = || {
        let last = ApprovalId::from_bytes([0xff; 16]);
        (Timestamp::from_micros(i64::MAX), last)
    };
    let (asked_at, approval_id) = before.unwrap_or_else(newest);
    let params = params![
        &scope.organisation,
        &scope.workspace,
        state,
        asked_at,
        approval_id.as_bytes(),
        limit
    ];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(approval).collect()
    })
}
