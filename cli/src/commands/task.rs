//! `matrix task`.

use std::path::Path;

use matrix_core::{Problem, RunId, Timestamp};
use matrix_engine::queue::Placing;
use matrix_engine::tasks::{self, TaskRead, TaskView};
use serde_json::{Map, Value, json};

use super::Context;
use super::run::NOT_JSON;
use crate::args::{TaskCommand, TaskRunArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;

use crate::output;
use crate::place::unusable;
use crate::reader::Reader;
use crate::watch::BEGINNING;

pub(super) async fn task(context: &Context, command: TaskCommand) -> Result<Exit, Failure> {
    match command {
        TaskCommand::Run(arguments) => run(context, &arguments).await,
        TaskCommand::List { run } => list(context, run),
        TaskCommand::Logs { run } => logs(context, run),
    }
}

fn parsed(text: &str, what: &str) -> Result<Value, Problem> {
    serde_json::from_str(text).map_err(|error| {
        Problem::new(NOT_JSON, format!("{what} is not JSON: {error}"))
            .help("quote a text: '\"like this\"'")
    })
}

/// What is asked of the host.
fn order(arguments: &TaskRunArgs) -> Result<Value, Problem> {
    let mut order = match &arguments.steps {
        Some(file) => from_file(file)?,
        None => json!({ "steps": [one(arguments)?] }),
    };
    if !arguments.title.is_empty() {
        order["title"] = arguments.title.clone().into();
    }
    let placing = arguments.placing.placing();
    if placing != Placing::default() {
        order["placing"] = serde_json::to_value(&placing).unwrap_or_default();
    }
    Ok(order)
}

fn from_file(file: &Path) -> Result<Value, Problem> {
    let text = std::fs::read_to_string(file).map_err(|error| unusable(file, &error))?;
    let value = parsed(&text, &file.display().to_string())?;
    Ok(match value {
        Value::Object(_) => value,
        steps => json!({ "steps": steps }),
    })
}

fn one(arguments: &TaskRunArgs) -> Result<Value, Problem> {
    let mut step = Map::new();
    let input = arguments.input.as_deref();
    let members = [
        ("name", arguments.name.clone().map(Value::from)),
        ("effect", arguments.effect.clone().map(Value::from)),
        (
            "input",
            input.map(|text| parsed(text, "the input")).transpose()?,
        ),
        ("queue", arguments.queue.clone().map(Value::from)),
        ("attempts", arguments.attempts.map(Value::from)),
        ("timeout_s", arguments.timeout_s.map(Value::from)),
        ("lease_s", arguments.lease_s.map(Value::from)),
    ];
    for (name, value) in members {
        if let Some(value) = value {
            step.insert(name.into(), value);
        }
    }
    Ok(step.into())
}

async fn run(context: &Context, arguments: &TaskRunArgs) -> Result<Exit, Failure> {
    let detach = arguments.detach;
    let order = order(arguments)?;
    let door = Door::open(&context.config, &context.environment).await?;
    if door.host.is_some() {
        output::note("no server runs here; workers find the steps once `matrix serve` does");
    }
    let begun = match door.post("/api/v1/tasks", &order).await {
        Ok(begun) => begun,
        Err(failure) => {
            door.close().await;
            return Err(failure);
        }
    };
    let run = begun.get("run").and_then(Value::as_str).unwrap_or_default();
    if detach {
        if context.json {
            output::json(&begun);
        } else {
            output::line(run);
        }
        door.close().await;
        return Ok(Exit::Done);
    }
    let run: RunId = run.parse().map_err(|_| {
        let text = "the host gave no run".to_owned();
        Problem::new(matrix_server::problem::UNREACHABLE, text)
    })?;
    context.see_through(door, run, BEGINNING).await
}

/// The steps of a run that workers have or may take.
fn open(reader: &Reader, run: RunId) -> Result<Vec<TaskView>, Failure> {
    Ok(tasks::list(
        &reader.database,
        &reader.may(TaskRead { run })?,
    )?)
}

fn list(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let found = open(&reader, run)?;
    if context.json {
        output::json(&json!({ "run": run, "tasks": found }));
        return Ok(Exit::Done);
    }
    let since = |at: Timestamp| at.to_rfc3339_seconds();
    let cells: Vec<Vec<String>> = found
        .into_iter()
        .map(|task| {
            let progress = task.progress.map(|value| value.to_string());
            vec![
                task.step,
                task.state,
                since(task.since),
                task.queue,
                task.worker.unwrap_or_default(),
                progress.unwrap_or_default(),
            ]
        })
        .collect();
    output::table(
        &["step", "state", "since", "queue", "worker", "progress"],
        &cells,
    );
    Ok(Exit::Done)
}

fn logs(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(TaskRead { run })?;
    let mut all = Vec::new();
    loop {
        let after = all.last().map_or(0, |view: &tasks::LogView| view.seq);
        let more = tasks::logs(&reader.database, &request, after)?;
        if more.is_empty() {
            break;
        }
        all.extend(more);
    }
    if context.json {
        output::json(&json!({ "run": run, "logs": all }));
        return Ok(Exit::Done);
    }
    for view in &all {
        for line in view.text.lines() {
            let at = view.at.to_rfc3339_seconds();
            output::line(format_args!("{at} {} {line}", view.step));
        }
    }
    Ok(Exit::Done)
}
