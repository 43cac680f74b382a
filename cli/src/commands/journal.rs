//! `matrix journal`.

use matrix_engine::journal;
use matrix_engine::runs::{RunList, RunRead, list};
use serde_json::json;

use super::Context;
use crate::args::JournalCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

/// How many runs are read at once.
const PAGE: u32 = 500;

pub(super) fn journal(context: &Context, command: &JournalCommand) -> Result<Exit, Failure> {
    let JournalCommand::Verify { run } = command;
    let reader = Reader::open(&context.config)?;
    let mut runs = Vec::new();
    if let Some(run) = run {
        reader.may(RunRead { run: *run })?;
        runs.push(*run);
    } else {
        let mut before = None;
        loop {
            let page = reader.may(RunList {
                before,
                kind: String::new(),
                limit: PAGE,
            })?;
            let rows = list(&reader.database, &page)?;
            before = rows.last().map(|row| row.run);
            if rows.is_empty() {
                break;
            }
            runs.extend(rows.into_iter().map(|row| row.run));
        }
    }
    let (mut entries, mut erased) = (0, 0);
    for run in &runs {
        let check = journal::verify(&reader.database, &reader.blobs, *run)?;
        entries += check.entries;
        erased += check.erased;
    }
    if context.json {
        output::json(&json!({ "runs": runs.len(), "entries": entries, "erased": erased }));
    } else {
        output::line(format_args!(
            "{} runs, {entries} entries: every hash matches ({erased} payloads were erased)",
            runs.len()
        ));
    }
    Ok(Exit::Done)
}
