//! Following a run through its journal, which is read and never asked for: it works beside a host,
//! through a hand-over, and after a crash.

use std::collections::BTreeMap;
use std::time::Duration;

use matrix_changes::view::stage_of;
use matrix_core::{Clock, Problem, RunId, Timestamp};
use matrix_engine::EntryKind;
use matrix_engine::entry::Entry;
use matrix_engine::journal;
use matrix_engine::runs::{RunRead, steps_under_way};
use matrix_engine::worker::is_terminal;
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, RunRow};
use serde_json::Value;

use crate::place::is_hosted;
use crate::reader::Reader;
use crate::{agents, output};

/// How often the journal is read.
const INTERVAL: Duration = Duration::from_millis(40);

/// After so many rounds it is looked whether there is a host at all.
const HOST_CHECK: u32 = 12;

/// How often in succession there must be none: hosts hand over to each other.
const HOSTLESS: u32 = 2;

/// How following ended.
#[derive(Debug)]
pub(crate) enum Followed {
    /// The run ended, waits or rests.
    Settled(RunRow),
    /// Nobody drives the run any more.
    Unhosted(RunRow),
}

/// Whether lines of progress are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Show {
    /// Each step as it happens.
    Progress,
    /// Nothing.
    Nothing,
}

/// What a run may wait for without that being the end of following it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Through {
    /// Nothing.
    NoWait,
    /// A worker outside, for which a server is there.
    Workers,
}

impl Through {
    /// Whether nothing more comes of a run without somebody from outside. A run that waits for one that
    /// it started rests as that one does.
    fn rests(self, reader: &Reader, row: &RunRow) -> Result<bool, Problem> {
        if matches!(&*row.state, "ready" | "running") {
            return Ok(false);
        }
        let waiting = row.waiting.as_deref().filter(|_| row.state == "waiting");
        let waiting = waiting.and_then(|text| serde_json::from_str::<Value>(text).ok());
        let Some(waiting) = waiting else {
            return Ok(true);
        };
        match waiting["for"].as_str() {
            Some("task") => Ok(self != Self::Workers),
            Some("child") => {
                let child = waiting["name"].as_str().and_then(|run| run.parse().ok());
                let Some(child) = child else { return Ok(true) };
                let child = self::row(reader, child)?;
                // Of one that has ended, the other hears in a moment.
                Ok(!is_terminal(&child.state) && self.rests(reader, &child)?)
            }
            _ => Ok(true),
        }
    }
}

/// A place before the first entry of a journal.
pub(crate) const BEGINNING: i64 = -1;

/// Follows a run from the entry after `seen` until it ends, waits or is left alone; `seen` moves
/// along, so that whoever is interrupted can follow it further.
pub(crate) async fn follow(
    reader: &Reader,
    run: RunId,
    seen: &mut i64,
    (show, through): (Show, Through),
    clock: &dyn Clock,
) -> Result<Followed, Problem> {
    let mut progress = Progress::new(show, row(reader, run)?.created_at);
    let (mut round, mut hostless) = (0_u32, 0_u32);
    let mut agents = Vec::new();
    loop {
        let row = row(reader, run)?;
        for entry in journal::read(&reader.database, &reader.blobs, run, *seen)? {
            *seen = entry.seq;
            progress.entry(&entry);
            agents.extend(agents::started(&entry).map(|agent| (agent, BEGINNING)));
        }
        for (agent, seen) in &mut agents {
            for entry in journal::read(&reader.database, &reader.blobs, *agent, *seen)? {
                *seen = entry.seq;
                progress.entry(&entry);
            }
        }
        let settled = through.rests(reader, &row)?;
        // The row was read before the entries, so a settled row has all of them behind it.
        if settled && *seen >= row.head_seq {
            progress.end();
            return Ok(Followed::Settled(row));
        }
        round += 1;
        if round.is_multiple_of(HOST_CHECK) {
            hostless = if is_hosted(&reader.layout) {
                0
            } else {
                hostless + 1
            };
            if hostless == HOSTLESS {
                progress.end();
                return Ok(Followed::Unhosted(row));
            }
            if show == Show::Progress {
                let request = reader.may(RunRead { run })?;
                progress.steps(steps_under_way(&reader.database, &request)?, clock.now());
            }
        }
        progress.tick(clock.now());
        tokio::time::sleep(INTERVAL).await;
    }
}

