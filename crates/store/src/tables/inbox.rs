//! What everyone but a run's owner has to say to it, until the owner moves it into the journal.

use matrix_core::{RunId, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const INSERT: Statement = Statement::new(
    "inbox.insert",
    "INSERT INTO inbox (run, kind, path, payload, actor, at) VALUES ($1, $2, $3, $4, $5, $6)",
);
const LIST: Statement = Statement::new(
    "inbox.list",
    "SELECT id, run, kind, path, payload, actor, at FROM inbox
     WHERE run = $1 ORDER BY id LIMIT 256",
);
const DELETE: Statement = Statement::new("inbox.delete", "DELETE FROM inbox WHERE id = $1");
const WAITING: Statement = Statement::new(
    "inbox.waiting",
    "SELECT 1 FROM inbox WHERE run = $1 LIMIT 1",
);

const STEERING: Statement = Statement::new(
    "inbox.steering",
    "SELECT 1 FROM inbox WHERE run = $1 AND kind IN ('resumed', 'cancel_requested', 'reset') LIMIT 1",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[INSERT, LIST, DELETE, WAITING, STEERING];

/// One message to a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its row.
    pub id: i64,
    /// The run it is for.
    pub run: RunId,
    /// The entry kind it will become.
    pub kind: String,
    /// What it belongs to: an approval's id, a signal's name, or nothing.
    pub path: String,
    /// JSON.
    pub payload: Vec<u8>,
    /// Who sent it, as `user:name`.
    pub actor: String,
    /// When it was accepted.
    pub at: Timestamp,
}

fn message(row: &Row) -> Result<Message, StoreError> {
    Ok(Message {
        id: row.get(0)?,
        run: row.get(1)?,
        kind: row.get(2)?,
        path: row.get(3)?,
        payload: row.get(4)?,
        actor: row.get(5)?,
        at: row.get(6)?,
    })
}

/// Adds a message; its `id` is not used.
pub fn insert(tx: &Tx<'_>, message: &Message) -> Result<(), StoreError> {
    let Message {
        run,
        kind,
        path,
        payload,
        actor,
        at,
        ..
    } = message;
    tx.require_run(*run)?;
    tx.execute(
        &INSERT,
        params![run, kind, path, payload.as_slice(), actor, *at],
    )
    .map(drop)
}

/// The most messages that [`list`] gives at once.
pub const LIST_MAX: usize = 256;

/// The messages of a run, oldest first, at most [`LIST_MAX`].
pub fn list(tx: &Tx<'_>, run: RunId) -> Result<Vec<Message>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    tx.query(&LIST, params![&run])?
        .iter()
        .map(message)
        .collect()
}

/// Removes a message; false if it was gone.
pub fn delete(tx: &Tx<'_>, id: i64) -> Result<bool, StoreError> {
    tx.require_engine("a message")?;
    Ok(tx.execute(&DELETE, params![id])? == 1)
}

/// Whether anything waits for this run.
pub fn waiting(tx: &Tx<'_>, run: RunId) -> Result<bool, StoreError> {
    Ok(tx.owns_run(run)? && tx.query_one(&WAITING, params![&run])?.is_some())
}

/// Whether something waits that also wakes a run that rests: a resume, a cancel or a retry.
pub fn steering(tx: &Tx<'_>, run: RunId) -> Result<bool, StoreError> {
    Ok(tx.owns_run(run)? && tx.query_one(&STEERING, params![&run])?.is_some())
}
