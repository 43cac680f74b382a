//! What calls of models used, hour by hour.

use matrix_core::{Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const ADD: Statement = Statement::new(
    "model_usage.add",
    "INSERT INTO model_usage
         (organisation, workspace, hour, model, provider, principal, project, agent, calls, failed,
          cached, estimated, input, output, cache_read, cache_write, reasoning, cost)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18)
     ON CONFLICT (organisation, workspace, hour, model, provider, principal, project, agent)
     DO UPDATE SET calls = model_usage.calls + $9, failed = model_usage.failed + $10,
                   cached = model_usage.cached + $11, estimated = model_usage.estimated + $12,
                   input = model_usage.input + $13, output = model_usage.output + $14,
                   cache_read = model_usage.cache_read + $15,
                   cache_write = model_usage.cache_write + $16,
                   reasoning = model_usage.reasoning + $17, cost = model_usage.cost + $18",
);
const SUM: Statement = Statement::new(
    "model_usage.sum",
    "SELECT model, provider, principal, project, agent, SUM(calls), SUM(failed), SUM(cached),
            SUM(estimated), SUM(input), SUM(output), SUM(cache_read), SUM(cache_write),
            SUM(reasoning), SUM(cost)
     FROM model_usage WHERE organisation = $1 AND workspace = $2 AND hour >= $3 AND hour < $4
     GROUP BY model, provider, principal, project, agent
     ORDER BY model, provider, principal, project, agent LIMIT $5",
)
.on_postgres(
    "SELECT model, provider, principal, project, agent, SUM(calls)::BIGINT, SUM(failed)::BIGINT,
            SUM(cached)::BIGINT, SUM(estimated)::BIGINT, SUM(input)::BIGINT, SUM(output)::BIGINT,
            SUM(cache_read)::BIGINT, SUM(cache_write)::BIGINT, SUM(reasoning)::BIGINT,
            SUM(cost)::BIGINT
     FROM model_usage WHERE organisation = $1 AND workspace = $2 AND hour >= $3 AND hour < $4
     GROUP BY model, provider, principal, project, agent
     ORDER BY model, provider, principal, project, agent LIMIT $5",
);

/// Every statement of this table.
pub const STATEMENTS: &[Statement] = &[ADD, SUM];

/// By what calls are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UsageKey {
    /// The model, by its name here.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// Who asked: `user:ada`.
    pub principal: String,
    /// For which project; empty for none.
    pub project: String,
    /// By which agent; empty for none.
    pub agent: String,
}

/// What calls used together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Used {
    /// How many there were.
    pub calls: i64,
    /// How many of them failed.
    pub failed: i64,
    /// How many were answered from the cache.
    pub cached: i64,
    /// Of how many the provider did not say what they used.
    pub estimated: i64,
    /// Tokens read.
    pub input: i64,
    /// Tokens written.
    pub output: i64,
    /// Of those read, from the provider's cache.
    pub cache_read: i64,
    /// Of those read, put there.
    pub cache_write: i64,
    /// Of those written, thoughts.
    pub reasoning: i64,
    /// What they cost, in billionths of a US dollar.
    pub cost: i64,
}

/// Adds calls of an hour.
pub fn add(
    tx: &Tx<'_>,
    scope: &Scope,
    hour: Timestamp,
    key: &UsageKey,
    used: &Used,
) -> Result<(), StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        hour,
        &key.model,
        &key.provider,
        &key.principal,
        &key.project,
        &key.agent,
        used.calls,
        used.failed,
        used.cached,
        used.estimated,
        used.input,
        used.output,
        used.cache_read,
        used.cache_write,
        used.reasoning,
        used.cost
    ];
    tx.within(scope, |tx| tx.execute(&ADD, params).map(drop))
}

/// What was used from an hour on and before another one.
pub fn sum(
    tx: &Tx<'_>,
    scope: &Scope,
    (from, until): (Timestamp, Timestamp),
    limit: i64,
) -> Result<Vec<(UsageKey, Used)>, StoreError> {
    let params = params![&scope.organisation, &scope.workspace, from, until, limit];
    tx.within(scope, |tx| {
        tx.query(&SUM, params)?.iter().map(used).collect()
    })
}

fn used(row: &Row) -> Result<(UsageKey, Used), StoreError> {
    let key = UsageKey {
        model: row.get(0)?,
        provider: row.get(1)?,
        principal: row.get(2)?,
        project: row.get(3)?,
        agent: row.get(4)?,
    };
    let used = Used {
        calls: row.get(5)?,
        failed: row.get(6)?,
        cached: row.get(7)?,
        estimated: row.get(8)?,
        input: row.get(9)?,
        output: row.get(10)?,
        cache_read: row.get(11)?,
        cache_write: row.get(12)?,
        reasoning: row.get(13)?,
        cost: row.get(14)?,
    };
    Ok((key, used))
}
