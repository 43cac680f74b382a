//! `GET /api/v1/model-usage`.

use axum::Json;
use axum::extract::State;
use matrix_core::{Money, Timestamp};
use matrix_models::ModelError;
use matrix_models::ledger::{self, By, UsageLine, UsageRead, UsageReport};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use crate::edge::guard::SignedIn;
use crate::edge::read::Asked;
use crate::problem::Failure;
use crate::server::Server;

/// The end of the year 9999.
const FOR_EVER: i64 = 253_402_300_799_000_000;

/// Which calls, and by what they are told apart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct UsageQuery {
    /// From this time on, in microseconds since 1970, to the hour; from the beginning when absent.
    #[serde(default)]
    pub from: Option<i64>,
    /// Before this time, in microseconds since 1970, to the hour; until now when absent.
    #[serde(default)]
    pub until: Option<i64>,
    /// `model`, `provider`, `principal`, `project`, `agent`, or several, with commas; `model` when
    /// absent.
    #[serde(default)]
    pub by: Option<String>,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelUsage {
    /// The most expensive first, at most 10,000.
    pub lines: Vec<ModelUsageLine>,
    /// Whether there are more lines.
    pub more: bool,
    /// What all of it cost, in US dollars, with what is in no line.
    #[schema(value_type = String)]
    pub cost: Money,
}

/// Calls together. What they are not told apart by is empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ModelUsageLine {
    /// The model.
    pub model: String,
    /// Its provider.
    pub provider: String,
    /// Who asked.
    pub principal: String,
    /// The project.
    pub project: String,
    /// The agent.
    pub agent: String,
    /// Calls.
    pub calls: i64,
    /// Of them, those that failed.
    pub failed: i64,
    /// Of them, those answered from the cache.
    pub cached: i64,
    /// Of them, those of which the provider did not say what they used.
    pub estimated: i64,
    /// Of them, those of which nobody can know it, because they failed after they were sent: the most
    /// that they can have used is counted.
    pub unknown: i64,
    /// Of them, those that used something of the provider's that has no price here, so that they cost
    /// more than is counted.
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
    /// What they cost, in US dollars.
    #[schema(value_type = String)]
    pub cost: Money,
}

impl From<UsageReport> for ModelUsage {
    fn from(report: UsageReport) -> Self {
        let lines = report.lines.into_iter().map(ModelUsageLine::from);
        Self {
            lines: lines.collect(),
            more: report.more,
            cost: report.total.cost,
        }
    }
}

impl From<UsageLine> for ModelUsageLine {
    fn from(line: UsageLine) -> Self {
        Self {
            model: line.model,
            provider: line.provider,
            principal: line.principal,
            project: line.project,
            agent: line.agent,
            calls: line.calls,
            failed: line.failed,
            cached: line.cached,
            estimated: line.estimated,
            unknown: line.unknown,
            incomplete: line.incomplete,
            input: line.input,
            output: line.output,
            cache_read: line.cache_read,
            cache_write: line.cache_write,
            reasoning: line.reasoning,
            cost: line.cost,
        }
    }
}

/// What calls of models used and cost.
#[utoipa::path(
    get, path = "/api/v1/model-usage", operation_id = "model_usage", tag = "models",
    params(UsageQuery),
    responses((status = 200, description = "What was used.", body = ModelUsage)),
)]
pub(crate) async fn usage(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Asked(query): Asked<UsageQuery>,
) -> Result<Json<ModelUsage>, Failure> {
    let words = query.by.as_deref().unwrap_or_default();
    let words = words.split(',').filter(|word| !word.is_empty());
    let by = words.map(str::parse).collect::<Result<Vec<By>, _>>();
    let action = UsageRead {
        from: Timestamp::from_micros(query.from.unwrap_or(0)),
        until: Timestamp::from_micros(query.until.unwrap_or(FOR_EVER)),
        by: by.map_err(ModelError::from)?,
    };
    let request = server.authorise(caller, action)?;
    let report = ledger::usage(server.models().ledger(), &request).await?;
    Ok(Json(report.into()))
}
