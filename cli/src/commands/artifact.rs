//! `matrix artifact`.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use matrix_changes::service::{ArtifactRead, artifact as get, artifacts};
use matrix_core::{Code, Problem};
use serde_json::json;

use super::Context;
use crate::args::ArtifactCommand;
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

/// A file that was named cannot be written.
const UNWRITABLE: Code = Code::new("CLI-0006", 500, 1, "file cannot be written");

pub(super) async fn artifact(context: &Context, command: ArtifactCommand) -> Result<Exit, Failure> {
    if let ArtifactCommand::Prune { dry_run } = command {
        return prune(context, dry_run).await;
    }
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
            let (row, bytes) = get(&reader.database, &reader.blobs, &request, &name)?;
            if let Some(path) = &file {
                std::fs::write(path, &bytes).map_err(|error| {
                    let text = format!("{} cannot be written: {error}", path.display());
                    Problem::new(UNWRITABLE, text).help("name another file with --output")
                })?;
            }
            if context.json {
                // Bytes have no JSON form, so without a file they come in base 64.
                let content = file.is_none().then(|| STANDARD.encode(&bytes));
                output::json(&json!({ "run": run, "name": row.name, "digest": row.digest,
                    "size": row.size, "media_type": row.media_type,
                    "file": file.as_deref().map(Path::to_string_lossy),
                    "content_base64": content }));
            } else if file.is_none() {
                output::bytes(&bytes);
            }
        }
        ArtifactCommand::Prune { .. } => {}
    }
    Ok(Exit::Done)
}

/// A directory that is not there has nothing to remove, and none is made for that.
async fn prune(context: &Context, dry_run: bool) -> Result<Exit, Failure> {
    drop(Reader::open(&context.config)?);
    let door = Door::open(&context.config, &context.environment).await?;
    let asked = door
        .post("/api/v1/artifacts/prune", &json!({ "dry_run": dry_run }))
        .await;
    door.close().await;
    let pruned = asked?;
    if context.json {
        output::json(&pruned);
        return Ok(Exit::Done);
    }
    let number = |key: &str| pruned[key].as_u64().unwrap_or(0);
    let verb = if dry_run { "would go" } else { "removed" };
    output::line(format_args!(
        "{verb}: artifacts {}, of changes {}; blobs {}, {} bytes",
        number("artifacts"),
        number("changes"),
        number("blobs"),
        number("bytes"),
    ));
    Ok(Exit::Done)
}
