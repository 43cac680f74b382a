//! Who is told of events. One row is a subscription: what it asks for, how far it has come, and
//! which process sends it.
//!
//! Whoever sends is fenced by an epoch, which every claim, reset and removal raises or takes away:
//! a process that lost a subscription can neither move its cursor nor say that it failed.

use matrix_core::id::SubscriptionId;
use matrix_core::{RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

macro_rules! select {
    ($rest:literal) => {
        concat!(
            "SELECT subscription, organisation, workspace, name, topics, kind, run, payloads, \
             destination, caller, cursor, generation, delivered, delivered_at, failures, error, \
             failed_at, owner, epoch, beat, created_at FROM subscriptions ",
            $rest
        )
    };
}

const INSERT: Statement = Statement::new(
    "subscriptions.insert",
    "INSERT INTO subscriptions
         (subscription, organisation, workspace, name, topics, kind, run, payloads, destination,
          caller, cursor, generation, delivered, failures, epoch, beat, created_at)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 0, 0, 0, 0, 0, $12)
     ON CONFLICT (organisation, workspace, name) DO NOTHING",
);
const GET: Statement = Statement::new(
    "subscriptions.get",
    select!("WHERE organisation = $1 AND workspace = $2 AND name = $3"),
);
const LIST: Statement = Statement::new(
    "subscriptions.list",
    select!("WHERE organisation = $1 AND workspace = $2 ORDER BY name LIMIT $3"),
);
const ALL: Statement = Statement::new(
    "subscriptions.all",
    select!("ORDER BY subscription LIMIT $1"),
);
const REMOVE: Statement = Statement::new(
    "subscriptions.remove",
    "DELETE FROM subscriptions WHERE organisation = $1 AND workspace = $2 AND name = $3",
);
const RESET: Statement = Statement::new(
    "subscriptions.reset",
    "UPDATE subscriptions SET cursor = $4, generation = generation + 1, epoch = epoch + 1,
                              owner = NULL, failures = 0, error = NULL, failed_at = NULL
     WHERE organisation = $1 AND workspace = $2 AND name = $3",
);
const CLAIM: Statement = Statement::new(
    "subscriptions.claim",
    "UPDATE subscriptions SET owner = $2, epoch = epoch + 1, beat = beat + 1
     WHERE subscription = $1 AND epoch = $3",
);
const BEAT: Statement = Statement::new(
    "subscriptions.beat",
    "UPDATE subscriptions SET beat = beat + 1 WHERE owner = $1",
);
const RELEASE: Statement = Statement::new(
    "subscriptions.release",
    "UPDATE subscriptions SET owner = NULL, epoch = epoch + 1 WHERE owner = $1",
);
const ADVANCE: Statement = Statement::new(
    "subscriptions.advance",
    "UPDATE subscriptions SET cursor = $3, delivered = delivered + $4, beat = beat + 1,
                              delivered_at = CASE WHEN $4 > 0 THEN $5 ELSE delivered_at END,
                              failures = 0, error = NULL
     WHERE subscription = $1 AND epoch = $2",
)
.on_postgres(
    "UPDATE subscriptions SET cursor = $3, delivered = delivered + $4, beat = beat + 1,
                              delivered_at = CASE WHEN $4 > 0 THEN $5::BIGINT
                                                  ELSE delivered_at END,
                              failures = 0, error = NULL
     WHERE subscription = $1 AND epoch = $2",
);
const FAIL: Statement = Statement::new(
    "subscriptions.fail",
    "UPDATE subscriptions SET failures = failures + 1, error = $3, failed_at = $4, beat = beat + 1
     WHERE subscription = $1 AND epoch = $2",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[
    INSERT, GET, LIST, ALL, REMOVE, RESET, CLAIM, BEAT, RELEASE, ADVANCE, FAIL,
];

/// A subscription.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubscriptionRow {
    /// Its id.
    pub subscription: SubscriptionId,
    /// Whose events.
    pub scope: Scope,
    /// Its name, unique in the scope.
    pub name: String,
    /// Patterns of topics, as a JSON array.
    pub topics: String,
    /// Only events of runs of this kind; empty for all.
    pub kind: String,
    /// Only events of this run.
    pub run: Option<RunId>,
    /// Whether payloads are sent along.
    pub payloads: bool,
    /// Where to.
    pub destination: String,
    /// Who made it, as JSON; it sends what they may read.
    pub caller: String,
    /// Up to where events were delivered, for each shard.
    pub cursor: String,
    /// How often it was deliberately set back.
    pub generation: i64,
    /// How many events were acknowledged.
    pub delivered: i64,
    /// When the newest was.
    pub delivered_at: Option<Timestamp>,
    /// Attempts that failed since one succeeded.
    pub failures: i64,
    /// Why the newest of them did.
    pub error: Option<String>,
    /// When an attempt last failed.
    pub failed_at: Option<Timestamp>,
    /// The process that sends.
    pub owner: Option<String>,
    /// Raised whenever the owner changes.
    pub epoch: i64,
    /// Rises while its owner lives.
    pub beat: i64,
    /// When it was made.
    pub created_at: Timestamp,
}

