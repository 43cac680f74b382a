//! `matrix run`.

use std::collections::HashMap;

use matrix_core::{Authorised, Code, Problem, RunId};
use matrix_engine::runs::{self, BulkAction, Filter, RunList, RunRead, RunView};
use matrix_engine::stopped::Stopped;
use matrix_engine::tasks::KIND;
use matrix_engine::{Entry, EntryKind};
use matrix_store::StoreError;
use matrix_store::tables::runs::{self as table, RunRow};
use serde_json::{Value, json};

use super::{Context, Outcome, Signals, change, part};
use super::{bulk, portable, prune, replay};
use crate::args::{RunCommand, RunListArgs, WhichArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::{Forsaken, Reader};
use crate::watch::{BEGINNING, Followed, Show, Through, follow, how_far, row};

/// A value on the command line is not JSON.
pub(super) const NOT_JSON: Code = Code::new("CLI-0003", 422, 2, "not JSON");

/// The most runs that one `resume` takes up.
const RESUME_MAX: i64 = 10_000;

pub(super) async fn run(context: &Context, command: RunCommand) -> Result<Exit, Failure> {
    match command {
        RunCommand::List(page) => list(context, &page),
        RunCommand::Show { run, journal } => show(context, run, journal),
        RunCommand::Why { run } => why(context, run),
        RunCommand::Replay { run } => replay::replay(context, run).await,
        RunCommand::Export { run, output } => portable::export(context, run, output.as_deref()),
        RunCommand::Open { file, journal, key } => portable::open(context, &file, journal, &key),
        RunCommand::Watch { run } => watch(context, run).await,
        RunCommand::Cancel { which, reason } => {
            let body = json!({ "reason": reason });
            ask(context, BulkAction::Cancel, &which, body).await
        }
        RunCommand::Pause { which, reason } => {
            let body = json!({ "reason": reason });
            ask(context, BulkAction::Pause, &which, body).await
        }
        RunCommand::Retry { which, step } => {
            ask(context, BulkAction::Retry, &which, json!({ "step": step })).await
        }
        RunCommand::Fork {
            run,
            step,
            input,
            function_version,
            title,
        } => {
            let input = input.as_deref().map(json_of).transpose()?;
            let body = json!({
                "step": step, "input": input, "version": function_version, "title": title,
            });
            fork(context, run, body).await
        }
        RunCommand::Signal { run, name, value } => {
            let value = json_of(&value)?;
            steer(
                context,
                run,
                "signal",
                json!({ "name": name, "value": value }),
            )
            .await
        }
        RunCommand::Hold { run, reason } => prune::hold(context, run, Some(&reason)).await,
        RunCommand::Unhold { run } => prune::hold(context, run, None).await,
        RunCommand::Prune { dry_run } => prune::prune(context, dry_run).await,
        RunCommand::Resume { many, .. } if !many.words.is_empty() => {
            bulk::bulk(context, BulkAction::Resume, &many, "").await
        }
        RunCommand::Resume { run: Some(run), .. } => resume(context, run).await,
        RunCommand::Resume { run: None, .. } => resume_all(context).await,
    }
}

/// Asks one run, or all that a filter finds.
async fn ask(
    context: &Context,
    action: BulkAction,
    which: &WhichArgs,
    body: Value,
) -> Result<Exit, Failure> {
    if let Some(run) = which.run {
        return steer(context, run, action.as_str(), body).await;
    }
    let reason = body["reason"].as_str().unwrap_or_default();
    bulk::bulk(context, action, &which.many, reason).await
}

/// Rows of runs, for a person or a program.
pub(super) fn print_rows(context: &Context, rows: &[RunRow], next: Option<RunId>) {
    if context.json {
        let runs: Vec<_> = rows
            .iter()
            .map(|row| {
                let mut run = json!({ "run": row.run, "kind": row.kind, "state": row.state,
                    "title": row.title, "lane": row.placement.lane,
                    "priority": row.placement.priority, "key": row.placement.key,
                    "created_at": row.created_at, "updated_at": row.updated_at });
                if let Some(at) = row.removed_at {
                    run["removed_at"] = json!(at);
                }
                if let Some(stopped) = Stopped::of(row) {
                    run["stopped"] = json!(stopped);
                    run["stopped"]["because"] = because(row).into();
                    run["stopped"]["next"] = stopped.cause.next(row.run).into();
                }
                run
            })
            .collect();
        output::json(&json!({ "runs": runs, "next": next }));
        return;
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            let created = row.created_at.to_rfc3339_seconds();
            vec![
                row.run.to_string(),
                state_of(row),
                created,
                row.title.clone(),
            ]
        })
        .collect();
    output::table(&["run", "state", "created", "title"], &cells);
    if let Some(next) = next {
        output::note(format_args!("there are more: --after {next}"));
    }
}

