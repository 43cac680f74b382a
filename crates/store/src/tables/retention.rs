//! What is past its time, and what still refers to a blob.

use matrix_core::{Digest, RunId, Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Statement, Tx};

/// Whether a deployment `d` is active, or the newest superseded one of its target (the one to go
/// back to).
macro_rules! needed_deployment {
    () => {
        "(d.state = 'active' OR (d.state = 'superseded' AND NOT EXISTS (
                SELECT 1 FROM deployments n
                 WHERE n.organisation = d.organisation AND n.workspace = d.workspace
                   AND n.target = d.target AND n.state = 'superseded'
                   AND n.deployment > d.deployment)))"
    };
}
pub(super) use needed_deployment;

/// Whether a release `r` is among the newest so many of its workspace.
macro_rules! needed_release {
    ($newest:literal) => {
        concat!(
            "(SELECT COUNT(*) FROM releases n
                    WHERE n.organisation = r.organisation AND n.workspace = r.workspace
                      AND n.release > r.release) < ",
            $newest
        )
    };
}
pub(super) use needed_release;

/// A run is past its time when it ended before `$1` and nothing needs it: no deployment, and no
/// release among the newest `$2` of its workspace.
macro_rules! past {
    () => {
        concat!(
            "runs.state IN ('succeeded', 'failed', 'cancelled') AND runs.updated_at < $1
         AND NOT EXISTS (SELECT 1 FROM deployments d WHERE d.run = runs.run AND ",
            needed_deployment!(),
            ")
         AND NOT EXISTS (SELECT 1 FROM releases r WHERE r.run = runs.run AND ",
            needed_release!("$2"),
            ")"
        )
    };
}

const SCOPES: Statement = Statement::new(
    "retention.scopes",
    "SELECT DISTINCT organisation, workspace FROM runs ORDER BY organisation, workspace",
);
const RUNS: Statement = Statement::new(
    "retention.runs",
    concat!(
        "SELECT run, CASE WHEN ",
        past!(),
        " THEN 1 ELSE 0 END FROM runs
         WHERE organisation = $5 AND workspace = $6 AND run > $3 ORDER BY run LIMIT $4"
    ),
);
const FORGET: Statement = Statement::new(
    "retention.forget",
    concat!(
        "DELETE FROM artifacts WHERE run = $3 AND name <> $4
            AND EXISTS (SELECT 1 FROM runs WHERE runs.run = $3 AND ",
        past!(),
        ")"
    ),
);
const PAYLOADS: Statement = Statement::new(
    "retention.payloads",
    "SELECT payload_blob FROM journal WHERE run = $1 AND payload_blob IS NOT NULL
        AND EXISTS (SELECT 1 FROM runs r WHERE r.run = $1 AND r.removed_at IS NULL)",
);

/// Every statement of this subject.
pub const STATEMENTS: &[Statement] = &[SCOPES, RUNS, FORGET, PAYLOADS];

/// What makes a run past its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// It must have ended before this.
    pub ended_before: Timestamp,
    /// It must not be among so many newest releases of its workspace.
    pub releases: i64,
}

/// A run and whether it is past its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The run.
    pub run: RunId,
    /// Whether it is.
    pub past: bool,
}

/// Every scope that has a run. Blobs are one store for all tenants, so whoever removes some must
/// have asked each of them; a tenant is refused.
pub fn scopes(tx: &Tx<'_>) -> Result<Vec<Scope>, StoreError> {
    tx.require_engine("the runs")?;
    tx.query(&SCOPES, &[])?
        .iter()
        .map(|row| {
            Ok(Scope {
                organisation: row.get(0)?,
                workspace: row.get(1)?,
            })
        })
        .collect()
}

/// Runs of a scope after one (nothing: from the first), by id, at most `limit`.
pub fn runs(
    tx: &Tx<'_>,
    scope: &Scope,
    terms: Terms,
    after: Option<RunId>,
    limit: i64,
) -> Result<Vec<Judged>, StoreError> {
    let after = after.map_or_else(Vec::new, |run| run.as_bytes().to_vec());
    let params = params![
        terms.ended_before,
        terms.releases,
        after.as_slice(),
        limit,
        &scope.organisation,
        &scope.workspace
    ];
    tx.within(scope, |tx| {
        tx.query(&RUNS, params)?
            .iter()
            .map(|row| {
                Ok(Judged {
                    run: row.get(0)?,
                    past: row.get::<i64>(1)? == 1,
                })
            })
            .collect()
    })
}

/// Forgets the artifacts of a run but the one of this name, if the run is (still) past its time;
/// gives how many.
pub fn forget(tx: &Tx<'_>, terms: Terms, run: RunId, kept: &str) -> Result<u64, StoreError> {
    let params = params![terms.ended_before, terms.releases, &run, kept];
    let forgotten = tx.within_run(run, |tx| tx.execute(&FORGET, params))?;
    Ok(forgotten.unwrap_or(0))
}

/// The blobs that hold payloads of a run's journal; none of one that was removed.
pub fn payload_blobs(tx: &Tx<'_>, run: RunId) -> Result<Vec<Digest>, StoreError> {
    if !tx.owns_run(run)? {
        return Ok(Vec::new());
    }
    tx.query(&PAYLOADS, params![&run])?
        .iter()
        .map(|row| row.get(0))
        .collect()
}
