//! PostgreSQL 15 or newer: state that several processes share.
//!
//! * **Roles.** `matrix_owner` owns the tables and migrates them ([`migrate`]); nothing else uses
//!   it. The program signs in as a login of its own that is a member of `matrix_engine` and
//!   `matrix_app` and of nothing more, and every statement runs as one of those two: the engine's
//!   reaches the runs of all tenants and no other table, the application's every table, but only
//!   the rows of the tenant that the transaction was opened for. Row-level security is forced. A
//!   login that could switch it off (a superuser, one that bypasses it, the owner) is refused.
//! * **Writing.** One committer per process ([`committer`]) drains what waits into one transaction,
//!   as SQLite's writer does, and answers after the commit. Statements whose answers nobody needs
//!   yet are sent with the next one ([`session`]).
//! * **Several processes.** Each committer takes a shard of positions for itself; the head of a run
//!   is locked by whoever appends to it; claims pass over each other.
//! * **Wakes.** What one process commits the others hear of ([`Bell`]), outside the write path.
//! * **A lost connection** ends the transaction: everything in flight is answered as unavailable,
//!   outcome unknown, and the next write connects again.

mod address;
mod bell;
mod committer;
mod connect;
mod drive;
mod fault;
mod migrate;
mod session;
mod value;

use std::sync::Arc;

use matrix_core::Clock;

use crate::error::StoreError;
use crate::session::Session;

pub use address::Address;
pub use bell::{Bell, News};
pub(crate) use committer::PostgresWriter;
pub use migrate::migrate;
pub(crate) use session::PostgresSession;

use drive::Shared;

/// How PostgreSQL is reached at run time.
#[derive(Debug, Clone)]
pub struct PostgresOptions {
    /// Where the server is. The login is a member of `matrix_engine` and `matrix_app` and of
    /// nothing more.
    pub address: Address,
    /// What months of the journal are made ahead by.
    pub clock: Arc<dyn Clock>,
}

/// The connections that read.
#[derive(Debug)]
pub(crate) struct Readers {
    address: Address,
    shared: Shared,
}

impl Readers {
    pub(crate) fn new(address: &Address) -> Result<Self, StoreError> {
        Ok(Self {
            address: address.clone(),
            shared: Shared::start()?,
        })
    }

    /// A new connection for reading.
    pub(crate) fn open(&self) -> Result<PostgresSession, StoreError> {
        PostgresSession::for_reading(&self.address, self.shared.driver()?)
    }

    /// Whether a connection that was used before still stands.
    pub(crate) fn is_usable(session: &PostgresSession) -> bool {
        !session.is_lost() && !session.is_open()
    }
}
