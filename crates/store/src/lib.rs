//! What lasts: tables by subject over SQLite, and immutable bytes in a content-addressed store.
//!
//! All writes, the journal's and every table's, pass one writer thread ([`database`]): it drains
//! what waits, commits it in one transaction with one fsync, and only then answers. Readers have
//! their own connections. With a write-ahead log "database is locked" cannot happen, and the
//! number of jobs in a transaction follows the load by itself.
//!
//! A table module ([`tables`]) is a set of [`sql::Statement`]s and functions over them: it knows
//! columns and makes no decisions. Parameters are written `$1`, `$2` … and bound by name; times are
//! integer microseconds that the caller passes in, so the same text serves other databases.
//!
//! [`blobs`] holds everything too large for a row, under the SHA-256 of its bytes. [`bus`] takes
//! events to brokers outside.

mod age;
pub mod blobs;
pub mod bus;
mod checkpoint;
pub mod database;
pub mod error;
pub mod meter;
#[cfg(feature = "postgres")]
pub mod postgres;
mod session;
pub mod sql;
mod sqlite;
pub mod tables;
mod tx;
mod writer;

pub use age::Age;
pub use blobs::Blobs;
pub use database::{Database, OpenMode};
pub use error::StoreError;
pub use sql::{Param, Row, Statement};
pub use tx::{Reach, Tx};
