//! `matrix change`.

use std::path::Path;

use matrix_changes::error::ChangeError;
use matrix_changes::plan::Plan;
use matrix_changes::service::{self, Asked, ChangeList, ChangeRead};
use matrix_changes::view::ChangeView;
use matrix_core::id::ApprovalId;
use matrix_core::{Authorised, Code, Problem, RunId};
use matrix_engine::error::RequestError;
use matrix_engine::runs::{self, Filter, RunRead};
use matrix_evidence::Status;
use matrix_store::StoreError;
use matrix_store::tables::approvals;
use matrix_store::tables::runs::RunRow;
use serde_json::{Value, json};

use super::{Context, part};
use crate::args::{ChangeCommand, ChangeRunArgs, DecideArgs, RunListArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::reader::Reader;
use crate::watch::{BEGINNING, row};
use crate::{agents, output};

/// A file that was named cannot be read.
pub(crate) const UNREADABLE: Code = Code::new("CLI-0001", 422, 2, "file cannot be read");
/// The host answered something that this program does not understand.
const STRANGE_HOST: Code = Code::new("CLI-0002", 502, 1, "host not understood");

/// The most bytes of a plan that are read at all.
const PLAN_BYTES: u64 = 4 << 20;

pub(super) async fn change(context: &Context, command: ChangeCommand) -> Result<Exit, Failure> {
    match command {
        ChangeCommand::Plan { repo, plan, target } => {
            super::plan::plan(context, &repo, &plan, target).await
        }
        ChangeCommand::Run(arguments) => run(context, &arguments).await,
        ChangeCommand::Show { run } => show(context, run),
        ChangeCommand::Logs { run, check } => logs(context, run, check.as_deref()),
        ChangeCommand::List(page) => list(context, &page),
        ChangeCommand::Approve(arguments) => decide(context, &arguments, "approve").await,
        ChangeCommand::Reject(arguments) => decide(context, &arguments, "reject").await,
    }
}

pub(super) fn read_plan(path: &Path) -> Result<(String, String), Problem> {
    use std::io::Read as _;
    let unreadable = |why: String| {
        Problem::new(
            UNREADABLE,
            format!("{} cannot be read: {why}", path.display()),
        )
        .help("name a plan file with --plan")
    };
    let file = std::fs::File::open(path).map_err(|error| unreadable(error.to_string()))?;
    let mut bytes = Vec::new();
    file.take(PLAN_BYTES)
        .read_to_end(&mut bytes)
        .map_err(|error| unreadable(error.to_string()))?;
    let name = path
        .file_name()
        .map_or_else(|| "plan".into(), |name| name.to_string_lossy());
    let text = String::from_utf8(bytes).map_err(|_| unreadable("it is not UTF-8".into()))?;
    Ok((text, name.into_owned()))
}

async fn run(context: &Context, arguments: &ChangeRunArgs) -> Result<Exit, Failure> {
    let repository = text_of(&arguments.repo)?;
    let mut body = json!({
        "repository": repository,
        "target": arguments.target,
        "placing": arguments.placing.placing(),
    });
    if let Some(file) = &arguments.plan {
        let (plan, plan_name) = read_plan(file)?;
        // What is wrong with a plan is said without touching a data directory.
        Plan::parse(plan.as_bytes(), &plan_name)?;
        body["plan"] = plan.into();
        body["plan_name"] = plan_name.into();
    }
    let given = [
        ("goal", &arguments.goal),
        ("agent", &arguments.agent),
        ("model", &arguments.model),
        ("revision", &arguments.revision),
    ];
    for (name, value) in given {
        if let Some(value) = value {
            body[name] = value.as_str().into();
        }
    }
    let door = if arguments.detach {
        Door::background(&context.config, &context.environment).await?
    } else {
        Door::open(&context.config, &context.environment).await?
    };
    let answer = match door.post("/api/v1/execute", &body).await {
        Ok(answer) => answer,
        Err(problem) => {
            door.close().await;
            return Err(problem);
        }
    };
    let run = run_of(&answer)?;
    if arguments.detach {
        detached(context, run);
        return Ok(Exit::Done);
    }
    context.see_through(door, run, BEGINNING).await
}

/// A repository's absolute path as text, in which form it is recorded.
pub(super) fn text_of(path: &Path) -> Result<String, Problem> {
    let absolute = std::path::absolute(path);
    let absolute =
        absolute.map_err(|error| Problem::new(UNREADABLE, format!("the repository: {error}")))?;
    absolute.into_os_string().into_string().map_err(|path| {
        let text = format!("the path {} is not UTF-8", path.to_string_lossy());
        Problem::new(UNREADABLE, text).help("use the repository under another path")
    })
}

/// All that is said about a run that is left to a background host.
pub(super) fn detached(context: &Context, run: RunId) {
    if context.json {
        output::json(&json!({ "run": run }));
    } else {
        output::line(run);
    }
}

/// The run that an answer of the host names.
pub(super) fn run_of(answer: &Value) -> Result<RunId, Problem> {
    answer
        .get("run")
        .or_else(|| answer.get("id"))
        .and_then(Value::as_str)
        .and_then(|text| text.parse().ok())
        .ok_or_else(|| Problem::new(STRANGE_HOST, "the host's answer names no run"))
}

async fn decide(context: &Context, arguments: &DecideArgs, verb: &str) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let (approval, run) = question(&reader, arguments.id)?;
    // What was shown before is not shown again.
    let seen = row(&reader, run)?.head_seq;
    drop(reader);
    let door = if arguments.detach {
        Door::background(&context.config, &context.environment).await?
    } else {
        Door::open(&context.config, &context.environment).await?
    };
    let path = format!("/api/v1/approvals/{approval}/{verb}");
    match door
        .post(&path, &json!({ "reason": arguments.reason }))
        .await
    {
        Ok(_) if arguments.detach => {
            detached(context, run);
            Ok(Exit::Done)
        }
        Ok(_) => context.see_through(door, run, seen).await,
        Err(problem) => {
            door.close().await;
            Err(problem)
        }
    }
}

