//! `matrix signing-key`.

use matrix_changes::signing::Keyring;
use serde_json::json;

use super::Context;
use crate::args::SigningKeyCommand;
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::{output, reader};

pub(super) async fn signing_key(
    context: &Context,
    command: &SigningKeyCommand,
) -> Result<Exit, Failure> {
    if matches!(command, SigningKeyCommand::Rotate) {
        let door = Door::open(&context.config, &context.environment).await?;
        let rotated = door.post("/api/v1/signing-keys/rotate", &json!({})).await;
        door.close().await;
        rotated?;
    }
    let keys = Keyring::at(reader::layout(&context.config).keys()).public_keys()?;
    if context.json {
        let list: Vec<_> = keys
            .iter()
            .map(|file| {
                json!({ "key": file.key.key_id().to_string(), "path": file.path.to_string_lossy(),
                    "current": file.current })
            })
            .collect();
        output::json(&json!({ "keys": list }));
        return Ok(Exit::Done);
    }
    let cells: Vec<_> = keys
        .iter()
        .map(|file| {
            let state = if file.current { "signs" } else { "verifies" };
            vec![
                file.key.key_id().to_string(),
                state.into(),
                file.path.display().to_string(),
            ]
        })
        .collect();
    output::table(&["key", "state", "public key"], &cells);
    Ok(Exit::Done)
}
