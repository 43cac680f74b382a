//! The routes. One endpoint is one file: extract, ask whether the caller may, call the room's
//! service function, answer. No rule stands here, so that the command line, which calls the same
//! functions, obeys the same ones.
//!
//! `router` builds what a listener serves; [`openapi()`](crate::openapi()) is made from the same
//! list, so a route cannot be served without being described. The routes of `host` exist on the
//! socket only.

mod agents;
mod answer;
mod approvals;
mod artifacts;
mod deployments;
mod events;
mod execute;
mod health;
mod host;
mod jobs;
mod metrics;
mod models;
mod page;
mod plan;
mod queue;
mod runs;
mod schedules;
mod signing_keys;
mod stream;
mod tasks;
mod users;
mod worker;

use axum::Router;
use axum::middleware::{from_fn, from_fn_with_state};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::edge::frame::{frame, no_address, no_method};
use crate::edge::guard::{Door, guard};
use crate::openapi;
use crate::server::Server;
use crate::v1;

pub use agents::add::{AgentAdded, AgentOrder};
pub use agents::body::Agent;
pub use agents::list::{AgentList, ToolList, ToolView};
pub use agents::run::AgentGoal;
pub use agents::state::AgentStanding;
pub use answer::{Accepted, Links, ProblemBody, Reason};
pub use approvals::list::{Approval, ApprovalState};
pub use artifacts::list::Artifact;
pub use artifacts::prune::{PruneOrder, Pruned};
pub use deployments::list::Deployment;
pub use deployments::rollback::RolledBack;
pub use deployments::stop::Stopped;
pub use events::{
    Event, EventLinks, EventPage, NewSubscription, Removed, Reset, Subscription, SubscriptionState,
};
pub use execute::{Execution, Submitted};
pub use health::{HealthDetails, HealthSummary};
pub use host::{Draining, HostView};
pub use jobs::body::{Job, JobApprovals, JobEvidence, JobStage};
pub use models::add::{ModelAdded, ModelOrder};
pub use models::ask::{ModelAnswer, ModelQuestion};
pub use models::budgets::{Budget, BudgetOrder, BudgetRemoval, Budgets};
pub use models::list::{ModelView, Models, RouteView};
pub use models::probe::{ModelTest, ModelTested};
pub use models::remove::{ModelRemoval, ModelsRemoved};
pub use models::usage::{ModelUsage, ModelUsageLine, UsageQuery};
pub use page::Page;
pub use plan::{CheckedPlan, PlanText};
pub use queue::pause::{KeyStanding, PauseOrder, ResumeOrder};
pub use queue::show::{Lane, LaneDepth, Paused, Queue};
pub use runs::body::{Child, DeadLetter, Entry, Run, RunState, Step};
pub use runs::bulk::{BulkAnswer, BulkItem, BulkOrder, BulkVerb};
pub use runs::filter::RunFilter;
pub use runs::fork::Fork;
pub use runs::hold::Hold;
pub use runs::prune::{KeptRuns, PrunePreview};
pub use runs::retry::Retry;
pub use runs::signal::Signal;
pub use runs::why::Why;
pub use schedules::add::NewSchedule;
pub use schedules::body::Schedule;
pub use schedules::list::Schedules;
pub use schedules::preview::Preview;
pub use signing_keys::list::SigningKey;
pub use signing_keys::rotate::Rotated;
pub use tasks::list::OpenTasks;
pub use tasks::logs::TaskLogs;
pub use tasks::submit::Tasks;
pub use users::add::{NewUser, UserWithToken};
pub use users::list::User;
pub use worker::heartbeat::{TaskBeat, TaskBeats, TaskStanding, TaskStandings};
pub use worker::lease::{LeasedTask, LeasedTasks, TaskLeasing};
pub use worker::log::{TaskLines, TaskLogged};
pub use worker::report::{TaskFailure, TaskReception, TaskReceptions, TaskReport, TaskReports};

/// The endpoints that say how the process does.
fn probing() -> OpenApiRouter<Server> {
    OpenApiRouter::with_openapi(openapi::frame())
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(health::health))
        .routes(routes!(health::detailed))
        .routes(routes!(metrics::metrics))
}

