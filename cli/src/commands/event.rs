//! `matrix event`.

use std::time::Duration;

use matrix_core::Authorised;
use matrix_engine::events::{
    self, Event, EventError, EventFilter, EventPage, EventRead, Events, StartAt, SubscriptionView,
    TopicPattern,
};
use serde_json::{Value, json};

use super::{Context, Signals};
use crate::args::{EventCommand, EventFilterArgs, SubscribeArgs};
use crate::door::Door;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output;
use crate::reader::{self, Reader};

/// How often new events are looked for.
const INTERVAL: Duration = Duration::from_millis(100);

/// How many events are read at once.
const PAGE: u32 = 500;

pub(super) async fn event(context: &Context, command: EventCommand) -> Result<Exit, Failure> {
    match command {
        EventCommand::List {
            filter,
            after,
            limit,
        } => list(context, &filter, &after, limit),
        EventCommand::Watch {
            filter,
            after,
            count,
        } => watch(context, &filter, after, count).await,
        EventCommand::Subscribe(arguments) => subscribe(context, &arguments).await,
        EventCommand::Subscriptions => subscriptions(context),
        EventCommand::Show { name } => show(context, &name),
        EventCommand::Remove { name } => {
            let address = format!("/api/v1/events/subscriptions/{name}/remove");
            let answer = ask(context, &address, &json!({})).await?;
            if context.json {
                output::json(&answer);
            } else {
                output::line(format_args!("{name} is removed"));
            }
            Ok(Exit::Done)
        }
        EventCommand::Reset { name, after } => {
            let address = format!("/api/v1/events/subscriptions/{name}/reset");
            let answer = ask(context, &address, &json!({ "after": text(&after) })).await?;
            if context.json {
                output::json(&answer);
            } else {
                let cursor = answer.get("cursor").and_then(Value::as_str);
                let cursor = cursor.unwrap_or_default();
                output::line(format_args!("{name} goes on behind {cursor}"));
            }
            Ok(Exit::Done)
        }
    }
}

/// A place as the API takes it.
fn text(place: &StartAt) -> String {
    match place {
        StartAt::Beginning => "beginning".into(),
        StartAt::Now => "now".into(),
        StartAt::After(cursor) => cursor.to_string(),
    }
}

async fn ask(context: &Context, address: &str, body: &Value) -> Result<Value, Failure> {
    // A data directory that is not there is no reason to make one.
    drop(Reader::open(&context.config)?);
    let door = Door::open(&context.config, &context.environment).await?;
    let answer = door.post(address, body).await;
    door.close().await;
    answer
}

fn opened(
    context: &Context,
    filter: &EventFilterArgs,
) -> Result<(Events, Authorised<EventRead>), Failure> {
    let reader = Reader::open(&context.config)?;
    let action = EventRead {
        filter: EventFilter {
            topics: filter.topic.clone(),
            run: filter.run,
            kind: filter.kind.clone().unwrap_or_default(),
        },
        payloads: filter.payloads,
    };
    let request = reader.may(action)?;
    Ok((reader::events(&reader.database, &reader.blobs), request))
}

fn list(
    context: &Context,
    filter: &EventFilterArgs,
    after: &StartAt,
    limit: u32,
) -> Result<Exit, Failure> {
    let (source, request) = opened(context, filter)?;
    let mut found = Vec::new();
    let mut from = after.clone();
    let (next, more) = loop {
        let room = limit - u32::try_from(found.len()).unwrap_or(limit);
        let page = events::page(&source, &request, &from, room)?;
        found.extend(page.events.into_iter().map(|(event, _)| event));
        let full = found.len() >= usize::try_from(limit).unwrap_or(usize::MAX);
        if full || !page.more {
            break (page.next, page.more);
        }
        from = StartAt::After(page.next);
    };
    if context.json {
        output::json(&json!({ "events": found, "next": next, "more": more }));
        return Ok(Exit::Done);
    }
    found.iter().for_each(print);
    if more {
        output::note(format_args!("there are more: --after {next}"));
    }
    Ok(Exit::Done)
}

