//! The closed set of ways in which storage fails.

use matrix_core::{Code, Problem, RunId, Timestamp};

/// No space left for the data directory.
pub const FULL: Code = Code::new("STORE-0001", 507, 1, "no space left");
/// The database or a file of it cannot be used now.
pub const UNAVAILABLE: Code = Code::new("STORE-0002", 503, 1, "storage unavailable");
/// Stored bytes are not what was stored.
pub const CORRUPT: Code = Code::new("STORE-0003", 500, 1, "stored data is damaged");
/// A row exists already, or not any more.
pub const CONFLICT: Code = Code::new("STORE-0004", 409, 1, "conflicting change");

/// A tenant's border was about to be crossed.
pub const FORBIDDEN: Code = Code::new("STORE-0005", 500, 1, "across a tenant's border");

/// The database is there, and is not one that this program may work on.
pub const UNFIT: Code = Code::new("STORE-0006", 500, 1, "database refused");

/// Retention removed the journal of a run.
pub const REMOVED: Code = Code::new("RUN-0011", 410, 6, "removed by retention");

/// The store that keeps the blobs cannot be reached, or does not do what is asked.
pub const UNREACHABLE: Code = Code::new("STORE-0007", 503, 1, "blob store unreachable");

/// Why storage did not do what was asked.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// A constraint of a table was broken: the row exists, or what it refers to does not.
    #[error("a stored row conflicts: {0}")]
    Conflict(String),
    /// The disk, the quota or the file's limit is used up; nothing of the request was stored.
    #[error("no space is left to store this: {0}")]
    Full(String),
    /// The database cannot be reached; the outcome of a commit under way is unknown.
    #[error("storage is unavailable: {0}")]
    Unavailable(String),
    /// The store of the blobs does not answer, or refuses; asking again later may help.
    #[error("the store of the blobs cannot be used: {0}")]
    Unreachable(String),
    /// What was read is not what this program writes.
    #[error("stored data is damaged: {0}")]
    Corrupt(String),
    /// The journal of a run was removed by retention, so there is nothing to read.
    #[error("run {run} was removed by retention on {at}")]
    Removed {
        /// The run.
        run: RunId,
        /// When.
        at: Timestamp,
    },
    /// A statement reached for what its transaction was not opened for; nothing was done. Users
    /// cannot cause this: somebody forgot a check.
    #[error("storage refuses to touch {0}")]
    Forbidden(String),
    /// The database answers, and must not be used as it is: by its server's version, its tables',
    /// its login or its address.
    #[error("the database is refused: {0}")]
    Unfit(String),
}

impl StoreError {
    pub(crate) fn forbidden(what: impl std::fmt::Display) -> Self {
        Self::Forbidden(what.to_string())
    }

    /// A damaged value, by the place it was read from.
    pub fn corrupt(place: impl std::fmt::Display) -> Self {
        Self::Corrupt(place.to_string())
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        use rusqlite::ErrorCode;
        let text = error.to_string();
        match error.sqlite_error_code() {
            Some(ErrorCode::ConstraintViolation) => Self::Conflict(text),
            Some(ErrorCode::DiskFull) => Self::Full(text),
            Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Self::Corrupt(text),
            _ => Self::Unavailable(text),
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull
            | std::io::ErrorKind::QuotaExceeded
            | std::io::ErrorKind::FileTooLarge => Self::Full(error.to_string()),
            _ => Self::Unavailable(error.to_string()),
        }
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let text = error.to_string();
        match error {
            StoreError::Conflict(_) => Problem::new(CONFLICT, text),
            StoreError::Full(_) => Problem::new(FULL, text)
                .help("free some space and run `matrix run resume`; nothing recorded was lost"),
            StoreError::Unavailable(_) => Problem::new(UNAVAILABLE, text)
                .help("check that the data directory can be written, and that the database answers"),
            StoreError::Unreachable(_) => Problem::new(UNREACHABLE, text).help(
                "`matrix doctor` tries it; runs that need it rest, and go on with \
                 `matrix run resume` or by themselves when a server runs",
            ),
            StoreError::Corrupt(_) => Problem::new(CORRUPT, text)
                .help("restore the data directory from a copy; do not edit it by hand"),
            StoreError::Removed { run, at } => Problem::new(REMOVED, text)
                .help(
                    "a file that `matrix run export` wrote before still opens, and the signed \
                     heads still cover the run; `keep_runs` says how long runs are kept",
                )
                .with("run", run.to_string())
                .with("removed_at", at.as_micros()),
            StoreError::Unfit(_) => Problem::new(UNFIT, text).help(
                "`matrix database migrate` prepares a database; `matrix doctor` says whether it is fit",
            ),
            StoreError::Forbidden(_) => Problem::new(FORBIDDEN, text)
                .help("this is a defect of the program; please report it with this text"),
        }
    }
}
