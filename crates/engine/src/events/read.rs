//! The caller's events behind a cursor.

use matrix_core::{Action, Authorised, RunId, Scope};
use matrix_store::tables::events::{self, EventRow, Window};
use matrix_store::{StoreError, Tx};
use serde_json::{Value, json};

use super::Events;
use super::cursor::{Cursor, StartAt};
use super::error::EventError;
use super::event::Event;
use super::topic::TopicPattern;

/// The most events of one page.
pub const EVENTS_MAX: u32 = 1_000;

/// How many positions of a shard one page looks through: those of other tenants, and those that
/// nobody asked for, are passed over in pieces of this size.
const WINDOW: i64 = 5_000;

/// Which events; as it is made, all.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EventFilter {
    /// Only events with a topic that one of these means; all if there are none.
    pub topics: Vec<TopicPattern>,
    /// Only events of this run.
    pub run: Option<RunId>,
    /// Only events of runs of this kind; empty for all.
    pub kind: String,
}

/// Reads events.
#[derive(Debug, Clone, Default)]
pub struct EventRead {
    /// Which.
    pub filter: EventFilter,
    /// With their payloads.
    pub payloads: bool,
}

impl Action for EventRead {
    const NAME: &'static str = "event_read";

    fn facts(&self) -> Value {
        json!({ "payloads": self.payloads })
    }
}

/// A page of events, each shard's in the order of commits.
#[derive(Debug, Clone, PartialEq)]
pub struct EventPage {
    /// The events, each with the place behind it.
    pub events: Vec<(Event, Cursor)>,
    /// Where the next page begins. It may be further than the last event.
    pub next: Cursor,
    /// Whether there was more to look at.
    pub more: bool,
}

impl Events {
    /// The cursor of a place to begin.
    pub(super) fn start(&self, tx: &Tx<'_>, from: &StartAt) -> Result<Cursor, StoreError> {
        let _ = self;
        match from {
            StartAt::Beginning => Ok(Cursor::beginning()),
            StartAt::After(cursor) => Ok(cursor.clone()),
            StartAt::Now => {
                let mut cursor = Cursor::beginning();
                for (shard, newest) in events::shards(tx)? {
                    cursor.advance(shard, newest);
                }
                Ok(cursor)
            }
        }
    }
}

/// The caller's events behind a place, at most `limit` and never more than [`EVENTS_MAX`]. A page may
/// be empty although there is more.
pub fn page(
    events: &Events,
    request: &Authorised<EventRead>,
    from: &StartAt,
    limit: u32,
) -> Result<EventPage, EventError> {
    let EventRead { filter, payloads } = request.action();
    let scope = &request.caller().scope;
    let limit = usize::try_from(limit.clamp(1, EVENTS_MAX)).unwrap_or(usize::MAX);
    let found = events.database.read_now::<_, StoreError, _>(|tx| {
        let start = events.start(tx, from)?;
        look(tx, events, (scope, filter), start, limit)
    })?;
    let told = found.rows.into_iter().map(|(row, topics, behind)| {
        let event = events.event(row, topics, scope, *payloads)?;
        Ok((event, behind))
    });
    Ok(EventPage {
        events: told.collect::<Result<_, StoreError>>()?,
        next: found.next,
        more: found.more,
    })
}

struct Found {
    rows: Vec<(EventRow, Vec<String>, Cursor)>,
    next: Cursor,
    more: bool,
}

/// Looks through the next piece of every shard, all in one view. No shard takes the others' part of
/// the page.
fn look(
    tx: &Tx<'_>,
    events: &Events,
    (scope, filter): (&Scope, &EventFilter),
    start: Cursor,
    limit: usize,
) -> Result<Found, StoreError> {
    let behind: Vec<(i64, i64)> = events::shards(tx)?
        .into_iter()
        .filter(|(shard, newest)| *newest > start.position(*shard))
        .collect();
    let part = limit.div_ceil(behind.len().max(1));
    let mut found = Found {
        rows: Vec::new(),
        next: start,
        more: false,
    };
    for (shard, newest) in behind {
        let room = part.min(limit - found.rows.len());
        let after = found.next.position(shard);
        let until = newest.min(after + WINDOW);
        let end = if room == 0 {
            after
        } else {
            look_at(
                tx,
                events,
                (scope, filter),
                (shard, after, until),
                room,
                &mut found,
            )?
        };
        found.more |= end < newest;
    }
    Ok(found)
}

/// Looks through a piece of a shard, and says how far it came.
fn look_at(
    tx: &Tx<'_>,
    events: &Events,
    (scope, filter): (&Scope, &EventFilter),
    (shard, after, until): (i64, i64, i64),
    room: usize,
    found: &mut Found,
) -> Result<i64, StoreError> {
    let mut window = Window {
        shard,
        after,
        until,
        run: filter.run,
        kind: filter.kind.clone(),
    };
    let page = i64::from(EVENTS_MAX);
    let mut room = room;
    loop {
        let rows = events::list(tx, scope, &window, page)?;
        let is_last = rows.len() < usize::try_from(page).unwrap_or(usize::MAX);
        for row in rows {
            window.after = row.lsn;
            let topics = events.topics(&row);
            if filter.means(&topics) {
                found.next.advance(shard, row.lsn);
                found.rows.push((row, topics, found.next.clone()));
                room -= 1;
                if room == 0 {
                    return Ok(window.after);
                }
            }
        }
        if is_last {
            found.next.advance(shard, until);
            return Ok(until);
        }
    }
}

impl EventFilter {
    fn means(&self, topics: &[String]) -> bool {
        self.topics.is_empty()
            || self
                .topics
                .iter()
                .any(|pattern| topics.iter().any(|topic| pattern.matches(topic)))
    }
}
