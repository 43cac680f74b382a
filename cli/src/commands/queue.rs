//! `matrix queue`.

use matrix_core::Timestamp;
use matrix_engine::queue::{self, FOR_GOOD, QueueRead, QueueView};
use matrix_store::StoreError;
use serde_json::{Value, json};

use super::Context;
use crate::args::QueueCommand;
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

pub(super) async fn queue(context: &Context, command: QueueCommand) -> Result<Exit, Failure> {
    match command {
        QueueCommand::Show => show(context),
        QueueCommand::Pause { key, until, reason } => {
            let body = json!({ "key": key, "until": until, "reason": reason });
            say(context, "pause", &key, &body).await
        }
        QueueCommand::Resume { key } => say(context, "resume", &key, &json!({ "key": key })).await,
    }
}

/// Says something about a key.
async fn say(context: &Context, verb: &str, key: &str, body: &Value) -> Result<Exit, Failure> {
    // Whoever waits under a key that is resumed goes on behind this command.
    let door = Door::background(&context.config, &context.environment).await?;
    let answer = door.post(&format!("/api/v1/queue/{verb}"), body).await;
    door.close().await;
    let answer = answer?;
    if context.json {
        output::json(&answer);
    } else if verb == "resume" {
        output::line(format_args!("key {key} is not paused"));
    } else {
        let until = answer["until"].as_i64().map(Timestamp::from_micros);
        let until = until.map_or_else(String::new, ends);
        output::line(format_args!("key {key} is paused {until}"));
    }
    Ok(Exit::Done)
}

/// The end of a pause, in words.
fn ends(until: Timestamp) -> String {
    if until >= FOR_GOOD {
        "until it is resumed".into()
    } else {
        format!("until {until}")
    }
}

fn show(context: &Context) -> Result<Exit, Failure> {
    let reader = Reader::open(&context.config)?;
    let request = reader.may(QueueRead)?;
    let (scheduling, now) = (&context.config.scheduling, context.clock.now());
    let view = queue::show(&reader.database, scheduling, &request, now)?;
    if context.json {
        output::json(&serde_json::to_value(&view).map_err(StoreError::corrupt)?);
    } else {
        print(&view);
    }
    Ok(Exit::Done)
}

fn print(view: &QueueView) {
    let cells: Vec<Vec<String>> = view
        .lanes
        .iter()
        .map(|lane| {
            let most = lane.concurrency.map_or("-".into(), |most| most.to_string());
            let depths = lane.depths.iter();
            let depths: Vec<_> = depths
                .map(|depth| format!("{}:{}", depth.priority, depth.ready))
                .collect();
            vec![
                lane.lane.clone(),
                lane.running.to_string(),
                most,
                lane.ready.to_string(),
                depths.join(" "),
            ]
        })
        .collect();
    output::table(&["lane", "running", "most", "ready", "by priority"], &cells);
    for lane in &view.lanes {
        for run in &lane.holders {
            output::line(format_args!("{run} runs in {}", lane.lane));
        }
    }
    for paused in &view.paused {
        output::line(format_args!(
            "key {} is paused {}: {}",
            paused.key,
            ends(paused.until),
            paused.because
        ));
    }
}
