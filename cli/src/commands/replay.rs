//! `matrix run replay`.

use std::sync::Arc;

use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Authorizer, Clock, Entropy, RunId};
use matrix_engine::Journal;
use matrix_engine::runs::{self, Replay, ReplayVerdict, RunRead};
use matrix_store::StoreError;

use super::Context;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::functions;
use crate::models::gateway;
use crate::output;
use crate::reader::Reader;

/// Reads the data directory and changes nothing in it, whoever is its host.
pub(super) async fn replay(context: &Context, run: RunId) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(RunRead { run })?;
    let workshop = reader
        .workshop(&context.config, &context.environment)
        .await?;
    let (clock, entropy): (Arc<dyn Clock>, Arc<dyn Entropy>) =
        (Arc::new(SystemClock::start()), Arc::new(SystemEntropy));
    let authorizer: Arc<dyn Authorizer> = Arc::new(reader.authority);
    let means = (&reader.database, &clock, &entropy);
    let asking = (&authorizer, None);
    let models = gateway(
        &context.config,
        &context.environment,
        means,
        asking,
        "replay",
    )?;
    // A replay starts nothing, and asks no model.
    let functions = functions(&workshop, Vec::new(), models);
    let journal = Journal::new(
        reader.database.clone(),
        reader.blobs.clone(),
        clock,
        entropy,
    );
    let find = |kind: &str, version: &str| {
        let mut known = functions.iter();
        known
            .find(|function| function.kind() == kind && function.version() == version)
            .cloned()
    };
    let replay = runs::replay(&journal, &request, find).await?;
    let exit = match &replay.verdict {
        ReplayVerdict::Same { .. } | ReplayVerdict::SoFar { .. } => Exit::Done,
        ReplayVerdict::Differs { .. } => Exit::Failed,
    };
    if context.json {
        output::json(&serde_json::to_value(&replay).map_err(StoreError::corrupt)?);
    } else {
        print(&replay);
    }
    Ok(exit)
}

fn print(replay: &Replay) {
    let Replay {
        run,
        entries,
        answered,
        ..
    } = replay;
    output::line(format_args!(
        "{run}: {entries} entries, chain intact; the journal answered {answered} steps"
    ));
    for path in &replay.unasked {
        output::line(format_args!("not asked for: {path}"));
    }
    match &replay.verdict {
        ReplayVerdict::Same { result } => {
            output::line(format_args!("the same end (sha256 {result})"));
        }
        ReplayVerdict::SoFar { next } => {
            output::line(format_args!("as far as the journal goes; next is {next}"));
        }
        ReplayVerdict::Differs { recorded, now } => {
            output::line(format_args!("DIFFERS: recorded {recorded}, now {now}"));
        }
    }
}
