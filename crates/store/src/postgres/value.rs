//! Our closed set of values in PostgreSQL's binary form.

use std::error::Error;

use bytes::BytesMut;
use tokio_postgres::types::{FromSql, IsNull, ToSql, Type, to_sql_checked};

use crate::error::StoreError;
use crate::sql::{Param, Row, Statement, Value};

/// A parameter that outlives its caller, for a statement whose answer comes later.
#[derive(Debug)]
pub(super) enum Kept {
    Null,
    Integer(i64),
    Text(String),
    Blob(Vec<u8>),
}

impl Kept {
    pub(super) fn of(param: &Param<'_>) -> Self {
        match param {
            Param::Null => Self::Null,
            Param::Integer(value) => Self::Integer(*value),
            Param::Text(value) => Self::Text((*value).to_owned()),
            Param::Blob(value) => Self::Blob((*value).to_vec()),
        }
    }

    fn borrowed(&self) -> Param<'_> {
        match self {
            Self::Null => Param::Null,
            Self::Integer(value) => Param::Integer(*value),
            Self::Text(value) => Param::Text(value),
            Self::Blob(value) => Param::Blob(value),
        }
    }
}

impl ToSql for Kept {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        self.borrowed().to_sql(ty, out)
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl ToSql for Param<'_> {
    fn to_sql(
        &self,
        ty: &Type,
        out: &mut BytesMut,
    ) -> Result<IsNull, Box<dyn Error + Sync + Send>> {
        match self {
            Self::Null => Ok(IsNull::Yes),
            // A number compared with a literal is taken for the literal's type.
            Self::Integer(value) if *ty == Type::INT4 => i32::try_from(*value)?.to_sql(ty, out),
            Self::Integer(value) if *ty == Type::INT8 => value.to_sql(ty, out),
            Self::Text(value) if <&str as ToSql>::accepts(ty) => value.to_sql(ty, out),
            Self::Blob(value) if *ty == Type::BYTEA => value.to_sql(ty, out),
            other => Err(format!("{other:?} is no value of the type {ty}").into()),
        }
    }

    fn accepts(_: &Type) -> bool {
        true
    }

    to_sql_checked!();
}

impl<'a> FromSql<'a> for Value {
    fn from_sql(ty: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(match *ty {
            Type::INT8 => Self::Integer(i64::from_sql(ty, raw)?),
            Type::INT4 => Self::Integer(i64::from(i32::from_sql(ty, raw)?)),
            Type::BOOL => Self::Integer(i64::from(bool::from_sql(ty, raw)?)),
            Type::BYTEA => Self::Blob(raw.to_vec()),
            _ => Self::Text(String::from_sql(ty, raw)?),
        })
    }

    fn from_sql_null(_: &Type) -> Result<Self, Box<dyn Error + Sync + Send>> {
        Ok(Self::Null)
    }

    fn accepts(ty: &Type) -> bool {
        matches!(*ty, Type::INT8 | Type::INT4 | Type::BOOL | Type::BYTEA)
            || <String as FromSql>::accepts(ty)
    }
}

/// A row as the statement layer gives it.
pub(super) fn row(statement: &Statement, found: &tokio_postgres::Row) -> Result<Row, StoreError> {
    let values = (0..found.len())
        .map(|column| {
            found.try_get(column).map_err(|error| {
                StoreError::corrupt(format_args!(
                    "column {column} of {}: {error}",
                    statement.name
                ))
            })
        })
        .collect::<Result<_, _>>()?;
    Ok(Row {
        statement: statement.name,
        values,
    })
}