/// Shows events as they come, until as many were shown as are wanted or a signal comes.
async fn watch(
    context: &Context,
    filter: &EventFilterArgs,
    after: StartAt,
    count: Option<u64>,
) -> Result<Exit, Failure> {
    let (source, request) = opened(context, filter)?;
    let mut signals = Signals::listen();
    let (mut from, mut left) = (after, count.unwrap_or(u64::MAX));
    loop {
        let EventPage { events, next, more } = events::page(&source, &request, &from, PAGE)?;
        for (event, _) in events {
            if left == 0 {
                break;
            }
            left -= 1;
            if context.json {
                output::json(&event);
            } else {
                print(&event);
            }
        }
        if left == 0 {
            return Ok(Exit::Done);
        }
        from = StartAt::After(next);
        if more {
            continue;
        }
        tokio::select! {
            signal = signals.any() => {
                if let StartAt::After(next) = from {
                    output::note(format_args!("{signal}: go on with --after {next}"));
                }
                return Ok(Exit::Interrupted);
            }
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

fn print(event: &Event) {
    let topics = event.topics.join(",");
    output::line(format_args!(
        "{:>8} {} {} {topics} {}",
        event.id, event.at, event.run, event.path
    ));
    if let Some(payload) = &event.payload {
        output::line(format_args!("         {payload}"));
    }
    if let Some(why) = &event.withheld {
        output::line(format_args!("         the payload is withheld: {why}"));
    }
}

async fn subscribe(context: &Context, arguments: &SubscribeArgs) -> Result<Exit, Failure> {
    let topics: Vec<TopicPattern> = arguments.filter.topic.clone();
    let topics = if topics.is_empty() {
        vec!["*".parse().map_err(EventError::from)?]
    } else {
        topics
    };
    let body = json!({
        "name": arguments.name, "topics": topics, "run": arguments.filter.run,
        "kind": arguments.filter.kind, "payloads": arguments.filter.payloads,
        "to": arguments.to, "after": text(&arguments.after),
    });
    let answer = ask(context, "/api/v1/events/subscriptions", &body).await?;
    if context.json {
        output::json(&answer);
        return Ok(Exit::Done);
    }
    let part = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default();
    output::line(format_args!(
        "{} is sent to {} from behind {}",
        part("name"),
        part("to"),
        part("cursor")
    ));
    Ok(Exit::Done)
}

fn subscriptions(context: &Context) -> Result<Exit, Failure> {
    let (source, request) = opened(context, &EventFilterArgs::default())?;
    let found = events::list(&source, &request)?;
    if context.json {
        output::json(&json!({ "subscriptions": found }));
        return Ok(Exit::Done);
    }
    let cells: Vec<Vec<String>> = found
        .iter()
        .map(|view| {
            vec![
                view.name.clone(),
                state(view).to_owned(),
                view.lag.to_string(),
                view.delivered.to_string(),
                patterns(view),
                view.to.clone(),
            ]
        })
        .collect();
    output::table(
        &["name", "state", "lag", "delivered", "topics", "to"],
        &cells,
    );
    Ok(Exit::Done)
}

fn patterns(view: &SubscriptionView) -> String {
    let patterns: Vec<&str> = view.topics.iter().map(TopicPattern::as_str).collect();
    patterns.join(",")
}

fn state(view: &SubscriptionView) -> &'static str {
    match view.state {
        events::SubscriptionState::CaughtUp => "caught up",
        events::SubscriptionState::Sending => "sending",
        events::SubscriptionState::Retrying => "retrying",
        events::SubscriptionState::Unowned => "no host sends",
    }
}

fn show(context: &Context, name: &str) -> Result<Exit, Failure> {
    let (source, request) = opened(context, &EventFilterArgs::default())?;
    let view = events::show(&source, &request, name)?;
    if context.json {
        output::json(&view);
        return Ok(Exit::Done);
    }
    output::line(format_args!("{} to {}", view.name, view.to));
    let payloads = if view.payloads { ", with payloads" } else { "" };
    output::line(format_args!("topics {}{payloads}", patterns(&view)));
    if let Some(run) = view.run {
        output::line(format_args!("only {run}"));
    }
    if !view.kind.is_empty() {
        output::line(format_args!("only runs of the kind {}", view.kind));
    }
    output::line(format_args!(
        "{}, {} behind, at {}",
        state(&view),
        view.lag,
        view.cursor
    ));
    let last = view.delivered_at;
    let last = last.map(|at| format!(", the newest {at}"));
    output::line(format_args!(
        "{} delivered{}",
        view.delivered,
        last.unwrap_or_default()
    ));
    if let (Some(error), Some(at)) = (&view.error, view.failed_at) {
        output::line(format_args!(
            "{} in a row failed, the last {at}: {error}",
            view.failures
        ));
    }
    Ok(Exit::Done)
}
