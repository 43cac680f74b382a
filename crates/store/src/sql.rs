//! The small statement layer: `$n` parameters bound by name, a closed set of values, typed rows.

use std::cell::OnceCell;

use matrix_core::{Digest, RunId, Timestamp};
use rusqlite::types::ValueRef;

use crate::error::StoreError;

/// One statement: its name for errors and traces, and its text.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// `table.verb`.
    pub name: &'static str,
    /// SQL with parameters `$1`, `$2` ….
    pub sql: &'static str,
}

impl Statement {
    /// Declares a statement.
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self { name, sql }
    }
}

/// A value bound to a parameter.
#[derive(Debug, Clone, Copy)]
pub enum Param<'a> {
    /// No value.
    Null,
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(&'a str),
    /// Bytes.
    Blob(&'a [u8]),
}

impl From<i64> for Param<'_> {
    fn from(value: i64) -> Self {
        Self::Integer(value)
    }
}

impl From<Timestamp> for Param<'_> {
    fn from(value: Timestamp) -> Self {
        Self::Integer(value.as_micros())
    }
}

impl<'a> From<&'a str> for Param<'a> {
    fn from(value: &'a str) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a String> for Param<'a> {
    fn from(value: &'a String) -> Self {
        Self::Text(value)
    }
}

impl<'a> From<&'a [u8]> for Param<'a> {
    fn from(value: &'a [u8]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a [u8; 16]> for Param<'a> {
    fn from(value: &'a [u8; 16]) -> Self {
        Self::Blob(value)
    }
}

impl<'a> From<&'a RunId> for Param<'a> {
    fn from(value: &'a RunId) -> Self {
        Self::Blob(value.as_bytes())
    }
}

impl<'a> From<&'a Digest> for Param<'a> {
    fn from(value: &'a Digest) -> Self {
        Self::Blob(value.as_bytes())
    }
}

impl<'a, T> From<Option<T>> for Param<'a>
where
    T: Into<Param<'a>>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The parameters of a statement, in order.
#[macro_export]
macro_rules! params {
    ($($value:expr),* $(,)?) => { &[$($crate::sql::Param::from($value)),*] };
}

/// A stored value.
#[derive(Debug, Clone)]
enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row of a result, read by column position.
#[derive(Debug)]
pub struct Row {
    statement: &'static str,
    values: Vec<Value>,
}

/// A type that a column can be read as.
pub trait FromColumn: Sized {
    /// The value, or nothing when the column holds something else.
    fn from_integer(_value: i64) -> Option<Self> {
        None
    }
    /// The value, or nothing when the column holds something else.
    fn from_text(_value: &str) -> Option<Self> {
        None
    }
    /// The value, or nothing when the column holds something else.
    fn from_blob(_value: &[u8]) -> Option<Self> {
        None
    }
    /// The value that stands for no value, where there is one.
    fn from_null() -> Option<Self> {
        None
    }
}

impl FromColumn for i64 {
    fn from_integer(value: i64) -> Option<Self> {
        Some(value)
    }
}

impl FromColumn for u64 {
    fn from_integer(value: i64) -> Option<Self> {
        value.try_into().ok()
    }
}

impl FromColumn for Timestamp {
    fn from_integer(value: i64) -> Option<Self> {
        Some(Timestamp::from_micros(value))
    }
}

impl FromColumn for String {
    fn from_text(value: &str) -> Option<Self> {
        Some(value.to_owned())
    }
}

impl FromColumn for Vec<u8> {
    fn from_blob(value: &[u8]) -> Option<Self> {
        Some(value.to_vec())
    }
}

impl FromColumn for [u8; 16] {
    fn from_blob(value: &[u8]) -> Option<Self> {
        value.try_into().ok()
    }
}

impl FromColumn for RunId {
    fn from_blob(value: &[u8]) -> Option<Self> {
        value.try_into().ok().map(RunId::from_bytes)
    }
}

impl FromColumn for Digest {
    fn from_blob(value: &[u8]) -> Option<Self> {
        value.try_into().ok().map(Digest::from_bytes)
    }
}

impl<T: FromColumn> FromColumn for Option<T> {
    fn from_integer(value: i64) -> Option<Self> {
        T::from_integer(value).map(Some)
    }
    fn from_text(value: &str) -> Option<Self> {
        T::from_text(value).map(Some)
    }
    fn from_blob(value: &[u8]) -> Option<Self> {
        T::from_blob(value).map(Some)
    }
    fn from_null() -> Option<Self> {
        Some(None)
    }
}