/// The open question of a change, or the question itself, with the change.
fn question(reader: &Reader, asked: Asked) -> Result<(ApprovalId, RunId), Problem> {
    match asked {
        Asked::Approval(id) => {
            let found = reader
                .database
                .read_now::<_, StoreError, _>(|tx| approvals::get(tx, id))?;
            let missing = || RequestError::NoApproval(id.to_string());
            Ok((id, found.ok_or_else(missing)?.run))
        }
        Asked::Run(run) => {
            let open = view(reader, run)?.approval;
            let missing = || ChangeError::NothingToDecide(run.to_string());
            let id = open.and_then(|id| id.parse().ok()).ok_or_else(missing)?;
            Ok((id, run))
        }
    }
}

/// A change as its journal tells it.
pub(super) fn view(reader: &Reader, run: RunId) -> Result<ChangeView, Problem> {
    let read = reader.may(ChangeRead { run })?;
    let mut view = service::show(&reader.database, &reader.blobs, &reader.authority, &read)?;
    if view.state == "running"
        && let Some(forsaken) = reader.forsaken(run)?
    {
        view.waiting = Some(forsaken.waiting());
    }
    Ok(view)
}

fn show(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let view = view(&reader, run)?;
    present(context, &view);
    Ok(Exit::of_showing(forsaken(&view)))
}

/// Whether nobody drives a change that is to be driven.
fn forsaken(view: &ChangeView) -> bool {
    let waiting = view.waiting.as_ref();
    waiting.is_some_and(|waiting| waiting["for"] == "host")
}

fn present(context: &Context, view: &ChangeView) {
    if context.json {
        output::json(view);
    } else {
        print(view);
    }
}

/// Shows how a followed run ended; a run of another kind in one line.
pub(super) fn show_end(context: &Context, reader: &Reader, row: &RunRow) -> Result<(), Problem> {
    if row.kind == matrix_agents::KIND {
        return agents::show_end(context.json, reader, row);
    }
    if row.kind != matrix_changes::function::KIND {
        let request = reader.may(RunRead { run: row.run })?;
        let view = runs::show(&reader.database, &reader.blobs, &request)?;
        if context.json {
            output::json(
                &json!({ "run": row.run, "state": row.state, "waiting": view.waiting,
                "result": view.result, "error": view.error }),
            );
        } else {
            output::line(format_args!("{} {}", row.run, row.state));
            let end = view.result.map(|result| result.to_string()).or(view.error);
            end.iter().for_each(output::line);
        }
        return Ok(());
    }
    present(context, &view(reader, row.run)?);
    Ok(())
}

/// Tells a program in which state a run is left that is followed no longer, and why.
pub(super) fn show_left(
    context: &Context,
    reader: &Reader,
    run: RunId,
    how: &str,
    why: &str,
) -> Result<(), Problem> {
    if !context.json {
        return Ok(());
    }
    let row = row(reader, run)?;
    let mut value = if row.kind == matrix_changes::function::KIND {
        let view = view(reader, run)?;
        serde_json::to_value(&view).map_err(StoreError::corrupt)?
    } else {
        json!({ "run": run, "state": row.state })
    };
    value[how] = why.into();
    output::json(&value);
    Ok(())
}

