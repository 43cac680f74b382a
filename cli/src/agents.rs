//! An agent's work for people: its steps in a line each, and what came of it.

use matrix_agents::{Done, KIND};
use matrix_core::{Problem, RunId};
use matrix_engine::EntryKind;
use matrix_engine::entry::Entry;
use matrix_engine::runs::{self, RunRead};
use matrix_store::StoreError;
use matrix_store::tables::runs::RunRow;
use serde_json::{Value, json};

use crate::output;
use crate::reader::Reader;
use crate::watch::{count, count_of};

/// The most characters of a line.
const LINE_MAX: usize = 110;

/// The run of an agent that an entry tells of.
pub(crate) fn started(entry: &Entry) -> Option<RunId> {
    let payload = entry.payload.as_ref();
    let payload = payload.filter(|_| entry.kind == EntryKind::ChildSpawned)?;
    (payload["kind"] == KIND).then(|| payload["run"].as_str()?.parse().ok())?
}

/// A finished step of an agent's run in one line; nothing if it is none.
pub(crate) fn step(path: &str, result: &Value) -> Option<String> {
    if path == "model" {
        return answered(result);
    }
    let rest = path.strip_prefix("tools")?;
    let (_, tool) = rest.rsplit_once('/')?;
    let output = result["output"].as_str()?;
    let failed = result["failed"] == true;
    // What was read is told by the call.
    let is_read = ["list_files", "read_file", "search_files"].contains(&tool);
    if is_read && !failed {
        return None;
    }
    let mark = if failed { "✗" } else { "·" };
    let last = output.lines().rfind(|line| !line.trim().is_empty());
    let wrote = result.pointer("/wrote/changes").and_then(Value::as_object);
    let wrote = wrote.filter(|paths| !paths.is_empty());
    let wrote = wrote.map_or_else(String::new, |paths| {
        let names: Vec<&str> = paths.keys().map(String::as_str).collect();
        format!(" [{}]", names.join(", "))
    });
    let said = cut(last.unwrap_or_default(), LINE_MAX - 30);
    Some(format!("{mark} {tool}: {said}{wrote}"))
}

/// What the model said, and what it calls.
fn answered(result: &Value) -> Option<String> {
    let parts = result.pointer("/answer/choices/0/parts")?.as_array()?;
    let mut said = Vec::new();
    for part in parts {
        match part["type"].as_str()? {
            "text" => {
                let text = part["text"].as_str()?.lines().next().unwrap_or_default();
                said.push(cut(text, LINE_MAX));
            }
            "tool_call" => {
                let arguments = part["arguments"].as_str().unwrap_or_default();
                said.push(format!(
                    "→ {} {}",
                    part["name"].as_str()?,
                    cut(arguments, LINE_MAX - 30)
                ));
            }
            _ => {}
        }
    }
    said.retain(|line| !line.trim().is_empty());
    (!said.is_empty()).then(|| said.join("\n            "))
}

fn cut(text: &str, most: usize) -> String {
    let line = text.replace(['\n', '\r', '\t'], " ");
    let shown: String = line
        .chars()
        .filter(|c| !c.is_control())
        .take(most)
        .collect();
    if line.chars().count() > most {
        format!("{shown}…")
    } else {
        shown
    }
}

/// Shows what came of an agent's run.
pub(crate) fn show_end(json: bool, reader: &Reader, row: &RunRow) -> Result<(), Problem> {
    let request = reader.may(RunRead { run: row.run })?;
    let view = runs::show(&reader.database, &reader.blobs, &request)?;
    let done = view.result.clone().map(serde_json::from_value::<Done>);
    let done = done.transpose().map_err(StoreError::corrupt)?;
    if json {
        output::json(
            &json!({ "run": row.run, "state": row.state, "waiting": view.waiting,
            "result": view.result, "error": view.error }),
        );
        return Ok(());
    }
    let Some(done) = done else {
        output::line(format_args!("{} {}", row.run, row.state));
        view.error.iter().for_each(output::line);
        return Ok(());
    };
    output::line(done.text.trim());
    output::line("");
    if let Some(patch) = &done.patch {
        for file in &patch.files {
            output::line(format_args!(
                "{:>5} {:>5}  {}",
                format!("+{}", file.added_lines),
                format!("-{}", file.deleted_lines),
                file.path
            ));
        }
        output::line(format_args!(
            "\n`matrix agent patch {}` prints what was changed",
            row.run
        ));
    }
    let spent = &done.spent;
    output::line(format_args!(
        "{}, {}, {}, $ {}",
        count_of(u64::from(spent.turns), ("answer", "answers")),
        count_of(
            u64::from(spent.tool_calls),
            ("call of a tool", "calls of tools")
        ),
        count(usize::try_from(spent.tokens).unwrap_or(usize::MAX), "token"),
        spent.cost
    ));
    Ok(())
}

/// What an agent's run gave; nothing if it has not ended well.
pub(crate) fn result(reader: &Reader, run: RunId) -> Result<Option<Done>, Problem> {
    let request = reader.may(RunRead { run })?;
    let view = runs::show(&reader.database, &reader.blobs, &request)?;
    if view.kind != KIND {
        let what = format!("the run {run} is not an agent's work");
        return Err(Problem::new(matrix_agents::error::NO_AGENT, what)
            .help("`matrix run list --kind agent` shows those that are"));
    }
    let done = view.result.map(serde_json::from_value::<Done>);
    Ok(done.transpose().map_err(StoreError::corrupt)?)
}
