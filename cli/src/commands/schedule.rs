//! `matrix schedule`.

use std::path::Path;

use matrix_core::{RunId, Timestamp};
use matrix_engine::schedule::{self, Cron, ScheduleError, ScheduleRead, ScheduleView};
use serde_json::{Value, json};

use super::Context;
use super::change::{read_plan, run_of, text_of};
use super::run::json_of;
use crate::args::{ScheduleAddArgs, ScheduleCommand};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

pub(super) async fn schedule(context: &Context, command: ScheduleCommand) -> Result<Exit, Failure> {
    match command {
        ScheduleCommand::Add(arguments) => add(context, &arguments).await,
        ScheduleCommand::List => list(context),
        ScheduleCommand::Show { name } => show(context, &name),
        ScheduleCommand::Preview {
            cron,
            timezone,
            count,
        } => preview(context, &cron, &timezone, count),
        ScheduleCommand::Pause { name, reason } => {
            let path = format!("/api/v1/runs/{}/pause", run_named(context, &name)?);
            steer(context, &name, "pause", &path, &json!({ "reason": reason })).await
        }
        ScheduleCommand::Resume { name } => {
            let path = format!("/api/v1/runs/{}/resume", run_named(context, &name)?);
            steer(context, &name, "resume", &path, &json!({})).await
        }
        ScheduleCommand::Fire { name } => {
            run_named(context, &name)?;
            let path = format!("/api/v1/schedules/{name}/fire");
            steer(context, &name, "fire", &path, &json!({})).await
        }
        ScheduleCommand::Remove { name } => {
            run_named(context, &name)?;
            let door = Door::background(&context.config, &context.environment).await?;
            let answer = door.delete(&format!("/api/v1/schedules/{name}")).await;
            door.close().await;
            accepted(context, &name, "remove", &answer?);
            Ok(Exit::Done)
        }
    }
}

async fn add(context: &Context, arguments: &ScheduleAddArgs) -> Result<Exit, Failure> {
    // What is wrong with the times is said without touching a data directory.
    Cron::parse(&arguments.cron, &arguments.timezone).map_err(ScheduleError::from)?;
    let (kind, request) = match (&arguments.plan, &arguments.request) {
        (Some(plan), _) => ("change", order(plan, arguments)?),
        (None, request) => {
            let request = request.as_deref().unwrap_or("null");
            (
                arguments.kind.as_deref().unwrap_or("change"),
                json_of(request)?,
            )
        }
    };
    let body = json!({
        "name": arguments.name, "cron": arguments.cron, "timezone": arguments.timezone,
        "catch_up": arguments.catch_up.to_string(), "overlap": arguments.overlap.to_string(),
        "jitter_s": arguments.jitter, "kind": kind, "title": arguments.title, "request": request,
        "placing": arguments.placing.placing(),
    });
    // A schedule needs a host that stays.
    let door = Door::background(&context.config, &context.environment).await?;
    let answer = door.post("/api/v1/schedules", &body).await;
    door.close().await;
    let run = run_of(&answer?)?;
    if context.json {
        output::json(&json!({ "schedule": arguments.name, "run": run }));
        return Ok(Exit::Done);
    }
    output::line(format_args!("{} is {run}", arguments.name));
    let times = times(context, &arguments.cron, &arguments.timezone, 1)?;
    if let Some(next) = times.first() {
        output::note(format_args!(
            "due {}; started while a host lives: the one in the background, or `matrix serve`",
            next.to_rfc3339_seconds()
        ));
    }
    Ok(Exit::Done)
}

fn order(plan: &Path, arguments: &ScheduleAddArgs) -> Result<Value, Failure> {
    let (text, name) = read_plan(plan)?;
    Ok(json!({
        "repository": text_of(&arguments.repo)?, "plan": text, "plan_name": name,
        "target": arguments.target,
    }))
}

fn view(context: &Context, name: &str) -> Result<ScheduleView, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(ScheduleRead)?;
    Ok(schedule::show(
        &reader.database,
        &reader.blobs,
        &request,
        name,
    )?)
}

fn run_named(context: &Context, name: &str) -> Result<RunId, Failure> {
    Ok(view(context, name)?.run)
}

async fn steer(
    context: &Context,
    name: &str,
    verb: &str,
    path: &str,
    body: &Value,
) -> Result<Exit, Failure> {
    let door = Door::background(&context.config, &context.environment).await?;
    let answer = door.post(path, body).await;
    door.close().await;
    accepted(context, name, verb, &answer?);
    Ok(Exit::Done)
}

fn accepted(context: &Context, name: &str, verb: &str, answer: &Value) {
    if context.json {
        output::json(&json!({ "schedule": name, "run": answer["run"], "accepted": verb }));
    } else {
        output::line(format_args!("{name} {verb} accepted"));
    }
}

fn list(context: &Context) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(ScheduleRead)?;
    let found = schedule::list(&reader.database, &reader.blobs, &request)?;
    if context.json {
        output::json(&json!({ "schedules": found }));
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = found
        .into_iter()
        .map(|view| {
            vec![
                view.name,
                view.state,
                view.schedule.cron,
                view.schedule.timezone,
                time(view.next),
                view.started.to_string(),
                view.trouble.unwrap_or_default(),
            ]
        })
        .collect();
    let head = [
        "schedule", "state", "cron", "timezone", "next", "started", "trouble",
    ];
    output::table(&head, &cells);
    Ok(Exit::Done)
}

fn show(context: &Context, name: &str) -> Result<Exit, Failure> {
    let view = view(context, name)?;
    if context.json {
        output::json(&serde_json::to_value(&view).unwrap_or_default());
        return Ok(Exit::Done);
    }
    let schedule = &view.schedule;
    output::line(format_args!("{} {}", view.name, view.run));
    output::line(format_args!(
        "{}, `{}` in {}, next {}",
        view.state,
        schedule.cron,
        schedule.timezone,
        time(view.next)
    ));
    output::line(format_args!(
        "starts runs of kind `{}`: {}",
        schedule.kind, schedule.title
    ));
    output::line(format_args!("started {} so far", view.started));
    if let Some(last) = view.last {
        output::line(format_args!("last {last}"));
    }
    if let Some(trouble) = &view.trouble {
        output::line(format_args!("trouble: {trouble}"));
    }
    Ok(Exit::Done)
}

fn preview(context: &Context, cron: &str, timezone: &str, count: u32) -> Result<Exit, Failure> {
    let times = times(context, cron, timezone, count as usize)?;
    if context.json {
        output::json(&json!({ "times": times }));
        return Ok(Exit::Done);
    }
    for time in &times {
        output::line(time.to_rfc3339_seconds());
    }
    if times.is_empty() {
        output::note("it is never due");
    }
    Ok(Exit::Done)
}

fn times(
    context: &Context,
    cron: &str,
    timezone: &str,
    count: usize,
) -> Result<Vec<Timestamp>, ScheduleError> {
    let cron = Cron::parse(cron, timezone)?;
    let (now, far) = (context.clock.now(), Timestamp::from_micros(i64::MAX));
    Ok(cron.between(now, far, count)?)
}

fn time(at: Option<Timestamp>) -> String {
    at.map_or_else(|| "never".into(), Timestamp::to_rfc3339_seconds)
}