/// A run's row.
pub(crate) fn row(reader: &Reader, run: RunId) -> Result<RunRow, Problem> {
    reader
        .database
        .read_now::<_, StoreError, _>(|tx| runs::get(tx, run))?
        .filter(|row| row.scope == reader.caller.scope)
        .ok_or_else(|| {
            Problem::new(
                matrix_engine::error::NOT_FOUND,
                format!("there is no run {run}"),
            )
            .help("see `matrix run list`")
        })
}

/// Lines of progress, and on a terminal a last line that lives.
struct Progress {
    show: Show,
    began: Timestamp,
    stage: &'static str,
    /// How far the steps under way were said to be.
    said: BTreeMap<String, Value>,
}

impl Progress {
    fn new(show: Show, began: Timestamp) -> Self {
        Self {
            show,
            began,
            stage: "",
            said: BTreeMap::new(),
        }
    }

    fn entry(&mut self, entry: &Entry) {
        if self.show == Show::Nothing {
            return;
        }
        let elapsed = entry.at.since(self.began).as_secs_f64();
        if let Some(stage) = stage_of(&entry.path)
            && stage != self.stage
        {
            self.stage = stage;
            line(elapsed, &format!("── {}", stage.to_uppercase()));
        }
        if let Some(text) = describe(entry) {
            line(elapsed, &text);
        }
    }

    /// Shows how far each step under way is, where that is news.
    fn steps(&mut self, said: BTreeMap<String, Value>, now: Timestamp) {
        let elapsed = now.since(self.began).as_secs_f64();
        for (path, progress) in &said {
            if self.said.get(path) != Some(progress) {
                line(elapsed, &format!("… {path}: {}", how_far(progress)));
            }
        }
        self.said = said;
    }

    fn tick(&mut self, now: Timestamp) {
        if self.show == Show::Progress && output::on_terminal() {
            let elapsed = now.since(self.began).as_secs_f64();
            output::live(&format!("{elapsed:7.2} s  {} …", self.stage));
        }
    }

    fn end(&self) {
        if self.show == Show::Progress {
            output::live("");
        }
    }
}

/// How far a step is: `40 of 100, message` where it is said so, or in a worker's own words.
pub(crate) fn how_far(progress: &Value) -> String {
    let Some(done) = progress["done"].as_u64() else {
        return progress.to_string();
    };
    let total = progress["total"].as_u64();
    let total = total.map_or_else(String::new, |total| format!(" of {total}"));
    let message = progress["message"].as_str().filter(|text| !text.is_empty());
    let message = message.map_or_else(String::new, |text| format!(", {text}"));
    format!("{done}{total}{message}")
}

fn line(elapsed: f64, text: &str) {
    output::live("");
    output::note(format_args!("{elapsed:7.2} s  {text}"));
}