/// A run's state, and whether its journal is still there.
fn state_of(row: &RunRow) -> String {
    match row.removed_at {
        Some(_) => format!("{}, removed", row.state),
        None => row.state.clone(),
    }
}

/// Why a run rests, in words.
fn because(row: &RunRow) -> String {
    let waiting = row.waiting.as_deref();
    let waiting: Option<Value> = waiting.and_then(|text| serde_json::from_str(text).ok());
    let because = waiting
        .as_ref()
        .and_then(|waiting| waiting["because"].as_str());
    because.unwrap_or_default().to_owned()
}

/// Runs that stopped by themselves, for a person: why, since when, how often it was tried, and what
/// to do next.
fn print_dead(rows: &[RunRow], next: Option<RunId>) {
    for row in rows {
        let Some(stopped) = Stopped::of(row) else {
            continue;
        };
        let tries = match stopped.tries {
            0 => String::new(),
            1 => ", tried once".into(),
            tries => format!(", tried {tries} times"),
        };
        let (cause, since) = (stopped.cause, stopped.since.to_rfc3339_seconds());
        output::line(format_args!("{} {}", row.run, row.title));
        output::line(format_args!("  {} since {since}{tries}", cause.as_str()));
        output::line(format_args!("  {}", because(row)));
        output::line(format_args!("  next: {}", cause.next(row.run)));
    }
    match (rows, next) {
        ([], _) => output::line("no run has stopped by itself"),
        (_, Some(next)) => output::note(format_args!("there are more: --after {next}")),
        _ => {}
    }
}

fn list(context: &Context, asked: &RunListArgs) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let (page, filter) = (&asked.part, asked.filter(context.clock.now()));
    let dead = filter.stopped.is_some() && !context.json;
    let fetch = |before, limit| {
        let filter = Filter {
            before,
            ..filter.clone()
        };
        let request = reader.may(RunList { filter, limit })?;
        Ok(runs::list(&reader.database, &request)?)
    };
    let (rows, next) = part(page.limit, page.after, |row: &RunRow| row.run, fetch)?;
    if dead {
        print_dead(&rows, next);
    } else {
        print_rows(context, &rows, next);
    }
    Ok(Exit::Done)
}

fn whole_journal(reader: &Reader, request: &Authorised<RunRead>) -> Result<Vec<Entry>, Failure> {
    let (database, blobs) = (&reader.database, &reader.blobs);
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let after = entries.last().map_or(-1, |entry| entry.seq);
        let page = runs::entries(database, blobs, request, after, runs::ENTRIES_MAX)?;
        if page.is_empty() {
            return Ok(entries);
        }
        entries.extend(page);
    }
}

fn show(context: &Context, run: RunId, with_journal: bool) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(RunRead { run })?;
    let view = runs::show(&reader.database, &reader.blobs, &request)?;
    let entries = if with_journal {
        whole_journal(&reader, &request)?
    } else {
        Vec::new()
    };
    let forsaken = reader.forsaken(run)?;
    let exit = Exit::of_showing(forsaken.is_some());
    if context.json {
        let mut value = serde_json::to_value(&view).map_err(StoreError::corrupt)?;
        if with_journal {
            value["journal"] = serde_json::to_value(&entries).map_err(StoreError::corrupt)?;
        }
        if let Some(forsaken) = forsaken {
            value["waiting"] = forsaken.waiting();
        }
        output::json(&value);
        return Ok(exit);
    }
    print_view(&view);
    print_entries(&entries);
    if let Some(Forsaken { because }) = forsaken {
        output::line(format_args!("\n{because}"));
    }
    Ok(exit)
}

