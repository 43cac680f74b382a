//! Files and batches of the model gateway: what is asked of them again and again, beside the runs that
//! they are.
//!
//! What is in a file, and what was answered to each request, stands in the runs' journals. A row has
//! whose it is, how large and how far, so that a look at it costs the same however long the journal is.

use matrix_core::{RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

macro_rules! files {
    ($rest:literal) => {
        concat!(
            "SELECT run, owner, filename, bytes FROM model_files
             WHERE organisation = $1 AND workspace = $2 AND ",
            $rest
        )
    };
}

macro_rules! batches {
    ($rest:literal) => {
        concat!(
            "SELECT b.run, b.owner, b.file, b.endpoint, b.metadata, b.total, b.completed, b.failed,
                    b.output_bytes, b.error_bytes, b.cancelled_at, r.state, r.waiting, r.stopped,
                    r.head_seq, r.updated_at
             FROM model_batches b JOIN runs r ON r.run = b.run
             WHERE b.organisation = $1 AND b.workspace = $2 AND ",
            $rest
        )
    };
}

const PUT_FILE: Statement = Statement::new(
    "model_batches.put_file",
    "INSERT INTO model_files (organisation, workspace, run, owner, filename, bytes)
     VALUES ($1, $2, $3, $4, $5, $6)",
);
const FILE: Statement = Statement::new("model_batches.file", files!("run = $3"));
const FILES: Statement = Statement::new(
    "model_batches.files",
    files!("owner = $3 AND run < $4 ORDER BY run DESC LIMIT $5"),
);
const REMOVE_FILE: Statement = Statement::new(
    "model_batches.remove_file",
    "DELETE FROM model_files WHERE organisation = $1 AND workspace = $2 AND run = $3",
);
const PUT: Statement = Statement::new(
    "model_batches.put",
    "INSERT INTO model_batches (organisation, workspace, run, owner, file, endpoint, metadata, total,
                                completed, failed, output_bytes, error_bytes)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, 0, 0, 0, 0)",
);
const GET: Statement = Statement::new("model_batches.get", batches!("b.run = $3"));
const LIST: Statement = Statement::new(
    "model_batches.list",
    batches!("b.owner = $3 AND b.run < $4 ORDER BY b.run DESC LIMIT $5"),
);
const COUNT: Statement = Statement::new(
    "model_batches.count",
    "UPDATE model_batches SET completed = completed + $4, output_bytes = output_bytes + $5,
                              failed = failed + $6, error_bytes = error_bytes + $7
     WHERE organisation = $1 AND workspace = $2 AND run = $3",
);
const CANCEL: Statement = Statement::new(
    "model_batches.cancel",
    "UPDATE model_batches SET cancelled_at = $4
     WHERE organisation = $1 AND workspace = $2 AND run = $3 AND cancelled_at IS NULL",
);
const BYTES: Statement = Statement::new(
    "model_batches.bytes",
    "SELECT COALESCE(SUM(bytes), 0) FROM model_files WHERE organisation = $1 AND workspace = $2",
)
.on_postgres(
    "SELECT COALESCE(SUM(bytes), 0)::BIGINT FROM model_files
     WHERE organisation = $1 AND workspace = $2",
);
const OPEN: Statement = Statement::new(
    "model_batches.open",
    "SELECT COUNT(*) FROM model_batches b JOIN runs r ON r.run = b.run
     WHERE b.organisation = $1 AND b.workspace = $2
           AND r.state IN ('ready', 'running', 'waiting', 'paused')",
);

/// Every statement of these tables.
pub const STATEMENTS: &[Statement] = &[
    PUT_FILE,
    FILE,
    FILES,
    REMOVE_FILE,
    PUT,
    GET,
    LIST,
    COUNT,
    CANCEL,
    BYTES,
    OPEN,
];

/// A file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileRow {
    /// The run that it is.
    pub run: RunId,
    /// Who put it here: `service:ci`.
    pub owner: String,
    /// Its name, for people.
    pub filename: String,
    /// How long it is.
    pub bytes: i64,
}

/// A batch to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewBatchRow {
    /// The run that it is.
    pub run: RunId,
    /// Who began it: `service:ci`.
    pub owner: String,
    /// The file with its requests.
    pub file: RunId,
    /// What they are.
    pub endpoint: String,
    /// What its client says of it, as JSON.
    pub metadata: String,
    /// How many requests it has.
    pub total: i64,
}

/// How many requests are done, and how many bytes the lines have that say so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Those that were answered.
    pub completed: i64,
    /// The bytes of their lines.
    pub output_bytes: i64,
    /// Those that failed.
    pub failed: i64,
    /// The bytes of their lines.
    pub error_bytes: i64,
}

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchRow {
    /// As it was begun.
    pub new: NewBatchRow,
    /// How far it is.
    pub done: Done,
    /// When its client wanted it to end.
    pub cancelled_at: Option<Timestamp>,
    /// The state of its run.
    pub state: String,
    /// What its run waits for, as JSON.
    pub waiting: Option<String>,
    /// Why its run stopped by itself; empty unless it did.
    pub stopped: String,
    /// The newest entry of its run.
    pub head_seq: i64,
    /// When its run last changed its state.
    pub updated_at: Timestamp,
}

