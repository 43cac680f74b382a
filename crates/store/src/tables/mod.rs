//! One module per subject: its columns, its statements, its rows.

/// The columns of a run, as `run_row` reads them.
macro_rules! run_columns {
    () => {
        "run, organisation, workspace, kind, version, title, trace, state, waiting, wake_at, \
         owner, epoch, crashes, head_seq, head_hash, created_at, updated_at, flow, \
         concurrency_key, queued_at, parent, forked_from, fork_seq, base_seq, removed_at, hold"
    };
}

pub mod agents;
pub mod approvals;
pub mod audit;
pub mod budgets;
pub mod checkpoints;
pub mod directory;
pub mod events;
pub mod idempotency;
pub mod inbox;
pub mod journal;
pub mod model_batches;
pub mod model_usage;
pub mod models;
pub mod principals;
pub mod queue;
pub mod releases;
pub mod removal;
pub mod retention;
pub mod runs;
pub mod singletons;
pub mod step_progress;
pub mod subscriptions;
pub mod task_logs;
pub mod tasks;
pub mod throttles;
pub mod workers;

use crate::sql::Statement;

/// Every statement of every table, so that a test can prepare them all.
pub fn all_statements() -> impl Iterator<Item = &'static Statement> {
    [
        agents::STATEMENTS,
        approvals::STATEMENTS,
        audit::STATEMENTS,
        budgets::STATEMENTS,
        checkpoints::STATEMENTS,
        directory::STATEMENTS,
        events::STATEMENTS,
        idempotency::STATEMENTS,
        inbox::STATEMENTS,
        journal::STATEMENTS,
        model_batches::STATEMENTS,
        model_usage::STATEMENTS,
        models::STATEMENTS,
        principals::STATEMENTS,
        queue::STATEMENTS,
        releases::STATEMENTS,
        removal::STATEMENTS,
        retention::STATEMENTS,
        runs::STATEMENTS,
        singletons::STATEMENTS,
        step_progress::STATEMENTS,
        throttles::STATEMENTS,
        subscriptions::STATEMENTS,
        task_logs::STATEMENTS,
        tasks::STATEMENTS,
        workers::STATEMENTS,
        crate::session::STATEMENTS,
        crate::tx::STATEMENTS,
    ]
    .into_iter()
    .flatten()
}