pub(super) fn print_view(view: &RunView) {
    output::line(format_args!("{} {}", view.run, view.title));
    output::line(format_args!(
        "{} {}, version {}",
        view.kind, view.state, view.version
    ));
    let key = if view.key.is_empty() {
        String::new()
    } else {
        format!(", key {}", view.key)
    };
    output::line(format_args!(
        "lane {}, priority {}{key}",
        view.lane, view.priority
    ));
    output::line(format_args!(
        "created {}, trace {}",
        view.created_at, view.trace
    ));
    output::line(format_args!(
        "journal ends at {} with {}",
        view.head_seq, view.head_hash
    ));
    if let Some(parent) = view.parent {
        output::line(format_args!("started by {parent}"));
    }
    if let Some(from) = view.forked_from {
        output::line(format_args!(
            "forked from {from}, whose entries before are shared"
        ));
    }
    if !view.hold.is_empty() {
        output::line(format_args!("held: {}", view.hold));
    }
    for step in &view.steps {
        let error = step
            .error
            .as_deref()
            .map(|error| format!(": {error}"))
            .unwrap_or_default();
        let progress = step.progress.as_ref();
        let progress = progress.map(|said| format!(" ({})", how_far(said)));
        let progress = progress.unwrap_or_default();
        output::line(format_args!(
            "  {:<9} {}{progress}{error}",
            step.state, step.path
        ));
    }
    for child in &view.children {
        output::line(format_args!(
            "  {:<9} {} {} ({})",
            child.state, child.path, child.run, child.kind
        ));
    }
    if let Some(result) = view.result.as_ref().filter(|_| view.kind == KIND) {
        output::line(format_args!("result {result}"));
    }
}

pub(super) fn print_entries(entries: &[Entry]) {
    // An answer comes under the question's name; it is shown under the question's address.
    let mut addresses = HashMap::new();
    for entry in entries {
        let question = entry.payload.as_ref();
        let question = question.and_then(|payload| payload.get("approval")?.as_str());
        let path = match (entry.kind, question) {
            (EntryKind::ApprovalRequested, Some(question)) => {
                addresses.insert(question, &*entry.path);
                &*entry.path
            }
            (EntryKind::ApprovalDecided, Some(question)) => {
                addresses.get(question).copied().unwrap_or(&entry.path)
            }
            _ => &*entry.path,
        };
        output::line(format_args!(
            "{:>4} {} {} {path} {}",
            entry.seq,
            entry.at,
            entry.kind.as_str(),
            entry.hash.short()
        ));
    }
}

fn why(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(RunRead { run })?;
    let scheduling = &context.config.scheduling;
    let now = context.clock.now();
    let mut why = runs::explain(&reader.database, scheduling, &request, now)?;
    let forsaken = reader.forsaken(run)?;
    let exit = Exit::of_showing(forsaken.is_some());
    if let Some(forsaken) = &forsaken {
        why.waiting = Some(forsaken.waiting());
    }
    let stale = if why.kind == matrix_changes::function::KIND {
        change::view(&reader, run)?.stale
    } else {
        None
    };
    if context.json {
        let mut value = serde_json::to_value(&why).map_err(StoreError::corrupt)?;
        value["stale"] = serde_json::to_value(&stale).map_err(StoreError::corrupt)?;
        output::json(&value);
        return Ok(exit);
    }
    if let Some(Forsaken { because }) = forsaken {
        output::line(because);
        return Ok(exit);
    }
    why.lines().iter().for_each(output::line);
    if let Some(stale) = stale {
        output::line(stale.line());
    }
    Ok(exit)
}

async fn watch(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    reader.may(RunRead { run })?;
    let (mut seen, mut signals) = (BEGINNING, Signals::listen());
    let row = tokio::select! {
        followed = follow(&reader, run, &mut seen, (Show::Progress, Through::Workers), &*context.clock) => {
            match followed? {
                Followed::Settled(row) => row,
                Followed::Unhosted(row) => {
                    change::show_end(context, &reader, &row)?;
                    return Ok(Exit::Failed);
                }
            }
        }
        signal = signals.any() => {
            output::live("");
            change::show_left(context, &reader, run, "interrupted", signal)?;
            return Ok(Exit::Interrupted);
        }
    };
    change::show_end(context, &reader, &row)?;
    Ok(Exit::of_state(&row.state))
}