/// Every endpoint that is part of the API, with its description.
pub(crate) fn endpoints() -> OpenApiRouter<Server> {
    probing()
        .routes(routes!(runs::list::list))
        .routes(routes!(runs::bulk::bulk))
        .routes(routes!(runs::prune::preview, runs::prune::prune))
        .routes(routes!(runs::hold::hold, runs::hold::unhold))
        .routes(routes!(runs::show::show))
        .routes(routes!(runs::why::why))
        .routes(routes!(runs::entries::entries))
        .routes(routes!(runs::events::events))
        .routes(routes!(runs::cancel::cancel))
        .routes(routes!(runs::pause::pause))
        .routes(routes!(runs::resume::resume))
        .routes(routes!(runs::fork::fork))
        .routes(routes!(runs::retry::retry))
        .routes(routes!(runs::signal::signal))
        .routes(routes!(tasks::list::list))
        .routes(routes!(tasks::logs::logs))
        .routes(routes!(tasks::submit::submit))
        .routes(routes!(worker::lease::lease))
        .routes(routes!(worker::heartbeat::heartbeat))
        .routes(routes!(worker::report::report))
        .routes(routes!(worker::log::log))
        .routes(routes!(queue::show::show))
        .routes(routes!(queue::pause::pause))
        .routes(routes!(queue::pause::resume))
        .routes(routes!(plan::plan))
        .routes(routes!(execute::execute))
        .routes(routes!(jobs::list::list))
        .routes(routes!(jobs::show::show))
        .routes(routes!(artifacts::list::list))
        .routes(routes!(artifacts::get::get))
        .routes(routes!(artifacts::prune::prune))
        .routes(routes!(approvals::list::list))
        .routes(routes!(approvals::approve::approve))
        .routes(routes!(approvals::reject::reject))
        .routes(routes!(deployments::list::list))
        .routes(routes!(deployments::rollback::rollback))
        .routes(routes!(deployments::stop::stop))
        .routes(routes!(events::list::list))
        .routes(routes!(
            events::subscriptions::subscriptions,
            events::subscribe::subscribe
        ))
        .routes(routes!(events::show::show))
        .routes(routes!(events::remove::remove))
        .routes(routes!(events::reset::reset))
        .routes(routes!(schedules::list::list, schedules::add::add))
        .routes(routes!(schedules::preview::preview))
        .routes(routes!(schedules::list::show, schedules::steer::remove))
        .routes(routes!(schedules::steer::fire))
        .routes(routes!(users::list::list, users::add::add))
        .routes(routes!(signing_keys::list::list))
        .routes(routes!(signing_keys::rotate::rotate))
        .routes(routes!(agents::list::list, agents::add::add))
        .routes(routes!(agents::list::show, agents::state::remove))
        .routes(routes!(agents::state::start))
        .routes(routes!(agents::state::stop))
        .routes(routes!(agents::run::run))
        .routes(routes!(agents::list::tools))
        .routes(routes!(models::list::list, models::add::add))
        .routes(routes!(models::remove::remove))
        .routes(routes!(models::probe::test))
        .routes(routes!(models::ask::ask))
        .routes(routes!(models::budgets::list, models::budgets::set))
        .routes(routes!(models::budgets::remove))
        .routes(routes!(models::usage::usage))
        .merge(v1::endpoints())
}

/// What a listener serves.
pub(crate) fn router(server: &Server, door: Door) -> Router {
    let (mut router, _) = endpoints().split_for_parts();
    if matches!(door, Door::Socket) {
        router = router.merge(host::router());
    }
    framed(router, server, door)
}

/// What a listener serves that is for supervisors only.
pub(crate) fn probes(server: &Server, door: Door) -> Router {
    let (router, _) = probing().split_for_parts();
    framed(router, server, door)
}

fn framed(router: Router<Server>, server: &Server, door: Door) -> Router {
    router
        .fallback(no_address)
        .method_not_allowed_fallback(no_method)
        .layer(from_fn(page::complete_link))
        .layer(from_fn_with_state((server.clone(), door), guard))
        .layer(from_fn_with_state(server.clone(), frame))
        .with_state(server.clone())
}
