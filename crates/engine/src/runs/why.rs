//! Why a run that is ready does not run yet: what it waits for, who holds that, and its place.

use matrix_core::{Authorised, RunId, Scope, Timestamp};
use matrix_store::tables::queue::{self, Flow, Slot};
use matrix_store::tables::runs::RunRow;
use matrix_store::tables::throttles;
use matrix_store::{Database, StoreError, Tx};
use serde::Serialize;

use super::show::{RunRead, row};
use crate::engine::{Scheduling, standing};
use crate::error::RequestError;
use crate::queue::{FOR_GOOD, Rules};

/// Runs ahead are counted up to here.
const AHEAD_MAX: i64 = 10_000;
/// The most flows that are looked at.
const FLOWS_MAX: i64 = 4_096;
/// The most holders that are named.
const HOLDERS_MAX: i64 = 5;

/// Where a run stands in the queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InQueue {
    /// Since when.
    pub since: Timestamp,
    /// Its lane.
    pub lane: String,
    /// Its priority.
    pub priority: i64,
    /// Its concurrency key; empty for none.
    pub key: String,
    /// How many runs of its tenant come before it in its lane, counted up to 10,000.
    pub ahead: i64,
    /// What holds it back, the hardest first; nothing but those ahead of it if this is empty.
    pub blocked: Vec<Blocked>,
}

/// Something that holds a run back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Blocked {
    /// `key`, `rate`, `lane`, `tenant` or `capability`.
    #[serde(rename = "for")]
    pub what: &'static str,
    /// Which one.
    pub name: String,
    /// Why, in words.
    pub because: String,
    /// When it opens, if a time opens it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Some of the tenant's own runs that hold it.
    pub holders: Vec<RunId>,
}

impl InQueue {
    /// The place in lines for a person: what holds the run back, and how many come before it.
    pub fn lines(&self) -> Vec<String> {
        let Self {
            since,
            lane,
            priority,
            ahead,
            ..
        } = self;
        let blocked = self.blocked.iter();
        let mut lines: Vec<String> = blocked.map(|one| one.line(*since)).collect();
        if lines.is_empty() {
            lines.push(format!("waiting for a worker since {since}"));
        }
        lines.push(format!(
            "lane {lane}, priority {priority}; {ahead} come before it"
        ));
        lines
    }
}

impl Blocked {
    fn line(&self, since: Timestamp) -> String {
        let Self {
            what,
            name,
            because,
            until,
            holders,
        } = self;
        let until = match until {
            Some(until) if *until >= FOR_GOOD => ", until it is resumed".into(),
            Some(until) => format!(", until {until}"),
            None => String::new(),
        };
        let holders: Vec<_> = holders.iter().map(ToString::to_string).collect();
        let holders = if holders.is_empty() {
            String::new()
        } else {
            format!(", holder {}", holders.join(", "))
        };
        format!("waiting for {what} {name} since {since} because {because}{until}{holders}")
    }
}

/// Says why a run does not run yet; nothing if it is not ready.
pub fn why(
    database: &Database,
    scheduling: &Scheduling,
    request: &Authorised<RunRead>,
    now: Timestamp,
) -> Result<Option<InQueue>, RequestError> {
    let row = row(database, request)?;
    if row.state != "ready" {
        return Ok(None);
    }
    let found = database.read_now::<_, StoreError, _>(|tx| {
        let rules = &scheduling.rules;
        let mut blocked = lacking(scheduling, &row);
        for slot in slots(&row) {
            blocked.extend(blocked_by(tx, rules, &slot, &row.scope, now)?);
        }
        Ok(InQueue {
            since: row.placement.queued_at,
            lane: row.placement.lane.clone(),
            priority: row.placement.priority,
            key: row.placement.key.clone(),
            ahead: ahead(tx, rules, &row)?,
            blocked,
        })
    })?;
    Ok(Some(found))
}

fn slots(row: &RunRow) -> Vec<Slot> {
    let Scope {
        organisation,
        workspace,
    } = row.scope.clone();
    let mut slots = Vec::new();
    if !row.placement.key.is_empty() {
        let key = row.placement.key.clone();
        slots.push(Slot::Key(organisation.clone(), workspace.clone(), key));
    }
    slots.push(Slot::Lane(row.placement.lane.clone()));
    slots.push(Slot::Tenant(organisation, workspace));
    slots
}

/// What this process does not have and the run requires.
fn lacking(scheduling: &Scheduling, row: &RunRow) -> Vec<Blocked> {
    let required = row.placement.capabilities.split(',');
    let required = required.filter(|name| !name.is_empty());
    let missing = required.filter(|name| !scheduling.capabilities.contains(*name));
    missing
        .map(|name| Blocked {
            what: "capability",
            name: name.to_owned(),
            because: "this host does not have it".into(),
            until: None,
            holders: Vec::new(),
        })
        .collect()
}

/// What a slot holds back, as far as its tenant may know.
fn blocked_by(
    tx: &Tx<'_>,
    rules: &Rules,
    slot: &Slot,
    own: &Scope,
    now: Timestamp,
) -> Result<Vec<Blocked>, StoreError> {
    let (what, name) = match slot {
        Slot::Key(_, _, key) => ("key", key.clone()),
        Slot::Lane(lane) => ("lane", lane.clone()),
        Slot::Tenant(organisation, workspace) => ("tenant", format!("{organisation}/{workspace}")),
    };
    let (limit, standing) = (rules.limit(slot), standing(tx, slot)?);
    let mut blocked = Vec::new();
    if standing.paused_until > now {
        let throttle = throttles::get(tx, slot)?;
        let because = throttle.map(|known| known.because).unwrap_or_default();
        blocked.push(Blocked {
            what,
            name: name.clone(),
            because: format!("it is paused: {because}"),
            until: Some(standing.paused_until),
            holders: Vec::new(),
        });
    }
    if let Some(most) = limit.concurrency.filter(|most| standing.running >= *most) {
        let holders = queue::holders(tx, slot, HOLDERS_MAX)?;
        let mine = holders.into_iter().filter(|(_, scope)| scope == own);
        blocked.push(Blocked {
            what,
            name: name.clone(),
            because: format!("{} of {most} run", standing.running),
            until: None,
            holders: mine.map(|(run, _)| run).collect(),
        });
    }
    let rated = limit.rate.map(|rate| rate.next_at(standing.full_at, now));
    if let Some(next) = rated.filter(|next| *next > now) {
        blocked.push(Blocked {
            what: "rate",
            name,
            because: format!("the rate of this {what} is used up"),
            until: Some(next),
            holders: Vec::new(),
        });
    }
    Ok(blocked)
}

/// How many runs of its tenant come before a run in its lane.
fn ahead(tx: &Tx<'_>, rules: &Rules, row: &RunRow) -> Result<i64, StoreError> {
    let (own, place) = (row.placement.flow(&row.scope), &row.placement);
    let ageing = i64::try_from(rules.ageing.as_micros()).unwrap_or(i64::MAX);
    let mut ahead = 0;
    let flows = queue::flows(tx, "", FLOWS_MAX)?;
    let same = |flow: &Flow| flow.lane == own.lane && flow.scope() == row.scope;
    for flow in flows.into_iter().filter(same) {
        // Whoever came before this time has the better rank.
        let worth = ageing.saturating_mul(flow.priority - place.priority);
        let time = place.queued_at.as_micros().saturating_add(worth);
        let left = AHEAD_MAX - ahead;
        ahead += queue::ahead(tx, &flow, Timestamp::from_micros(time), row.run, left)?;
    }
    Ok(ahead)
}