fn file_row(row: &Row) -> Result<FileRow, StoreError> {
    Ok(FileRow {
        run: row.get(0)?,
        owner: row.get(1)?,
        filename: row.get(2)?,
        bytes: row.get(3)?,
    })
}

fn batch_row(row: &Row) -> Result<BatchRow, StoreError> {
    Ok(BatchRow {
        new: NewBatchRow {
            run: row.get(0)?,
            owner: row.get(1)?,
            file: row.get(2)?,
            endpoint: row.get(3)?,
            metadata: row.get(4)?,
            total: row.get(5)?,
        },
        done: Done {
            completed: row.get(6)?,
            failed: row.get(7)?,
            output_bytes: row.get(8)?,
            error_bytes: row.get(9)?,
        },
        cancelled_at: row.get(10)?,
        state: row.get(11)?,
        waiting: row.get(12)?,
        stopped: row.get(13)?,
        head_seq: row.get(14)?,
        updated_at: row.get(15)?,
    })
}

/// The bytes of an id, or what is after every id.
fn before(run: Option<RunId>) -> Vec<u8> {
    run.map_or_else(|| vec![0xff; 16], |run| run.as_bytes().to_vec())
}

/// Notes a file.
pub fn put_file(tx: &Tx<'_>, scope: &Scope, row: &FileRow) -> Result<(), StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        &row.run,
        &row.owner,
        &row.filename,
        row.bytes
    ];
    tx.within(scope, |tx| tx.execute(&PUT_FILE, params).map(drop))
}

/// A file.
pub fn file(tx: &Tx<'_>, scope: &Scope, run: RunId) -> Result<Option<FileRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, &run];
    tx.within(scope, |tx| {
        tx.query_one(&FILE, params)?
            .as_ref()
            .map(file_row)
            .transpose()
    })
}

/// Somebody's newest files, older than one, at most `limit`.
pub fn files(
    tx: &Tx<'_>,
    scope: &Scope,
    owner: &str,
    older: Option<RunId>,
    limit: i64,
) -> Result<Vec<FileRow>, StoreError> {
    let older = before(older);
    let (organisation, workspace) = (&scope.organisation, &scope.workspace);
    let params = params![organisation, workspace, owner, older.as_slice(), limit];
    tx.within(scope, |tx| {
        tx.query(&FILES, params)?.iter().map(file_row).collect()
    })
}

/// Forgets a file; false if there is none.
pub fn remove_file(tx: &Tx<'_>, scope: &Scope, run: RunId) -> Result<bool, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, &run];
    tx.within(scope, |tx| Ok(tx.execute(&REMOVE_FILE, params)? > 0))
}

/// Notes a batch, of which nothing is done yet.
pub fn put(tx: &Tx<'_>, scope: &Scope, row: &NewBatchRow) -> Result<(), StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        &row.run,
        &row.owner,
        &row.file,
        &row.endpoint,
        &row.metadata,
        row.total
    ];
    tx.within(scope, |tx| tx.execute(&PUT, params).map(drop))
}

/// A batch.
pub fn get(tx: &Tx<'_>, scope: &Scope, run: RunId) -> Result<Option<BatchRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, &run];
    tx.within(scope, |tx| {
        tx.query_one(&GET, params)?
            .as_ref()
            .map(batch_row)
            .transpose()
    })
}

/// Somebody's newest batches, older than one, at most `limit`.
pub fn list(
    tx: &Tx<'_>,
    scope: &Scope,
    owner: &str,
    older: Option<RunId>,
    limit: i64,
) -> Result<Vec<BatchRow>, StoreError> {
    let older = before(older);
    let (organisation, workspace) = (&scope.organisation, &scope.workspace);
    let params = params![organisation, workspace, owner, older.as_slice(), limit];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(batch_row).collect()
    })
}

/// More of a batch is done.
pub fn count(tx: &Tx<'_>, scope: &Scope, run: RunId, more: Done) -> Result<(), StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        &run,
        more.completed,
        more.output_bytes,
        more.failed,
        more.error_bytes
    ];
    tx.within(scope, |tx| tx.execute(&COUNT, params).map(drop))
}

/// A batch's client wants it to end; false if that was said already.
pub fn cancel(tx: &Tx<'_>, scope: &Scope, run: RunId, at: Timestamp) -> Result<bool, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, &run, at];
    tx.within(scope, |tx| Ok(tx.execute(&CANCEL, params)? > 0))
}

/// How many bytes the files of a tenant have.
pub fn bytes(tx: &Tx<'_>, scope: &Scope) -> Result<i64, StoreError> {
    let params = params![&scope.organisation, &scope.workspace];
    tx.within(scope, |tx| {
        tx.query_one(&BYTES, params)?
            .map_or(Ok(0), |row| row.get(0))
    })
}

/// How many batches of a tenant have not ended.
pub fn open(tx: &Tx<'_>, scope: &Scope) -> Result<i64, StoreError> {
    let params = params![&scope.organisation, &scope.workspace];
    tx.within(scope, |tx| {
        tx.query_one(&OPEN, params)?.map_or(Ok(0), |row| row.get(0))
    })
}