fn print(view: &ChangeView) {
    output::line(format_args!("{} {}", view.run, view.title));
    output::line(format_args!("state     {}{}", view.state, ending(view)));
    for hunk in &view.loose {
        output::line(format_args!("placed    {hunk}"));
    }
    if !view.evidence.is_empty() {
        output::line("");
        let rows: Vec<Vec<String>> = view
            .evidence
            .iter()
            .map(|evidence| {
                let status = match evidence.status {
                    Status::Passed => "passed",
                    Status::Failed => "failed",
                    Status::Skipped => "skipped",
                };
                let text = match &evidence.reason {
                    Some(reason) if evidence.status != Status::Passed => reason.clone(),
                    _ => evidence.summary.clone(),
                };
                vec![evidence.kind.to_string(), status.to_owned(), text]
            })
            .collect();
        output::table(&["evidence", "status", "what was found"], &rows);
        output::line("");
    }
    if let Some(risk) = &view.risk {
        output::line(format_args!(
            "risk      {risk} ({})",
            view.risk_reasons.join("; ")
        ));
    }
    if let Some(verdict) = view.verdict {
        output::line(format_args!(
            "verdict   {verdict}: {}",
            view.verdict_reasons.join("; ")
        ));
    }
    if let Some(stale) = &view.stale {
        output::line(format_args!(
            "stale     the question went stale: {}; it is asked anew",
            stale.because
        ));
    }
    for (name, value) in [
        ("approval", &view.approval),
        ("deployed", &view.location),
        ("release", &view.release),
        ("commit", &view.commit),
        ("bundle", &view.bundle),
        ("key", &view.key),
    ] {
        if let Some(value) = value {
            output::line(format_args!("{name:<9} {value}"));
        }
    }
    print_next(view);
}

/// What a person may do with it now.
fn print_next(view: &ChangeView) {
    let paused = view
        .waiting
        .as_ref()
        .is_some_and(|waiting| waiting["name"] == "resume");
    if paused {
        output::line(format_args!(
            "\nit is paused: `matrix run resume {}`",
            view.run
        ));
    } else if let Some(approval) = &view.approval {
        let given = view.approvals.filter(|count| count.given > 0);
        let given = given.map(|count| format!(" ({count})")).unwrap_or_default();
        output::line(format_args!(
            "\nit waits for a person{given}: `matrix change approve {approval}`"
        ));
    } else if forsaken(view) {
        let because = view.waiting.as_ref().map(|waiting| &waiting["because"]);
        let because = because.and_then(Value::as_str).unwrap_or_default();
        output::line(format_args!("\n{because}"));
    } else if let Some(waiting) = &view.waiting {
        output::line(format_args!(
            "\nit waits: {}",
            waiting["because"].as_str().unwrap_or("")
        ));
    }
    if let (Some(bundle), Some(key)) = (&view.bundle, &view.key) {
        output::line(format_args!(
            "
verify it: {} verify {bundle} --key {key}",
            output::program()
        ));
    }
}

fn ending(view: &ChangeView) -> String {
    match (&view.ending, &view.reason) {
        (Some(ending), Some(reason)) => format!(" ({ending}): {reason}"),
        _ => String::new(),
    }
}

fn logs(context: &Context, run: RunId, check: Option<&str>) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    view(&reader, run)?;
    let directory = reader.layout.logs(run);
    let mut names: Vec<_> = std::fs::read_dir(&directory)
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    names.sort();
    let mut logs = Vec::new();
    for path in names {
        let name = path
            .file_stem()
            .map(|stem| stem.to_string_lossy().into_owned());
        let name = name.unwrap_or_default();
        if check.is_some_and(|text| !name.contains(text)) {
            continue;
        }
        let bytes = std::fs::read(&path)
            .map_err(|error| Problem::new(UNREADABLE, format!("{}: {error}", path.display())))?;
        if context.json {
            logs.push(json!({ "check": name, "text": String::from_utf8_lossy(&bytes) }));
            continue;
        }
        output::line(format_args!("── {name}"));
        output::bytes(&bytes);
        if !bytes.ends_with(b"\n") && !bytes.is_empty() {
            output::line("");
        }
    }
    if context.json {
        output::json(&json!({ "run": run, "logs": logs }));
    }
    Ok(Exit::Done)
}

fn list(context: &Context, asked: &RunListArgs) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let (page, filter) = (&asked.part, asked.filter(context.clock.now()));
    let fetch = |before, limit| {
        let filter = Filter {
            before,
            ..filter.clone()
        };
        let request: Authorised<ChangeList> = reader.may(ChangeList { filter, limit })?;
        Ok(service::list(&reader.database, &request)?)
    };
    let (rows, next) = part(page.limit, page.after, |row: &RunRow| row.run, fetch)?;
    super::run::print_rows(context, &rows, next);
    Ok(Exit::Done)
}