impl Row {
    /// The value of a column, counted from zero; a value of another type is damage.
    pub fn get<T: FromColumn>(&self, column: usize) -> Result<T, StoreError> {
        let value = match self.values.get(column) {
            None => None,
            Some(Value::Null) => T::from_null(),
            Some(Value::Integer(value)) => T::from_integer(*value),
            Some(Value::Text(value)) => T::from_text(value),
            Some(Value::Blob(value)) => T::from_blob(value),
        };
        value.ok_or_else(|| {
            StoreError::corrupt(format_args!("column {column} of {}", self.statement))
        })
    }
}

/// A transaction, or a reader's view of one moment.
#[derive(Debug)]
pub struct Tx<'a> {
    connection: &'a rusqlite::Connection,
    /// The first error the database gave, for those who share the transaction.
    failure: OnceCell<StoreError>,
}

impl<'a> Tx<'a> {
    pub(crate) fn new(connection: &'a rusqlite::Connection) -> Self {
        Self {
            connection,
            failure: OnceCell::new(),
        }
    }

    /// The first error the database gave.
    pub(crate) fn into_failure(self) -> Option<StoreError> {
        self.failure.into_inner()
    }

    fn noting<T>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        result.inspect_err(|error| {
            // The first one counts; the others follow from it.
            let _: Result<(), StoreError> = self.failure.set(error.clone());
        })
    }

    fn prepare(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<rusqlite::CachedStatement<'a>, StoreError> {
        let mut prepared = self.connection.prepare_cached(statement.sql)?;
        for (index, param) in params.iter().enumerate() {
            let name = PARAMETER_NAMES.get(index).copied().unwrap_or("$0");
            let position = prepared.parameter_index(name)?.ok_or_else(|| {
                StoreError::corrupt(format_args!("{} has no parameter {name}", statement.name))
            })?;
            match param {
                Param::Null => prepared.raw_bind_parameter(position, rusqlite::types::Null)?,
                Param::Integer(value) => prepared.raw_bind_parameter(position, value)?,
                Param::Text(value) => prepared.raw_bind_parameter(position, value)?,
                Param::Blob(value) => prepared.raw_bind_parameter(position, value)?,
            }
        }
        Ok(prepared)
    }

    /// Executes a statement and gives the number of rows it changed.
    pub fn execute(&self, statement: &Statement, params: &[Param<'_>]) -> Result<u64, StoreError> {
        let executed = self
            .prepare(statement, params)
            .and_then(|mut prepared| Ok(prepared.raw_execute()? as u64));
        self.noting(executed)
    }

    /// All rows of a query; every query that can grow has a limit of its own.
    pub fn query(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Vec<Row>, StoreError> {
        self.noting(self.rows(statement, params))
    }

    fn rows(&self, statement: &Statement, params: &[Param<'_>]) -> Result<Vec<Row>, StoreError> {
        let mut prepared = self.prepare(statement, params)?;
        let columns = prepared.column_count();
        let mut rows = prepared.raw_query();
        let mut result = Vec::new();
        while let Some(row) = rows.next()? {
            let values = (0..columns)
                .map(|column| {
                    Ok(match row.get_ref(column)? {
                        ValueRef::Null => Value::Null,
                        ValueRef::Integer(value) => Value::Integer(value),
                        ValueRef::Text(value) => {
                            Value::Text(String::from_utf8(value.to_vec()).map_err(|_| {
                                StoreError::corrupt(format_args!("text of {}", statement.name))
                            })?)
                        }
                        ValueRef::Blob(value) => Value::Blob(value.to_vec()),
                        ValueRef::Real(_) => {
                            return Err(StoreError::corrupt(format_args!(
                                "number of {}",
                                statement.name
                            )));
                        }
                    })
                })
                .collect::<Result<_, StoreError>>()?;
            result.push(Row {
                statement: statement.name,
                values,
            });
        }
        Ok(result)
    }

    /// The first row of a query, if there is one.
    pub fn query_one(
        &self,
        statement: &Statement,
        params: &[Param<'_>],
    ) -> Result<Option<Row>, StoreError> {
        Ok(self.query(statement, params)?.into_iter().next())
    }
}

const PARAMETER_NAMES: [&str; 20] = [
    "$1", "$2", "$3", "$4", "$5", "$6", "$7", "$8", "$9", "$10", "$11", "$12", "$13", "$14", "$15",
    "$16", "$17", "$18", "$19", "$20",
];
