//! SQLite as a [`Session`]: one connection of this process to the database file.

use std::cell::RefCell;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use crate::age::{self, Age};
use crate::error::StoreError;
use crate::session::{Place, Session, Step, Walls};
use crate::sql::{Param, Row, Statement, Value};
use crate::tx::Reach;

/// A connection that writes, or one that reads.
#[derive(Debug)]
pub(crate) struct SqliteSession {
    connection: Connection,
    writes: bool,
    place: Place,
    /// The positions of a statement's parameters, by the address of its text.
    positions: RefCell<HashMap<usize, Box<[usize]>>>,
}

impl SqliteSession {
    /// Opens the file for writing; creates and migrates it.
    pub(crate) fn for_writing(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(128);
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch(
            "PRAGMA journal_mode = WAL;
             PRAGMA synchronous = FULL;
             PRAGMA foreign_keys = ON;
             PRAGMA wal_autocheckpoint = 0;
             PRAGMA cache_size = -16384;",
        )?;
        age::migrate(&mut connection)?;
        Self::new(connection, true)
    }

    /// Opens the file for reading beside its host.
    pub(crate) fn for_reading(path: &Path) -> Result<Self, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags)?;
        connection.set_prepared_statement_cache_capacity(64);
        connection.busy_timeout(std::time::Duration::from_secs(5))?;
        connection.execute_batch("PRAGMA query_only = ON; PRAGMA mmap_size = 268435456;")?;
        Self::new(connection, false)
    }

    /// How old the tables are.
    pub(crate) fn age(&self) -> Result<Age, StoreError> {
        age::of(&self.connection)
    }

    fn new(connection: Connection, writes: bool) -> Result<Self, StoreError> {
        // A plan belongs to the statement: without this, statements are prepared again when a
        // parameter has another value than the one they were prepared for.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        Ok(Self {
            connection,
            writes,
            place: Place::of_shard(0),
            positions: RefCell::default(),
        })
    }

    /// The connection itself, for checkpoints.
    pub(crate) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// Hears after each commit how many frames the write-ahead log has.
    pub(crate) fn on_commit(
        &mut self,
        hear: impl Fn(u64) + Send + 'static,
    ) -> Result<(), StoreError> {
        let hook = move |_: &mut _, pages: std::ffi::c_int| {
            hear(u64::try_from(pages).unwrap_or(0));
            Ok(())
        };
        Ok(self.connection.wal_hook(Some(hook))?)
    }

    fn prepare(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<rusqlite::CachedStatement<'_>, StoreError> {
        let mut prepared = self.connection.prepare_cached(statement.sql)?;
        let mut known = self.positions.borrow_mut();
        let positions = match known.entry(statement.sql.as_ptr().addr()) {
            Entry::Occupied(positions) => positions.into_mut(),
            Entry::Vacant(place) => place.insert(positions(&prepared, statement, params.len())?),
        };
        if positions.len() != params.len() {
            return Err(wrong_parameters(statement));
        }
        for (param, position) in params.iter().zip(&*positions) {
            let position = *position;
            match param {
                Param::Null => prepared.raw_bind_parameter(position, rusqlite::types::Null)?,
                Param::Integer(value) => prepared.raw_bind_parameter(position, value)?,
                Param::Text(value) => prepared.raw_bind_parameter(position, value)?,
                Param::Blob(value) => prepared.raw_bind_parameter(position, value)?,
            }
        }
        Ok(prepared)
    }
}

impl Session for SqliteSession {
    fn execute(
        &self,
        _: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<u64, StoreError> {
        let mut prepared = self.prepare(statement, params)?;
        Ok(prepared.raw_execute()? as u64)
    }

    fn send(
        &self,
        reach: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<(), StoreError> {
        self.execute(reach, statement, params).map(drop)
    }

    fn query(
        &self,
        _: Reach<'_>,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        let mut prepared = self.prepare(statement, params)?;
        let columns = prepared.column_count();
        let mut rows = prepared.raw_query();
        let mut result = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns)
                .map(|column| value(statement, row.get_ref(column)?))
                .collect::<Result<_, StoreError>>()?;
            result.push(Row {
                statement: statement.name,
                values,
            });
        }
        Ok(result)
    }

    fn settle(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn step(&self, step: Step) -> Result<(), StoreError> {
        self.place.follow(step);
        let run = |sql: &str| -> Result<(), StoreError> {
            self.connection.prepare_cached(sql)?.raw_execute()?;
            Ok(())
        };
        match step {
            Step::Begin if self.writes => run("BEGIN IMMEDIATE"),
            Step::Begin => run("BEGIN"),
            Step::Mark => run("SAVEPOINT job"),
            Step::Keep => run("RELEASE job"),
            Step::Undo => run("ROLLBACK TO job").and_then(|()| run("RELEASE job")),
            Step::Commit => run("COMMIT"),
            Step::Abandon => run("ROLLBACK"),
        }
    }

    fn changes(&self) -> Option<u64> {
        Some(self.connection.total_changes())
    }

    fn is_open(&self) -> bool {
        !self.connection.is_autocommit()
    }

    fn writes(&self) -> bool {
        self.writes
    }

    fn walls(&self) -> Walls {
        Walls::Ours
    }

    fn place(&self) -> &Place {
        &self.place
    }
}

/// Where SQLite has put the parameters `$1`, `$2` …
fn positions(
    prepared: &rusqlite::Statement<'_>,
    statement: &Statement,
    count: usize,
) -> Result<Box<[usize]>, StoreError> {
    if prepared.parameter_count() != count {
        return Err(wrong_parameters(statement));
    }
    (1..=count)
        .map(|number| {
            let position = prepared.parameter_index(&format!("${number}"))?;
            position.ok_or_else(|| wrong_parameters(statement))
        })
        .collect()
}

fn wrong_parameters(statement: &Statement) -> StoreError {
    StoreError::corrupt(format_args!("the parameters of {}", statement.name))
}

fn value(statement: &Statement, value: ValueRef<'_>) -> Result<Value, StoreError> {
    Ok(match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(value) => Value::Integer(value),
        ValueRef::Text(value) => Value::Text(
            String::from_utf8(value.to_vec())
                .map_err(|_| StoreError::corrupt(format_args!("text of {}", statement.name)))?,
        ),
        ValueRef::Blob(value) => Value::Blob(value.to_vec()),
        ValueRef::Real(_) => {
            return Err(StoreError::corrupt(format_args!(
                "number of {}",
                statement.name
            )));
        }
    })
}
