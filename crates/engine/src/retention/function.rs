//! The run that removes others: `remove` page by page, then `empty`, then month by month.

use std::time::Duration;

use async_trait::async_trait;
use matrix_core::{RunId, Timestamp};
use matrix_store::Database;
use matrix_store::tables::retention::Terms;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::empty::{Emptied, Month, copy, drop_month, empty_page, months};
use super::remove::{Counted, Kept, Page, last_id, remove_page};
use crate::error::{RunError, StepError};
use crate::run::Run;
use crate::step::{RetryPolicy, Step};
use crate::worker::DurableFunction;

/// The kind of runs that remove others.
pub const KIND: &str = "retention";

/// A month is tried for some minutes while others use the journal.
const PATIENCE: RetryPolicy = RetryPolicy {
    attempts: 20,
    base: Duration::from_millis(500),
    cap: Duration::from_secs(30),
};

/// What a removal is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Order {
    /// Only runs that ended before this go.
    pub(super) ended_before: Timestamp,
    /// So many newest releases of a workspace keep their run; nothing: all.
    pub(super) releases: Option<u32>,
}

impl Order {
    pub(super) fn terms(self) -> Terms {
        Terms {
            ended_before: self.ended_before,
            releases: self.releases.map_or(i64::MAX, i64::from),
        }
    }
}

/// The durable function of a removal.
#[derive(Debug, Clone)]
pub struct RetentionFunction {
    database: Database,
}

impl RetentionFunction {
    /// Over a database, of whose every tenant it removes runs.
    pub fn new(database: Database) -> Self {
        Self { database }
    }

    /// Marks what may go as removed.
    async fn remove(&self, run: &Run, terms: Terms) -> Result<(Counted, Kept), RunError> {
        let (mut removed, mut kept) = (Counted::default(), Kept::new());
        let mut next = Some(last_id());
        while let Some(before) = next {
            let (database, by) = (&self.database, run.id());
            let clock = &run.execution.journal.clock;
            let work =
                |_| async move { Ok(remove_page(database, by, before, terms, clock.now()).await?) };
            let step = Step::idempotent("remove").input(&before);
            let page: Page = run.step(step, work).await?;
            removed.add_all(page.removed);
            for (reason, count) in page.kept {
                *kept.entry(reason).or_default() += count;
            }
            next = page.next;
        }
        Ok((removed, kept))
    }

    /// Deletes the entries of removed runs.
    async fn empty(&self, run: &Run) -> Result<Counted, RunError> {
        let mut emptied = Counted::default();
        loop {
            let database = &self.database;
            let work = |context| async move { empty_page(database, &context).await };
            let page: Emptied = run.step(Step::idempotent("empty"), work).await?;
            emptied.add_all(page.emptied);
            if !page.more {
                return Ok(emptied);
            }
        }
    }

    /// Drops months that nobody needs.
    async fn drop_months(&self, run: &Run, terms: Terms) -> Result<Vec<Value>, RunError> {
        let database = &self.database;
        let find = |_| async move { Ok(months(database).await?) };
        let found: Vec<(String, RunId)> = run.step(Step::read("months"), find).await?;
        let mut told = Vec::new();
        for (name, of) in found {
            let branch = run.branch("months").branch(&name);
            let work = |context| async move { copy(database, &context, of, terms).await };
            let copied: Month = branch.step(Step::idempotent("copy"), work).await?;
            let Month::Copied { removed, kept } = copied else {
                told.push(json!({ "month": name, "outcome": copied }));
                continue;
            };
            let step = Step::idempotent("drop").retry(PATIENCE);
            let work = |context| async move { drop_month(database, &context, of, terms).await };
            let outcome: Month = branch.step(step, work).await?;
            told.push(
                json!({ "month": name, "removed": removed, "kept": kept, "outcome": outcome }),
            );
        }
        Ok(told)
    }
}

#[async_trait]
impl DurableFunction for RetentionFunction {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn version(&self) -> &'static str {
        "1"
    }

    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        let order: Order = serde_json::from_value(input)
            .map_err(|error| StepError::permanent("bad_order", error.to_string()))?;
        let terms = order.terms();
        let (removed, kept) = self.remove(&run, terms).await?;
        let emptied = self.empty(&run).await?;
        let months = self.drop_months(&run, terms).await?;
        Ok(json!({
            "ended_before": order.ended_before, "removed": removed, "kept": kept,
            "emptied": emptied, "months": months,
        }))
    }

    /// What one removal did says nothing about another.
    fn shares(&self, _path: &str) -> bool {
        false
    }
}
