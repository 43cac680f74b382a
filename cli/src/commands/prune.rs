//! `matrix run prune`, `run hold` and `run unhold`: which runs stay.

use matrix_core::{Problem, RunId};
use matrix_engine::retention::{Counted, Kept, Reason, RunPrune, rehearse};
use serde_json::{Value, json};

use super::Context;
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::host::retention_of;
use crate::output;
use crate::reader::Reader;
use crate::watch::{BEGINNING, count_of, row};

pub(super) async fn prune(context: &Context, dry_run: bool) -> Result<Exit, Failure> {
    // A directory that is not there has nothing to remove, and none is made for that.
    let reader = Reader::open(&context.config)?;
    if dry_run {
        let keeping = retention_of(&context.config).keeping();
        let (request, now) = (reader.may(RunPrune)?, context.clock.now());
        let (going, kept) = rehearse(&reader.database, now, &request, keeping)?;
        tell(context, going, &kept);
        return Ok(Exit::Done);
    }
    let door = Door::open(&context.config, &context.environment).await?;
    let begun = match door.post("/api/v1/runs/prune", &json!({})).await {
        Ok(begun) => begun,
        Err(failure) => {
            door.close().await;
            return Err(failure);
        }
    };
    let run = begun.get("run").and_then(Value::as_str).unwrap_or_default();
    let run: RunId = run.parse().map_err(|_| {
        let text = "the host gave no run".to_owned();
        Problem::new(matrix_server::problem::UNREACHABLE, text)
    })?;
    context.see_through(door, run, BEGINNING).await
}

fn tell(context: &Context, going: Counted, kept: &Kept) {
    if context.json {
        let kept: Vec<Value> = kept
            .iter()
            .map(|(reason, runs)| json!({ "because": reason.as_str(), "runs": runs }))
            .collect();
        output::json(&json!({ "runs": going.runs, "entries": going.entries, "kept": kept }));
        return;
    }
    output::line(format_args!(
        "would go: {} with {}",
        count_of(going.runs, ("run", "runs")),
        count_of(going.entries, ("entry", "entries")),
    ));
    for (reason, runs) in kept {
        let runs = count_of(*runs, ("run", "runs"));
        output::line(format_args!("stays: {runs}, {}", because(*reason)));
    }
}

/// Why runs stay, in words.
fn because(reason: Reason) -> &'static str {
    match reason {
        Reason::Unfinished => "not ended",
        Reason::Young => "ended too late",
        Reason::Record => "on record for what they removed",
        Reason::Held => "held",
        Reason::Forked => "whose entries a fork shares",
        Reason::Parent => "whose child goes on",
        Reason::Deployed => "deployed, or the ones to go back to",
        Reason::Released => "with a release that is kept",
        Reason::Unsealed => "not under a checkpoint yet",
    }
}

pub(super) async fn hold(
    context: &Context,
    run: RunId,
    reason: Option<&str>,
) -> Result<Exit, Failure> {
    // A run that is not there is no reason to become host.
    row(&Reader::open(&context.config)?, run)?;
    let door = Door::open(&context.config, &context.environment).await?;
    let path = format!("/api/v1/runs/{run}/hold");
    let answer = match reason {
        Some(reason) => door.post(&path, &json!({ "reason": reason })).await,
        None => door.delete(&path).await,
    };
    door.close().await;
    let answer = answer?;
    if context.json {
        output::json(&answer);
    } else if reason.is_some() {
        output::line(format_args!("{run} is held"));
    } else {
        output::line(format_args!("{run} is not held"));
    }
    Ok(Exit::Done)
}
