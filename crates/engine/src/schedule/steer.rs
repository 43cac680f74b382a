//! Starts a schedule's run at once, and ends a schedule.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::tables::runs::WakePaused;
use serde_json::{Value, json};

use super::ScheduleError;
use super::function::FIRE;
use super::list::find;
use crate::engine::Engine;
use crate::entry::EntryKind;
use crate::runs::{Mail, send};

/// Lets a schedule start a run now, beside its times.
#[derive(Debug, Clone)]
pub struct ScheduleFire {
    /// Its name.
    pub name: String,
    /// Who made it, as `user:name`.
    pub submitter: String,
}

impl Action for ScheduleFire {
    const NAME: &'static str = "schedule_fire";

    fn facts(&self) -> Value {
        json!({ "schedule": self.name, "submitter": self.submitter })
    }
}

/// Ends a schedule; what it started goes on.
#[derive(Debug, Clone)]
pub struct ScheduleRemove {
    /// Its name.
    pub name: String,
    /// Who made it, as `user:name`.
    pub submitter: String,
}

impl Action for ScheduleRemove {
    const NAME: &'static str = "schedule_remove";

    fn facts(&self) -> Value {
        json!({ "schedule": self.name, "submitter": self.submitter })
    }
}

/// Accepts the request; the schedule's overlap rule holds.
pub async fn fire(
    engine: &Engine,
    request: &Authorised<ScheduleFire>,
) -> Result<RunId, ScheduleError> {
    let caller = request.caller();
    let run = find(engine.database(), &caller.scope, &request.action().name)?.run;
    let mail = Mail {
        run,
        kind: EntryKind::SignalReceived,
        path: FIRE.into(),
        payload: Value::Null,
        paused: WakePaused::No,
        action: ScheduleFire::NAME,
        letters: Vec::new(),
    };
    send(engine, caller, mail).await?;
    Ok(run)
}

/// Accepts the request; the schedule ends at once unless it is about to start a run.
pub async fn remove(
    engine: &Engine,
    request: &Authorised<ScheduleRemove>,
) -> Result<RunId, ScheduleError> {
    let caller = request.caller();
    let run = find(engine.database(), &caller.scope, &request.action().name)?.run;
    let mail = Mail {
        run,
        kind: EntryKind::CancelRequested,
        path: String::new(),
        payload: json!({ "reason": "the schedule was removed" }),
        paused: WakePaused::Yes,
        action: ScheduleRemove::NAME,
        letters: Vec::new(),
    };
    send(engine, caller, mail).await?;
    Ok(run)
}
