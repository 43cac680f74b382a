//! `matrix queue`.

use matrix_engine::queue::{self, QueueRead, QueueView};
use matrix_engine::runs::{Blocked, InQueue};
use matrix_store::StoreError;

use super::Context;
use crate::args::QueueCommand;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::Reader;

pub(super) fn queue(context: &Context, command: &QueueCommand) -> Result<Exit, Failure> {
    let QueueCommand::Show = command;
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
            "key {} is paused until {}: {}",
            paused.key, paused.until, paused.because
        ));
    }
}

/// What `run why` says of a run in the queue.
pub(super) fn lines(place: &InQueue) -> Vec<String> {
    let since = place.since;
    let mut lines: Vec<String> = place.blocked.iter().map(|one| reason(one, since)).collect();
    if lines.is_empty() {
        lines.push(format!("waiting for a worker since {since}"));
    }
    let InQueue {
        lane,
        priority,
        ahead,
        ..
    } = place;
    lines.push(format!(
        "lane {lane}, priority {priority}; {ahead} come before it"
    ));
    lines
}

fn reason(blocked: &Blocked, since: matrix_core::Timestamp) -> String {
    let Blocked {
        what,
        name,
        because,
        until,
        holders,
    } = blocked;
    let until = until.map_or(String::new(), |until| format!(", until {until}"));
    let holders: Vec<_> = holders.iter().map(ToString::to_string).collect();
    let holders = if holders.is_empty() {
        String::new()
    } else {
        format!(", holder {}", holders.join(", "))
    };
    format!("waiting for {what} {name} since {since} because {because}{until}{holders}")
}