fn subscription(row: &Row) -> Result<SubscriptionRow, StoreError> {
    Ok(SubscriptionRow {
        subscription: SubscriptionId::from_bytes(row.get(0)?),
        scope: Scope {
            organisation: row.get(1)?,
            workspace: row.get(2)?,
        },
        name: row.get(3)?,
        topics: row.get(4)?,
        kind: row.get(5)?,
        run: row.get(6)?,
        payloads: row.get::<i64>(7)? != 0,
        destination: row.get(8)?,
        caller: row.get(9)?,
        cursor: row.get(10)?,
        generation: row.get(11)?,
        delivered: row.get(12)?,
        delivered_at: row.get(13)?,
        failures: row.get(14)?,
        error: row.get(15)?,
        failed_at: row.get(16)?,
        owner: row.get(17)?,
        epoch: row.get(18)?,
        beat: row.get(19)?,
        created_at: row.get(20)?,
    })
}

/// Adds a subscription that nobody sends yet; false if the scope has one of this name.
pub fn insert(tx: &Tx<'_>, new: &SubscriptionRow) -> Result<bool, StoreError> {
    let params = params![
        new.subscription.as_bytes(),
        &new.scope.organisation,
        &new.scope.workspace,
        &new.name,
        &new.topics,
        &new.kind,
        new.run.as_ref(),
        i64::from(new.payloads),
        &new.destination,
        &new.caller,
        &new.cursor,
        new.created_at
    ];
    tx.within(&new.scope, |tx| Ok(tx.execute(&INSERT, params)? == 1))
}

/// The subscription of this name.
pub fn get(tx: &Tx<'_>, scope: &Scope, name: &str) -> Result<Option<SubscriptionRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name];
    tx.within(scope, |tx| {
        let found = tx.query_one(&GET, params)?;
        found.as_ref().map(subscription).transpose()
    })
}

/// A scope's subscriptions by name, at most `limit`.
pub fn list(tx: &Tx<'_>, scope: &Scope, limit: i64) -> Result<Vec<SubscriptionRow>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, limit];
    tx.within(scope, |tx| {
        tx.query(&LIST, params)?.iter().map(subscription).collect()
    })
}

/// Every tenant's subscriptions, oldest first, at most `limit`.
pub fn all(tx: &Tx<'_>, limit: i64) -> Result<Vec<SubscriptionRow>, StoreError> {
    tx.require_engine("subscriptions")?;
    tx.query(&ALL, params![limit])?
        .iter()
        .map(subscription)
        .collect()
}

/// Removes a subscription; false if there is none of this name.
pub fn remove(tx: &Tx<'_>, scope: &Scope, name: &str) -> Result<bool, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name];
    tx.within(scope, |tx| Ok(tx.execute(&REMOVE, params)? == 1))
}

/// Sets a subscription's cursor and takes it from whoever sends it; false if there is none.
pub fn reset(tx: &Tx<'_>, scope: &Scope, name: &str, cursor: &str) -> Result<bool, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, name, cursor];
    tx.within(scope, |tx| Ok(tx.execute(&RESET, params)? == 1))
}

/// Takes a subscription that is still of this epoch; false if somebody else was faster.
pub fn claim(tx: &Tx<'_>, id: SubscriptionId, owner: &str, epoch: i64) -> Result<bool, StoreError> {
    tx.require_engine("subscriptions")?;
    Ok(tx.execute(&CLAIM, params![id.as_bytes(), owner, epoch])? == 1)
}

/// Says that an owner lives, once for all it has.
pub fn beat(tx: &Tx<'_>, owner: &str) -> Result<(), StoreError> {
    tx.require_engine("subscriptions")?;
    tx.execute(&BEAT, params![owner]).map(drop)
}

/// Gives up everything an owner has.
pub fn release(tx: &Tx<'_>, owner: &str) -> Result<(), StoreError> {
    tx.require_engine("subscriptions")?;
    tx.execute(&RELEASE, params![owner]).map(drop)
}

/// Moves the cursor over this many more events that were acknowledged; false if the subscription is
/// not of this epoch any more.
pub fn advance(
    tx: &Tx<'_>,
    (id, epoch): (SubscriptionId, i64),
    cursor: &str,
    delivered: i64,
    at: Timestamp,
) -> Result<bool, StoreError> {
    tx.require_engine("subscriptions")?;
    let params = params![id.as_bytes(), epoch, cursor, delivered, at];
    Ok(tx.execute(&ADVANCE, params)? == 1)
}

/// Notes an attempt that failed; false if the subscription is not of this epoch any more.
pub fn fail(
    tx: &Tx<'_>,
    (id, epoch): (SubscriptionId, i64),
    error: &str,
    at: Timestamp,
) -> Result<bool, StoreError> {
    tx.require_engine("subscriptions")?;
    Ok(tx.execute(&FAIL, params![id.as_bytes(), epoch, error, at])? == 1)
}
