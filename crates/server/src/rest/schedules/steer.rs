//! `POST /api/v1/schedules/{name}/fire` and `DELETE /api/v1/schedules/{name}`.

use axum::extract::State;
use matrix_core::{Action, Authorised, Caller};
use matrix_engine::schedule::{self, ScheduleFire, ScheduleRead, ScheduleRemove};

use crate::edge::guard::SignedIn;
use crate::edge::read::Named;
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::server::{Server, blocking};

/// Lets a schedule start a run now, beside its times. What it does about a run that has not ended holds.
#[utoipa::path(
    post, path = "/api/v1/schedules/{name}/fire", operation_id = "schedule_fire",
    tag = "schedules", params(("name" = String, Path, description = "The schedule's name.")),
    responses((status = 202, description = "Durable.", body = Accepted)),
)]
pub(crate) async fn fire(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Accepted, Failure> {
    let action = |name, submitter| ScheduleFire { name, submitter };
    let request = authorise(&server, caller, name, action).await?;
    Ok(Accepted::by(
        schedule::fire(server.engine(), &request).await?,
    ))
}

/// Ends a schedule. What it started goes on; its history stays.
#[utoipa::path(
    delete, path = "/api/v1/schedules/{name}", operation_id = "schedule_remove",
    tag = "schedules", params(("name" = String, Path, description = "The schedule's name.")),
    responses((status = 202, description = "Durable.", body = Accepted)),
)]
pub(crate) async fn remove(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    Named(name): Named<String>,
) -> Result<Accepted, Failure> {
    let action = |name, submitter| ScheduleRemove { name, submitter };
    let request = authorise(&server, caller, name, action).await?;
    Ok(Accepted::by(
        schedule::remove(server.engine(), &request).await?,
    ))
}

/// Asks whether the caller may; people may steer their own.
async fn authorise<A: Action>(
    server: &Server,
    caller: Caller,
    name: String,
    action: impl FnOnce(String, String) -> A,
) -> Result<Authorised<A>, Failure> {
    let read = server.authorise(caller.clone(), ScheduleRead)?;
    let (database, blobs) = (server.database().clone(), server.blobs().clone());
    let wanted = name.clone();
    let submitter = blocking(move || {
        let run = schedule::show(&database, &blobs, &read, &wanted)?.run;
        let submitter = matrix_engine::runs::submitter_of(&database, run)?;
        Ok::<_, schedule::ScheduleError>(submitter)
    })
    .await?;
    server.authorise(caller, action(name, submitter))
}
