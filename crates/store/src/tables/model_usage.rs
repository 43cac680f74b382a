//! What calls of models used, hour by hour.

use matrix_core::{Scope, Timestamp};

use crate::error::StoreError;
use crate::params;
use crate::sql::{Row, Statement, Tx};

const ADD: Statement = Statement::new(
    "model_usage.add",
    "INSERT INTO model_usage
         (organisation, workspace, hour, model, provider, principal, project, agent, calls, failed,
          cached, estimated, unknown, incomplete, input, output, cache_read, cache_write, reasoning,
          cost)
     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19,
             $20)
     ON CONFLICT (organisation, workspace, hour, model, provider, principal, project, agent)
     DO UPDATE SET calls = model_usage.calls + $9, failed = model_usage.failed + $10,
                   cached = model_usage.cached + $11, estimated = model_usage.estimated + $12,
                   unknown = model_usage.unknown + $13,
                   incomplete = model_usage.incomplete + $14,
                   input = model_usage.input + $15, output = model_usage.output + $16,
                   cache_read = model_usage.cache_read + $17,
                   cache_write = model_usage.cache_write + $18,
                   reasoning = model_usage.reasoning + $19, cost = model_usage.cost + $20",
);
/// What is not told apart is empty, and added up.
macro_rules! sum {
    ($whole:literal) => {
        concat!(
            "SELECT CASE WHEN CAST($5 AS BIGINT) = 1 THEN model ELSE '' END,
                    CASE WHEN CAST($6 AS BIGINT) = 1 THEN provider ELSE '' END,
                    CASE WHEN CAST($7 AS BIGINT) = 1 THEN principal ELSE '' END,
                    CASE WHEN CAST($8 AS BIGINT) = 1 THEN project ELSE '' END,
                    CASE WHEN CAST($9 AS BIGINT) = 1 THEN agent ELSE '' END,
                    SUM(calls)",
            $whole,
            ", SUM(failed)",
            $whole,
            ", SUM(cached)",
            $whole,
            ", SUM(estimated)",
            $whole,
            ", SUM(unknown)",
            $whole,
            ", SUM(incomplete)",
            $whole,
            ", SUM(input)",
            $whole,
            ", SUM(output)",
            $whole,
            ", SUM(cache_read)",
            $whole,
            ", SUM(cache_write)",
            $whole,
            ", SUM(reasoning)",
            $whole,
            ", SUM(cost)",
            $whole,
            " FROM model_usage
              WHERE organisation = $1 AND workspace = $2 AND hour >= $3 AND hour < $4
              GROUP BY 1, 2, 3, 4, 5 ORDER BY 17 DESC, 1, 2, 3, 4, 5 LIMIT $10"
        )
    };
}

const SUM: Statement = Statement::new("model_usage.sum", sum!("")).on_postgres(sum!("::BIGINT"));

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
    /// Of how many nobody knows what they used, so that the most counts.
    pub unknown: i64,
    /// How many used something of the provider's that has no price here.
    pub incomplete: i64,
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
        used.unknown,
        used.incomplete,
        used.input,
        used.output,
        used.cache_read,
        used.cache_write,
        used.reasoning,
        used.cost
    ];
    tx.within(scope, |tx| tx.execute(&ADD, params).map(drop))
}

/// By what the lines of a report are told apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "any of the five, in any combination"
)]
pub struct Apart {
    /// By the model.
    pub model: bool,
    /// By its provider.
    pub provider: bool,
    /// By who asked.
    pub principal: bool,
    /// By the project.
    pub project: bool,
    /// By the agent.
    pub agent: bool,
}

/// What was used from an hour on and before another one, the most expensive first, at most `limit`
/// lines.
pub fn sum(
    tx: &Tx<'_>,
    scope: &Scope,
    (from, until): (Timestamp, Timestamp),
    apart: Apart,
    limit: i64,
) -> Result<Vec<(UsageKey, Used)>, StoreError> {
    let params = params![
        &scope.organisation,
        &scope.workspace,
        from,
        until,
        i64::from(apart.model),
        i64::from(apart.provider),
        i64::from(apart.principal),
        i64::from(apart.project),
        i64::from(apart.agent),
        limit
    ];
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
        unknown: row.get(9)?,
        incomplete: row.get(10)?,
        input: row.get(11)?,
        output: row.get(12)?,
        cache_read: row.get(13)?,
        cache_write: row.get(14)?,
        reasoning: row.get(15)?,
        cost: row.get(16)?,
    };
    Ok((key, used))
}
