//! The small statement layer: `$n` parameters bound by name, a closed set of values, typed rows.

use matrix_core::{Digest, RunId, Timestamp};

use crate::error::StoreError;
pub use crate::tx::Tx;

/// One statement: its name for errors and traces, and its text. Almost always one text serves both
/// databases; where it cannot, the second one stands beside the first.
#[derive(Debug, Clone, Copy)]
pub struct Statement {
    /// `table.verb`.
    pub name: &'static str,
    /// SQL with parameters `$1`, `$2` …, as SQLite reads it.
    pub sql: &'static str,
    /// The same for PostgreSQL.
    pub postgres: &'static str,
}

impl Statement {
    /// Declares a statement that both databases read.
    pub const fn new(name: &'static str, sql: &'static str) -> Self {
        Self {
            name,
            sql,
            postgres: sql,
        }
    }

    /// The same statement with another text for PostgreSQL: the parameters keep their numbers.
    #[must_use]
    pub const fn on_postgres(self, sql: &'static str) -> Self {
        Self {
            postgres: sql,
            ..self
        }
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
pub(crate) enum Value {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row of a result, read by column position.
#[derive(Debug)]
pub struct Row {
    pub(crate) statement: &'static str,
    pub(crate) values: Vec<Value>,
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
