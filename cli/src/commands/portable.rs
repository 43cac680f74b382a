//! `matrix run export` and `matrix run open`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use matrix_changes::verify::secrets_in;
use matrix_core::RunId;
use matrix_engine::runfile::{self, RunFile, RunFileError};
use matrix_engine::runs::RunRead;
use matrix_engine::seal;
use matrix_store::StoreError;
use serde_json::json;

use super::Context;
use super::run::{print_entries, print_view};
use super::verify::{keys, unreadable, unwritable};
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;
use crate::watch::count_of;

pub(super) fn export(context: &Context, run: RunId, file: Option<&Path>) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(RunRead { run })?;
    let write = |to: &mut dyn Write| {
        let mut to = BufWriter::new(to);
        runfile::export(
            &reader.database,
            &reader.blobs,
            &request,
            secrets_in,
            &mut to,
        )
    };
    let Some(path) = file else {
        write(&mut std::io::stdout().lock())?;
        return Ok(Exit::Done);
    };
    // Whole or not at all: what was there before stays until the new one is written.
    let folder = path
        .parent()
        .filter(|folder| !folder.as_os_str().is_empty());
    let mut part = tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new(".")))
        .map_err(|error| unwritable(path, &error))?;
    let exported = write(part.as_file_mut())?;
    part.persist(path)
        .map_err(|error| unwritable(path, &error.error))?;
    if context.json {
        output::json(
            &json!({ "file": path, "run": run, "entries": exported.entries,
            "redacted": exported.redacted, "proven": exported.proven }),
        );
        return Ok(Exit::Done);
    }
    output::line(format_args!(
        "{} written to {}; {} {}",
        count_of(exported.entries, ("entry", "entries")),
        path.display(),
        count_of(exported.redacted, ("payload", "payloads")),
        "left out because of secrets",
    ));
    if !exported.proven {
        output::line("no signed checkpoint covers its newest entry yet, so it carries no proof");
    }
    Ok(Exit::Done)
}

pub(super) fn open(
    context: &Context,
    path: &Path,
    with_journal: bool,
    key: &[PathBuf],
) -> Result<Exit, Failure> {
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let opened = runfile::open(BufReader::new(file))?;
    let origin = proven(context, &opened, key)?;
    if context.json {
        let mut value = serde_json::to_value(&opened.view).map_err(StoreError::corrupt)?;
        value["proven"] = json!(origin);
        value["redacted"] = json!(
            opened
                .redacted
                .iter()
                .map(|(seq, reasons)| json!({ "seq": seq, "because": reasons }))
                .collect::<Vec<_>>()
        );
        if with_journal {
            value["journal"] = json!(opened.entries);
        }
        output::json(&value);
        return Ok(Exit::Done);
    }
    print_view(&opened.view);
    if with_journal {
        print_entries(&opened.entries);
    }
    output::line(format_args!(
        "chain intact: {}",
        count_of(opened.entries.len() as u64, ("entry", "entries"))
    ));
    for (seq, reasons) in &opened.redacted {
        let because = if reasons.is_empty() {
            "left out or erased".to_owned()
        } else {
            reasons.join(", ")
        };
        output::line(format_args!(
            "entry {seq} is without its payload: {because}"
        ));
    }
    match origin {
        Some(origin) => output::line(format_args!("proven: signed in {origin}")),
        None => output::line("not proven: no trusted key, or no proof in the file"),
    }
    Ok(Exit::Done)
}

/// Whose journal the run is from, where a trusted key says so. A key that was named must fit.
fn proven(context: &Context, file: &RunFile, key: &[PathBuf]) -> Result<Option<String>, Failure> {
    let trusted = keys(context, key)?;
    let proof = match &file.proof {
        Some(proof) if !trusted.is_empty() => proof,
        _ if key.is_empty() => return Ok(None),
        _ => return Err(RunFileError::Unproven.into()),
    };
    match seal::check(proof, &trusted) {
        Ok(proven) if file.is_covered(&proven) => Ok(Some(proven.checkpoint.origin)),
        Ok(_) => Err(RunFileError::Unproven.into()),
        Err(_) if key.is_empty() => Ok(None),
        Err(error) => Err(error.into()),
    }
}
