//! What was used, on its way into the database.
//!
//! Calls are added up in memory by hour and by what they are told apart by, and written about once a
//! second in one transaction. A process that dies loses the reports of its last second; its budgets
//! lose nothing, because what it held counts as spent.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use matrix_core::{Action, Authorised, Caller, Clock, Money, Scope, Timestamp};
use matrix_store::tables::model_usage::{self, Apart, UsageKey, Used};
use matrix_store::{Database, StoreError};
use serde_json::{Value, json};

use crate::budget::{Labels, Period};
use crate::error::ModelError;
use crate::registry::Model;
use crate::usage::Usage;

/// The most lines of a report.
const LINES_MAX: usize = 10_000;

/// What was used, on its way into the database. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Ledger {
    database: Database,
    clock: Arc<dyn Clock>,
    pending: Arc<Mutex<Pending>>,
}

/// Calls by tenant, hour and what they are told apart by.
type Pending = HashMap<(Scope, Timestamp, UsageKey), Used>;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// It was answered, and the provider said what it used.
    Counted,
    /// Nobody said what it used; it was estimated.
    Estimated,
    /// It was answered from the cache.
    Cached,
    /// It failed, and is believed to have used what is said.
    Failed,
    /// It failed after it was sent, and nobody knows what it used: the most is paid.
    Unknown,
}

impl Ledger {
    /// An empty one.
    pub fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self {
            database,
            clock,
            pending: Arc::default(),
        }
    }

    /// Notes a call.
    pub fn note(
        &self,
        (caller, labels): (&Caller, &Labels),
        model: &Model,
        (usage, cost): (&Usage, Money),
        ending: Ending,
    ) {
        let key = UsageKey {
            model: model.name.clone(),
            provider: model.spec.provider.kind.as_str().to_owned(),
            principal: caller.principal.to_string(),
            project: labels.project.clone().unwrap_or_default(),
            agent: labels.agent.clone().unwrap_or_default(),
        };
        let hour = Period::Hour.window(self.clock.now());
        let mut pending = self.lock();
        let used = pending
            .entry((caller.scope.clone(), hour, key))
            .or_default();
        *used = sum(*used, one(usage, cost, ending));
    }

    /// Writes what was noted.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let pending = std::mem::take(&mut *self.lock());
        if pending.is_empty() {
            return Ok(());
        }
        let mut tenants: HashMap<Scope, Vec<(Timestamp, UsageKey, Used)>> = HashMap::new();
        for ((scope, hour, key), used) in pending {
            tenants.entry(scope).or_default().push((hour, key, used));
        }
        let mut failed = Ok(());
        for (scope, mut lines) in tenants {
            // Rows are locked in one order by every process.
            lines.sort_by(|a, b| (a.0, &a.1).cmp(&(b.0, &b.1)));
            let (of, all) = (scope.clone(), lines.clone());
            let written = self
                .database
                .within(&scope)
                .write_alone::<_, StoreError, _>(move |tx| {
                    for (hour, key, used) in &all {
                        model_usage::add(tx, &of, *hour, key, used)?;
                    }
                    Ok(())
                })
                .await;
            if let Err(error) = written {
                let mut pending = self.lock();
                for (hour, key, used) in lines {
                    let line = pending.entry((scope.clone(), hour, key)).or_default();
                    *line = sum(*line, used);
                }
                failed = Err(error);
            }
        }
        failed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn whole(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn one(usage: &Usage, cost: Money, ending: Ending) -> Used {
    Used {
        calls: 1,
        failed: i64::from(matches!(ending, Ending::Failed | Ending::Unknown)),
        cached: i64::from(ending == Ending::Cached),
        estimated: i64::from(ending == Ending::Estimated),
        unknown: i64::from(ending == Ending::Unknown),
        incomplete: i64::from(usage.tools > 0),
        input: whole(usage.input),
        output: whole(usage.output),
        cache_read: whole(usage.cache_read),
        cache_write: whole(usage.cache_write),
        reasoning: whole(usage.reasoning),
        cost: cost.as_nanos(),
    }
}

fn sum(a: Used, b: Used) -> Used {
    Used {
        calls: a.calls.saturating_add(b.calls),
        failed: a.failed.saturating_add(b.failed),
        cached: a.cached.saturating_add(b.cached),
        estimated: a.estimated.saturating_add(b.estimated),
        unknown: a.unknown.saturating_add(b.unknown),
        incomplete: a.incomplete.saturating_add(b.incomplete),
        input: a.input.saturating_add(b.input),
        output: a.output.saturating_add(b.output),
        cache_read: a.cache_read.saturating_add(b.cache_read),
        cache_write: a.cache_write.saturating_add(b.cache_write),
        reasoning: a.reasoning.saturating_add(b.reasoning),
        cost: a.cost.saturating_add(b.cost),
    }
}

/// Sees what was used.
#[derive(Debug, Clone)]
pub struct UsageRead {
    /// From this time on, to the hour.
    pub from: Timestamp,
    /// Before this time, to the hour.
    pub until: Timestamp,
    /// By what lines are told apart; nothing is the model.
    pub by: Vec<By>,
}

impl Action for UsageRead {
    const NAME: &'static str = "model_read";

    fn facts(&self) -> Value {
        json!({})
    }
}

/// By what lines of a report are told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum By {
    /// The model.
    Model,
    /// Its provider.
    Provider,
    /// Who asked.
    Principal,
    /// The project.
    Project,
    /// The agent.
    Agent,
}

