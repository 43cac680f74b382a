//! What a change published.

use matrix_core::{Action, Authorised, RunId};
use matrix_store::tables::releases::{self, ArtifactRow};
use matrix_store::tables::runs;
use matrix_store::{Blobs, Database, StoreError};
use serde_json::{Value, json};

use crate::error::ChangeError;

/// Reads what a change published.
#[derive(Debug, Clone)]
pub struct ArtifactRead {
    /// The change.
    pub run: RunId,
}

impl Action for ArtifactRead {
    const NAME: &'static str = "artifact_read";

    fn facts(&self) -> Value {
        json!({ "run": self.run })
    }
}

/// The artifacts of a change, by name.
pub fn artifacts(
    database: &Database,
    request: &Authorised<ArtifactRead>,
) -> Result<Vec<ArtifactRow>, ChangeError> {
    let (run, scope) = (request.action().run, &request.caller().scope);
    let found = database.read_now::<_, StoreError, _>(|tx| {
        let known = runs::get(tx, run)?.filter(|row| row.scope == *scope);
        known.map(|_| releases::artifacts(tx, run)).transpose()
    })?;
    found.ok_or_else(|| ChangeError::NotAChange(run.to_string()))
}

/// One artifact with its bytes.
pub fn artifact(
    database: &Database,
    blobs: &Blobs,
    request: &Authorised<ArtifactRead>,
    name: &str,
) -> Result<(ArtifactRow, Vec<u8>), ChangeError> {
    let missing = || ChangeError::NoArtifact {
        run: request.action().run.to_string(),
        name: name.to_owned(),
    };
    let row = artifacts(database, request)?
        .into_iter()
        .find(|row| row.name == name)
        .ok_or_else(missing)?;
    let bytes = blobs.get(&row.digest)?.ok_or_else(missing)?;
    Ok((row, bytes))
}