/// A value that was given on the command line.
pub(super) fn json_of(text: &str) -> Result<Value, Problem> {
    serde_json::from_str(text).map_err(|error| {
        Problem::new(NOT_JSON, format!("`{text}` is not JSON: {error}"))
            .help("quote a text: '\"like this\"'")
    })
}

/// Starts a fork and goes with it until it ends or waits.
async fn fork(context: &Context, run: RunId, body: Value) -> Result<Exit, Failure> {
    // A run that is not there is no reason to become host.
    row(&Reader::open(&context.config)?, run)?;
    let door = Door::open(&context.config, &context.environment).await?;
    let answer = door
        .post(&format!("/api/v1/runs/{run}/fork"), &body)
        .await
        .and_then(|answer| Ok(change::run_of(&answer)?));
    let forked = match answer {
        Ok(forked) => forked,
        Err(problem) => {
            door.close().await;
            return Err(problem);
        }
    };
    output::note(format_args!("forked {run} as {forked}"));
    context.see_through(door, forked, BEGINNING).await
}

/// Asks the host for something; what follows from it happens before the command ends.
async fn steer(context: &Context, run: RunId, verb: &str, body: Value) -> Result<Exit, Failure> {
    // A run that is not there is no reason to become host.
    let seen = row(&Reader::open(&context.config)?, run)?.head_seq;
    let door = Door::open(&context.config, &context.environment).await?;
    if let Err(problem) = door
        .post(&format!("/api/v1/runs/{run}/{verb}"), &body)
        .await
    {
        door.close().await;
        return Err(problem);
    }
    if door.host.is_none() {
        if context.json {
            output::json(&json!({ "run": run, "accepted": verb }));
        } else {
            output::line(format_args!("{run} {verb} accepted"));
        }
        return Ok(Exit::Done);
    }
    let exit = context.see_through(door, run, seen).await?;
    // The request itself was carried out; only a retry is about how the run ends.
    Ok(if verb == "retry" { exit } else { Exit::Done })
}

async fn resume(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let before = row(&Reader::open(&context.config)?, run)?;
    let door = Door::open(&context.config, &context.environment).await?;
    if before.state == "paused"
        && let Err(problem) = door
            .post(&format!("/api/v1/runs/{run}/resume"), &json!({}))
            .await
    {
        door.close().await;
        return Err(problem);
    }
    context.see_through(door, run, before.head_seq).await
}

async fn resume_all(context: &Context) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let unfinished: Vec<RunRow> = reader
        .database
        .read_now::<_, StoreError, _>(|tx| table::unfinished(tx, RESUME_MAX))?
        .into_iter()
        .filter(|row| matches!(&*row.state, "ready" | "running"))
        .collect();
    if unfinished.is_empty() {
        if context.json {
            output::json(&json!({ "runs": [] }));
        } else {
            output::line("nothing to resume");
        }
        return Ok(Exit::Done);
    }
    let mut door = Door::open(&context.config, &context.environment).await?;
    if let [only] = unfinished.as_slice() {
        return context.see_through(door, only.run, only.head_seq).await;
    }
    let mut ended = Vec::new();
    for RunRow { run, head_seq, .. } in &unfinished {
        output::note(format_args!("resuming {run}"));
        match context.accompany(&reader, door, *run, *head_seq).await? {
            Outcome::Settled(row, left) => {
                ended.push(*row);
                door = *left;
            }
            Outcome::Stopped(why) => {
                output::note(format_args!(
                    "matrix: run {run} stopped: {why}; `matrix run resume` goes on"
                ));
                print_rows(context, &ended, None);
                return Ok(Exit::Failed);
            }
            Outcome::Interrupted(signal) => {
                output::note(format_args!("{signal}: `matrix run resume` goes on"));
                print_rows(context, &ended, None);
                return Ok(Exit::Interrupted);
            }
        }
    }
    door.close().await;
    print_rows(context, &ended, None);
    let exits = ended.iter().map(|row| Exit::of_state(&row.state));
    let rank = |exit: &Exit| match exit {
        Exit::Unsuccessful => 3,
        Exit::Cancelled => 2,
        Exit::Waiting => 1,
        _ => 0,
    };
    Ok(exits.max_by_key(rank).unwrap_or(Exit::Done))
}
