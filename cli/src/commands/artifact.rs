//! `matrix artifact`.

use matrix_changes::service::{ArtifactRead, artifact as get, artifacts};
use matrix_core::Problem;
use serde_json::json;

use super::Context;
use crate::args::ArtifactCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

pub(super) fn artifact(context: &Context, command: ArtifactCommand) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    match command {
        ArtifactCommand::List { run } => {
            let rows = artifacts(&reader.database, &reader.may(ArtifactRead { run })?)?;
            if context.json {
                let list: Vec<_> = rows
                    .iter()
                    .map(|row| {
                        json!({ "name": row.name, "digest": row.digest, "size": row.size,
                            "media_type": row.media_type })
                    })
                    .collect();
                output::json(&json!({ "run": run, "artifacts": list }));
            } else {
                let cells: Vec<_> = rows
                    .iter()
                    .map(|row| {
                        vec![
                            row.name.clone(),
                            row.size.to_string(),
                            row.digest.to_string(),
                        ]
                    })
                    .collect();
                output::table(&["name", "bytes", "sha-256"], &cells);
            }
        }
        ArtifactCommand::Get {
            run,
            name,
            output: file,
        } => {
            let request = reader.may(ArtifactRead { run })?;
            let (_, bytes) = get(&reader.database, &reader.blobs, &request, &name)?;
            match file {
                Some(path) => std::fs::write(&path, &bytes).map_err(|error| {
                    let text = format!("{} cannot be written: {error}", path.display());
                    Problem::new(super::change::UNREADABLE, text)
                })?,
                None => output::bytes(&bytes),
            }
        }
    }
    Ok(Exit::Done)
}