impl std::str::FromStr for By {
    type Err = crate::registry::InvalidSpec;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(match text {
            "model" => Self::Model,
            "provider" => Self::Provider,
            "principal" => Self::Principal,
            "project" => Self::Project,
            "agent" => Self::Agent,
            _ => {
                let why = "is none of model, provider, principal, project, agent";
                return Err(crate::registry::InvalidSpec::new("by", why));
            }
        })
    }
}

/// A line of a report. What it is not told apart by is empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageLine {
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
    /// Of them, those of which nobody said what they used.
    pub estimated: i64,
    /// Of them, those of which nobody can know it: the most that they can have used counts.
    pub unknown: i64,
    /// Of them, those that used something of the provider's that has no price here.
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
    /// What they cost.
    pub cost: Money,
}

/// What was used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageReport {
    /// The most expensive lines first.
    pub lines: Vec<UsageLine>,
    /// Everything, told apart by nothing; also what is in no line.
    pub total: UsageLine,
    /// Whether there are more lines than a report has.
    pub more: bool,
}

/// What was used. The database adds up, so every line and the total are exact however many there are.
pub async fn usage(
    ledger: &Ledger,
    request: &Authorised<UsageRead>,
) -> Result<UsageReport, ModelError> {
    ledger.flush().await?;
    let scope = request.caller().scope.clone();
    let UsageRead { from, until, by } = request.action().clone();
    let by = if by.is_empty() { vec![By::Model] } else { by };
    let apart = Apart {
        model: by.contains(&By::Model),
        provider: by.contains(&By::Provider),
        principal: by.contains(&By::Principal),
        project: by.contains(&By::Project),
        agent: by.contains(&By::Agent),
    };
    let database = ledger.database.within(&scope);
    let hours = (Period::Hour.window(from), until);
    let most = i64::try_from(LINES_MAX).unwrap_or(i64::MAX);
    let (mut lines, total) = database
        .read::<_, StoreError, _>(move |tx| {
            let lines = model_usage::sum(tx, &scope, hours, apart, most.saturating_add(1))?;
            let total = model_usage::sum(tx, &scope, hours, Apart::default(), 1)?;
            Ok((lines, total))
        })
        .await?;
    let more = lines.len() > LINES_MAX;
    lines.truncate(LINES_MAX);
    Ok(UsageReport {
        lines: lines.into_iter().map(line).collect(),
        total: line(total.into_iter().next().unwrap_or_default()),
        more,
    })
}

fn line((key, used): (UsageKey, Used)) -> UsageLine {
    UsageLine {
        model: key.model,
        provider: key.provider,
        principal: key.principal,
        project: key.project,
        agent: key.agent,
        calls: used.calls,
        failed: used.failed,
        cached: used.cached,
        estimated: used.estimated,
        unknown: used.unknown,
        incomplete: used.incomplete,
        input: used.input,
        output: used.output,
        cache_read: used.cache_read,
        cache_write: used.cache_write,
        reasoning: used.reasoning,
        cost: Money::from_nanos(used.cost),
    }
}
