//! `matrix artifact`.

use matrix_changes::service::{ArtifactRead, artifact as get, artifacts};
use matrix_core::Problem;
use serde_json::json;

use super::Context;
use crate::args::ArtifactCommand;
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

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
            let (_, bytes) = get(&reader.database, &reader.blobs, &request, &name)?;
            match file {
                Some(path) => std::fs::write(&path, &bytes).map_err(|error| {
                    let text = format!("{} cannot be written: {error}", path.display());
                    Problem::new(super::change::UNREADABLE, text)
                })?,
                None => output::bytes(&bytes),
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
