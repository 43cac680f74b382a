//! `POST /api/v1/schedules`.

use axum::extract::State;
use axum::http::HeaderMap;
use matrix_engine::queue::Placing;
use matrix_engine::schedule::{self, CatchUp, Overlap, Schedule as Spec, ScheduleAdd};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::edge::guard::SignedIn;
use crate::edge::read::Body;
use crate::idempotency::{Key, Ledger, digest_of};
use crate::problem::Failure;
use crate::rest::answer::Accepted;
use crate::server::Server;

/// A schedule to be made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewSchedule {
    /// Its name: 1 to 64 letters, digits and `-`, `_`, `.`.
    pub name: String,
    /// Five fields: minute, hour, day of month, month, day of week.
    #[schema(example = "0 3 * * MON-FRI")]
    pub cron: String,
    /// In which time zone they are read, by its name in the IANA database.
    #[serde(default = "utc")]
    #[schema(default = "UTC")]
    pub timezone: String,
    /// Times that pass while nobody can start anything: `skip` them, start `one` run for all, or `all`.
    #[serde(default)]
    #[schema(value_type = String, default = "one")]
    pub catch_up: CatchUp,
    /// When the run that was started last has not ended: `skip` the time, `wait`, `allow` both, or
    /// `replace` it.
    #[serde(default)]
    #[schema(value_type = String, default = "skip")]
    pub overlap: Overlap,
    /// Puts each start off by a random time below this, in seconds; at most a day.
    #[serde(default)]
    pub jitter_s: u32,
    /// The kind of run to start.
    #[serde(default = "change")]
    #[schema(default = "change")]
    pub kind: String,
    /// One line for people, of each run; absent means the schedule's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// What is asked for each time: for a change `repository`, `plan`, and perhaps `plan_name` and
    /// `target`.
    pub request: Value,
    /// Where the schedule and its runs queue.
    #[serde(default)]
    #[schema(value_type = Option<Object>)]
    pub placing: Placing,
}

fn utc() -> String {
    "UTC".into()
}

fn change() -> String {
    matrix_changes::function::KIND.into()
}

/// Makes a schedule. Base revision and rights of what it starts are those of the moment in which it is
/// due; that it could be started now is checked.
#[utoipa::path(
    post, path = "/api/v1/schedules", operation_id = "schedule_add", tag = "schedules",
    params(("Idempotency-Key" = Option<String>, Header,
            description = "1 to 255 visible ASCII characters, new for each request.")),
    request_body = NewSchedule,
    responses((status = 202, description = "The schedule is durable; it is a run.", body = Accepted)),
)]
pub(crate) async fn add(
    State(server): State<Server>,
    SignedIn(caller): SignedIn,
    headers: HeaderMap,
    Body(new): Body<NewSchedule>,
) -> Result<Accepted, Failure> {
    let key = Key::of(&headers)?;
    let digest = digest_of(&new)?;
    let title = new.title.unwrap_or_else(|| new.name.clone());
    let action = ScheduleAdd {
        name: new.name,
        schedule: Spec {
            cron: new.cron,
            timezone: new.timezone,
            catch_up: new.catch_up,
            overlap: new.overlap,
            jitter_s: new.jitter_s,
            kind: new.kind,
            title,
            request: new.request,
        },
        placing: new.placing,
    };
    let request = server.authorise(caller.clone(), action)?;
    let (engine, starters) = (server.engine().clone(), server.starters().to_vec());
    let work =
        |beside| async move { Ok(schedule::add(&engine, &starters, &request, beside).await?) };
    let run = Ledger::of(&server).once(caller, key, digest, work).await?;
    Ok(Accepted::by(run))
}
