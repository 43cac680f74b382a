//! What holds the queue back beside those who run: rates that are used up, and keys that are paused.

use matrix_core::{Scope, Timestamp};

use super::queue::Slot;
use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const GET: Statement = Statement::new(
    "throttles.get",
    "SELECT organisation, workspace, subject, name, full_at, paused_until, because FROM throttles
     WHERE organisation = $1 AND workspace = $2 AND subject = $3 AND name = $4",
);
const PAUSED: Statement = Statement::new(
    "throttles.paused",
    "SELECT organisation, workspace, subject, name, full_at, paused_until, because FROM throttles
     WHERE organisation = $1 AND workspace = $2 AND paused_until > $3 ORDER BY subject, name
     LIMIT $4",
);
const SPEND: Statement = Statement::new(
    "throttles.spend",
    "INSERT INTO throttles (organisation, workspace, subject, name, full_at, paused_until, because)
     VALUES ($1, $2, $3, $4, $5, 0, '')
     ON CONFLICT (organisation, workspace, subject, name) DO UPDATE SET full_at = $5",
);
const PAUSE: Statement = Statement::new(
    "throttles.pause",
    "INSERT INTO throttles (organisation, workspace, subject, name, full_at, paused_until, because)
     VALUES ($1, $2, $3, $4, 0, $5, $6)
     ON CONFLICT (organisation, workspace, subject, name)
         DO UPDATE SET paused_until = $5, because = $6",
);
const FORGET: Statement = Statement::new(
    "throttles.forget",
    "DELETE FROM throttles WHERE full_at <= $1 AND paused_until <= $1",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[GET, PAUSED, SPEND, PAUSE, FORGET];

/// What holds a slot back beside those who run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// Whose it is.
    pub slot: Slot,
    /// When its bucket is full again.
    pub full_at: Timestamp,
    /// Until when nobody is to begin.
    pub paused_until: Timestamp,
    /// Why it is paused.
    pub because: String,
}

fn throttle_row(row: &Row) -> Result<Throttle, StoreError> {
    let (organisation, workspace, name) = (row.get(0)?, row.get(1)?, row.get(3)?);
    let slot = match row.get::<String>(2)?.as_str() {
        "lane" => Slot::Lane(name),
        "tenant" => Slot::Tenant(organisation, workspace),
        "key" => Slot::Key(organisation, workspace, name),
        _ => return Err(StoreError::corrupt("a throttle")),
    };
    Ok(Throttle {
        slot,
        full_at: row.get(4)?,
        paused_until: row.get(5)?,
        because: row.get(6)?,
    })
}

/// What holds a slot back, if anything ever did.
pub fn get(tx: &Tx<'_>, slot: &Slot) -> Result<Option<Throttle>, StoreError> {
    tx.require_engine("the throttles")?;
    let (organisation, workspace, subject, name) = slot.parts();
    tx.query_one(&GET, params![organisation, workspace, subject, name])?
        .as_ref()
        .map(throttle_row)
        .transpose()
}

/// A tenant's keys that are paused at a time.
pub fn paused(
    tx: &Tx<'_>,
    scope: &Scope,
    now: Timestamp,
    limit: i64,
) -> Result<Vec<Throttle>, StoreError> {
    tx.require_engine("the throttles")?;
    let params = params![&scope.organisation, &scope.workspace, now, limit];
    tx.query(&PAUSED, params)?
        .iter()
        .map(throttle_row)
        .collect()
}

/// Says when a slot's bucket will be full again.
pub fn spend(tx: &Tx<'_>, slot: &Slot, full_at: Timestamp) -> Result<(), StoreError> {
    tx.require_engine("the throttles")?;
    let (organisation, workspace, subject, name) = slot.parts();
    tx.execute(
        &SPEND,
        params![organisation, workspace, subject, name, full_at],
    )
    .map(drop)
}

/// Lets nobody begin in a slot until a time; the newest word counts.
pub fn pause(tx: &Tx<'_>, slot: &Slot, until: Timestamp, because: &str) -> Result<(), StoreError> {
    tx.require_engine("the throttles")?;
    let (organisation, workspace, subject, name) = slot.parts();
    let params = params![organisation, workspace, subject, name, until, because];
    tx.execute(&PAUSE, params).map(drop)
}

/// Removes what holds nothing back any more; gives its number.
pub fn forget(tx: &Tx<'_>, now: Timestamp) -> Result<u64, StoreError> {
    tx.require_engine("the throttles")?;
    tx.execute(&FORGET, params![now])
}