fn describe(entry: &Entry) -> Option<String> {
    let path = entry
        .path
        .rsplit_once('#')
        .map_or(&*entry.path, |(path, _)| path);
    let payload = entry.payload.as_ref();
    let text = |key: &str| {
        payload
            .and_then(|value| value.get(key))
            .and_then(|v| v.as_str())
            .unwrap_or_default()
    };
    Some(match entry.kind {
        EntryKind::RunStarted => format!("{} {}", entry.run, text("title")),
        EntryKind::StepCompleted => step(path, payload?)?,
        EntryKind::StepFailed => {
            let error = payload?.get("error")?.get("message")?.as_str()?.to_owned();
            let again = payload?.get("retry_at").is_some_and(|at| !at.is_null());
            format!(
                "✗ {path}: {error}{}",
                if again { " (tried again)" } else { "" }
            )
        }
        EntryKind::ApprovalRequested => {
            let stale = payload.and_then(|value| value.pointer("/subject/stale/because"));
            let stale = stale.and_then(|because| because.as_str());
            let stale = stale.map(|because| format!(" (the question went stale: {because})"));
            let stale = stale.unwrap_or_default();
            format!("? waits for a person: {}{stale}", text("approval"))
        }
        EntryKind::ApprovalDecided => {
            format!(
                "! {} by {} {}",
                text("verdict"),
                entry.actor,
                text("reason")
            )
        }
        EntryKind::Paused => format!("‖ paused: {}", text("reason")),
        EntryKind::Resumed => "▶ resumed".into(),
        EntryKind::CancelRequested => format!("■ cancel requested {}", text("reason")),
        EntryKind::ChildSpawned => format!(
            "+ started {}, a run of kind `{}`",
            text("run"),
            text("kind")
        ),
        EntryKind::Continued => "↻ starts again with another input".into(),
        EntryKind::RunFailed => format!("✗ {}: {}", text("code"), text("message")),
        EntryKind::RunCompleted
        | EntryKind::RunCancelled
        | EntryKind::StepBegun
        | EntryKind::TimerSet
        | EntryKind::TimerFired
        | EntryKind::SignalReceived
        | EntryKind::ChildEnded
        | EntryKind::Reset => return None,
    })
}

/// A number of things.
pub(crate) fn count(number: usize, thing: &str) -> String {
    count_of(number as u64, (thing, &format!("{thing}s")))
}

/// A number of things whose plural is a word of its own.
pub(crate) fn count_of(number: u64, (one, many): (&str, &str)) -> String {
    let things = if number == 1 { one } else { many };
    format!("{number} {things}")
}

/// A finished step in one line; steps that only prepare others are not shown.
fn step(path: &str, result: &serde_json::Value) -> Option<String> {
    if let Some(line) = agents::step(path, result) {
        return Some(line);
    }
    if let Some(check) = path.strip_prefix("verify/") {
        let took = result
            .get("duration_ms")
            .and_then(serde_json::Value::as_u64)
            .unwrap_or(0);
        let state = result
            .pointer("/state/state")
            .and_then(|state| state.as_str())?;
        if state == "absent" {
            return None;
        }
        let reason = result
            .pointer("/state/reason")
            .and_then(|reason| reason.as_str());
        let reason = reason
            .map(|reason| format!(": {reason}"))
            .unwrap_or_default();
        let secs = std::time::Duration::from_millis(took).as_secs_f64();
        return Some(format!("· {check} {state} ({secs:.1} s){reason}"));
    }
    let shown = match path {
        "sandbox" => {
            let probes = result.get("probes")?.as_array()?.len();
            format!("sandbox holds against {} out", count(probes, "way"))
        }
        "patch" => {
            let files = result.pointer("/facts/files")?.as_array()?.len();
            format!("patch of {} applied", count(files, "file"))
        }
        "gate" => {
            let verdict = result.pointer("/verdict/verdict")?.as_str()?;
            let risk = result.pointer("/risk/level")?.as_str()?;
            format!("gate: {verdict}, risk {risk}")
        }
        "deploy" if result["how"] == "applied" => {
            format!("deployed to {}", result["location"].as_str()?)
        }
        "deploy" => "the target changed, so the gate is asked again".into(),
        "health" if result["healthy"] == false => {
            return Some(format!("✗ health: {}", result["detail"].as_str()?));
        }
        "health" => format!("health: {}", result["detail"].as_str()?),
        "rollback" => "rolled back".into(),
        "publish" => format!("commit {} published", result["commit"].as_str()?.get(..12)?),
        "attest" => format!("bundle signed: {}", result["path"].as_str()?),
        "plan" | "evidence" | "release" => path.to_owned(),
        _ => return None,
    };
    Some(format!("✓ {shown}"))
}
