//! `matrix journal`.

use std::path::Path;

use matrix_core::RunId;
use matrix_engine::runs::{Filter, RunList, RunRead, list};
use matrix_engine::seal::{self, SealError};
use matrix_engine::{journal, retention};
use matrix_evidence::tlog::Proof;
use serde_json::{Value, json};

use super::Context;
use super::verify::{keys, text};
use crate::args::JournalCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;
use crate::watch::{count, count_of};

/// How many runs are read at once.
const PAGE: u32 = 500;

pub(super) fn journal(context: &Context, command: &JournalCommand) -> Result<Exit, Failure> {
    match command {
        JournalCommand::Verify { run, checkpoint } => verify(context, *run, checkpoint.as_deref()),
        JournalCommand::Checkpoint => checkpoint(context),
        JournalCommand::Prove { run, seq, output } => prove(context, *run, *seq, output.as_deref()),
        JournalCommand::Check { proof, key } => check(context, proof, key),
    }
}

fn verify(
    context: &Context,
    run: Option<RunId>,
    checkpoint: Option<&Path>,
) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let (runs, removed) = match run {
        Some(run) => {
            reader.may(RunRead { run })?;
            (vec![run], 0)
        }
        None => every_run(&reader)?,
    };
    if removed > 0 {
        retention::accounted(&reader.database, &reader.blobs)?;
    }
    let (mut entries, mut erased) = (0, 0);
    for run in &runs {
        let check = journal::verify(&reader.database, &reader.blobs, *run)?;
        entries += check.entries;
        erased += check.erased;
    }
    let sealed = match run {
        Some(_) if checkpoint.is_none() => Vec::new(),
        _ => sealed(context, &reader, checkpoint)?,
    };
    if context.json {
        let mut found = json!({ "runs": runs.len(), "entries": entries, "erased": erased,
            "removed": removed, "checkpoint": sealed.first() });
        if sealed.len() > 1 {
            found["checkpoints"] = sealed.into();
        }
        output::json(&found);
        return Ok(Exit::Done);
    }
    output::line(format_args!(
        "{}, {}: every hash matches ({} erased)",
        count(runs.len(), "run"),
        count_of(entries, ("entry", "entries")),
        count_of(erased, ("payload was", "payloads were"))
    ));
    if removed > 0 {
        let runs = count_of(removed, ("more run was", "more runs were"));
        output::line(format_args!(
            "{runs} removed by retention, as it is on record"
        ));
    }
    for sealed in &sealed {
        let size = sealed["size"].as_u64().unwrap_or_default();
        let first = count_of(size, ("entry", "entries"));
        output::line(format_args!("the checkpoint over the first {first} holds"));
    }
    if sealed.is_empty() && run.is_none() {
        output::line("no checkpoint was made yet");
    }
    Ok(Exit::Done)
}

/// Every run that has its journal, and how many were removed.
fn every_run(reader: &Reader) -> Result<(Vec<RunId>, u64), Failure> {
    let (mut runs, mut removed, mut before) = (Vec::new(), 0, None);
    loop {
        let filter = Filter {
            before,
            ..Filter::default()
        };
        let page = reader.may(RunList {
            filter,
            limit: PAGE,
        })?;
        let rows = list(&reader.database, &page)?;
        let Some(last) = rows.last() else {
            return Ok((runs, removed));
        };
        before = Some(last.run);
        for row in rows {
            match row.removed_at {
                Some(_) => removed += 1,
                None => runs.push(row.run),
            }
        }
    }
}

/// The heads that hold: given ones, or the newest where there are any.
fn sealed(
    context: &Context,
    reader: &Reader,
    checkpoint: Option<&Path>,
) -> Result<Vec<Value>, Failure> {
    let note = checkpoint.map(text).transpose()?;
    match seal::verify(&reader.database, note.as_deref(), &keys(context, &[])?) {
        Ok(checks) => Ok(checks
            .iter()
            .map(|check| {
                json!({ "origin": check.checkpoint.origin, "size": check.checkpoint.size,
                    "root": check.checkpoint.root, "length": check.length })
            })
            .collect()),
        Err(SealError::NoCheckpoint) if note.is_none() => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}

fn checkpoint(context: &Context) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    reader.may(RunList::default())?;
    let notes = seal::newest(&reader.database)?;
    if context.json {
        let mut found = json!({ "checkpoint": notes.first() });
        if notes.len() > 1 {
            found["checkpoints"] = notes.into();
        }
        output::json(&found);
    } else {
        output::bytes(notes.join("\n").as_bytes());
    }
    Ok(Exit::Done)
}

fn prove(
    context: &Context,
    run: RunId,
    seq: Option<i64>,
    file: Option<&Path>,
) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(RunRead { run })?;
    let head = matrix_engine::runs::show(&reader.database, &reader.blobs, &request)?.head_seq;
    let proof = seal::prove(&reader.database, run, seq.unwrap_or(head))?.to_string();
    if let Some(path) = file {
        std::fs::write(path, &proof).map_err(|error| super::verify::unwritable(path, &error))?;
    }
    match file {
        Some(path) if context.json => output::json(&json!({ "proof": path })),
        Some(path) => output::line(format_args!(
            "written to {}; `{} journal check` checks it",
            path.display(),
            output::program()
        )),
        None if context.json => output::json(&json!({ "proof": proof })),
        None => output::bytes(proof.as_bytes()),
    }
    Ok(Exit::Done)
}

fn check(context: &Context, proof: &Path, key: &[std::path::PathBuf]) -> Result<Exit, Failure> {
    let proof = Proof::parse(&text(proof)?).map_err(SealError::from)?;
    let proven = seal::check(&proof, &keys(context, key)?)?;
    if context.json {
        output::json(&json!({ "proven": true, "proof": proven.to_json() }));
        return Ok(Exit::Done);
    }
    let member = |name: &str| match &proven.entry[name] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    output::line(format_args!(
        "proven: entry {} of {}: {} {} by {}",
        member("seq"),
        member("run"),
        member("kind"),
        member("path"),
        member("actor")
    ));
    output::line(format_args!(
        "it is number {} of {} in {}",
        proven.index + 1,
        proven.checkpoint.size,
        proven.checkpoint.origin
    ));
    Ok(Exit::Done)
}
