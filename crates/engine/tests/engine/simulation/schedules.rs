//! A schedule in bad weather: no time is dealt with twice, and none is passed over.

use std::time::Duration;

use matrix_core::{RunId, Timestamp};
use matrix_engine::history::{Continued, Started};
use matrix_engine::queue::Placing;
use matrix_engine::schedule::{self, CatchUp, Overlap, Schedule, ScheduleAdd};
use matrix_engine::{Engine, Entry, EntryKind};
use matrix_store::StoreError;
use matrix_store::tables::journal;
use serde_json::{Value, json};
use tokio::time::timeout;

use super::super::host::may;
use super::program;
use super::site::Site;

/// The signal that makes a schedule start a run at once.
pub(super) const FIRE: &str = "fire";

/// How late a start may be without having been missed.
const GRACE: Duration = Duration::from_mins(1);

const MINUTE: i64 = 60_000_000;

/// Somebody wants something each minute.
pub(super) async fn add(site: &Site, engine: &Engine) {
    let catch_up = match site.below(3) {
        0 => CatchUp::Skip,
        1 => CatchUp::One,
        _ => CatchUp::All,
    };
    let add = ScheduleAdd {
        name: "minute".into(),
        schedule: Schedule {
            cron: "* * * * *".into(),
            timezone: "UTC".into(),
            catch_up,
            // What has ended is a read of its own, which would not be simulated.
            overlap: Overlap::Allow,
            jitter_s: u32::try_from(site.below(3)).unwrap() * 10,
            kind: "test".into(),
            title: "each minute".into(),
            request: json!(program::write_small(site)),
        },
        placing: Placing::default(),
    };
    let add = may(add);
    let added = schedule::add(engine, &[], &add, Box::new(|_, _| Ok(())));
    let added = timeout(Duration::from_secs(20), added);
    let added = added.await.is_ok_and(|added| added.is_ok());
    site.event(format_args!("a schedule {catch_up:?}: added {added}"));
}

/// The addresses of a run's steps.
pub(super) fn steps(site: &Site, run: RunId) -> Vec<String> {
    let entries = site
        .database
        .read_now::<_, StoreError, _>(|tx| journal::list(tx, run, -1, 500))
        .unwrap();
    let ended = entries
        .into_iter()
        .filter(|entry| entry.kind == "step_completed");
    ended.map(|entry| entry.path).collect()
}

/// What a schedule did about the times of one generation.
struct Turn<'a> {
    /// Times up to this one had been dealt with.
    after: Timestamp,
    policy: CatchUp,
    jitter: Duration,
    entries: &'a [Entry],
}

/// Every turn of a schedule that is over.
pub(super) fn judge(entries: &[Entry]) -> Result<(), String> {
    let mut after: Option<Timestamp> = None;
    let starts = entries.iter().enumerate().filter_map(|(at, entry)| {
        let payload = entry.payload.clone()?;
        let started = match entry.kind {
            EntryKind::RunStarted => serde_json::from_value::<Started>(payload).ok()?,
            EntryKind::Continued => serde_json::from_value::<Continued>(payload).ok()?.started,
            _ => return None,
        };
        Some((at, started.input))
    });
    let starts: Vec<(usize, Value)> = starts.collect();
    for (number, (at, input)) in starts.iter().enumerate() {
        let next = starts.get(number + 1);
        let end = next.map_or(entries.len(), |(end, _)| *end);
        let turn = Turn::new(input, entries.get(*at..end).unwrap_or_default())?;
        if let Some(before) = after.filter(|before| *before != turn.after) {
            return Err(format!(
                "a turn that ended at {before:?} goes on at {:?}",
                turn.after
            ));
        }
        if next.is_some() {
            after = Some(turn.judge()?);
        }
    }
    Ok(())
}

impl<'a> Turn<'a> {
    fn new(input: &Value, entries: &'a [Entry]) -> Result<Self, String> {
        let of = |name: &str| input["schedule"][name].clone();
        let read = |error: serde_json::Error| error.to_string();
        Ok(Self {
            after: serde_json::from_value(input["after"].clone()).map_err(read)?,
            policy: serde_json::from_value(of("catch_up")).map_err(read)?,
            jitter: Duration::from_secs(of("jitter_s").as_u64().unwrap_or_default()),
            entries,
        })
    }

    fn recorded<T: serde::de::DeserializeOwned>(&self, path: &str) -> Option<T> {
        let mut completed = self
            .entries
            .iter()
            .filter(|entry| entry.kind == EntryKind::StepCompleted && entry.path == path);
        serde_json::from_value(completed.next()?.payload.clone()?).ok()
    }

    /// Judges it, and gives the newest time that is dealt with by it.
    fn judge(&self) -> Result<Timestamp, String> {
        let spawned = |entry: &&Entry| entry.kind == EntryKind::ChildSpawned;
        let started = self.entries.iter().filter(spawned).count();
        let Some(times) = self.recorded::<Vec<Timestamp>>("times#1") else {
            // Somebody asked for one.
            return match started {
                1 => Ok(self.after),
                _ => Err(format!("a call started {started} runs")),
            };
        };
        let micros: Vec<i64> = times.iter().map(|time| time.as_micros()).collect();
        let first = (self.after.as_micros() / MINUTE + 1) * MINUTE;
        let each = (first..).step_by(60_000_000).take(micros.len());
        if micros.is_empty() || !each.eq(micros.iter().copied()) {
            return Err(format!("after {:?} come {micros:?}", self.after));
        }
        let newest = *times.last().unwrap_or(&self.after);
        let now: Timestamp = self.recorded("now#1").ok_or("no time was looked at")?;
        let wanted = match self.policy {
            CatchUp::All => times.len(),
            CatchUp::One => 1,
            CatchUp::Skip => usize::from(now.since(newest) <= GRACE + self.jitter),
        };
        if started != wanted {
            return Err(format!(
                "for {} times {started} runs were started, {wanted} wanted",
                times.len()
            ));
        }
        Ok(newest)
    }
}
