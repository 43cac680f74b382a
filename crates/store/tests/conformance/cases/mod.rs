//! The cases by table.

pub(crate) mod agents;
mod approvals;
pub(crate) mod budgets;
mod checkpoints;
mod directory;
mod events;
mod inbox;
mod journal;
pub(crate) mod model_batches;
pub(crate) mod model_usage;
pub(crate) mod models;
mod principals;
mod queue;
mod records;
mod releases;
mod removal;
mod retention;
mod runs;
mod singletons;
mod step_progress;
pub(crate) mod subscriptions;
mod task_logs;
mod tasks;
mod throttles;
mod workers;

use crate::site::Site;

/// What a function does, and what it keeps from another tenant.
pub(crate) struct Case {
    /// `module::function`.
    pub(crate) name: &'static str,
    pub(crate) works: fn(&Site),
    pub(crate) walls: fn(&Site),
}

/// Every case.
pub(crate) fn all() -> impl Iterator<Item = Case> {
    [
        agents::CASES,
        approvals::CASES,
        budgets::CASES,
        checkpoints::CASES,
        directory::CASES,
        events::CASES,
        inbox::CASES,
        journal::CASES,
        model_batches::CASES,
        model_usage::CASES,
        models::CASES,
        principals::CASES,
        queue::CASES,
        records::CASES,
        releases::CASES,
        removal::CASES,
        retention::CASES,
        runs::CASES,
        singletons::CASES,
        step_progress::CASES,
        throttles::CASES,
        subscriptions::CASES,
        task_logs::CASES,
        tasks::CASES,
        workers::CASES,
    ]
    .into_iter()
    .flatten()
    .map(|(name, works, walls)| Case {
        name,
        works: *works,
        walls: *walls,
    })
}

/// A row of a table of cases.
type Row = (&'static str, fn(&Site), fn(&Site));
