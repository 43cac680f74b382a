//! The queue as a tenant may see it.

use std::collections::BTreeMap;

use matrix_core::{Action, Authorised, RunId, Scope, Timestamp};
use matrix_store::tables::queue::{self, Slot};
use matrix_store::tables::throttles;
use matrix_store::{Database, StoreError};
use serde::Serialize;

use super::placing::DEFAULT_LANE;
use crate::engine::Scheduling;
use crate::error::RequestError;

/// Runs that are ready are counted up to here in each flow.
const DEPTH_MAX: i64 = 100_000;
/// The most flows that are looked at.
const FLOWS_MAX: i64 = 4_096;
/// The most holders that are named for each lane.
const HOLDERS_MAX: i64 = 20;
/// The most paused keys that are named.
const PAUSED_MAX: i64 = 100;

/// Reads the queue.
#[derive(Debug, Clone)]
pub struct QueueRead;

impl Action for QueueRead {
    const NAME: &'static str = "run_read";
}

/// The queue of the caller's tenant.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct QueueView {
    /// The lanes, by name: those of the rules, and those that have a run of the tenant.
    pub lanes: Vec<LaneView>,
    /// The keys that are paused now.
    pub paused: Vec<PausedKey>,
}

/// A lane.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LaneView {
    /// Its name.
    pub lane: String,
    /// How many runs it lets run at once, if there is a limit.
    pub concurrency: Option<u32>,
    /// How many run, of all tenants.
    pub running: i64,
    /// Some of the tenant's own among them.
    pub holders: Vec<RunId>,
    /// How many of the tenant are ready.
    pub ready: i64,
    /// The same by priority, the most urgent first.
    pub depths: Vec<Depth>,
}

/// How many runs of one priority are ready.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Depth {
    /// The priority.
    pub priority: i64,
    /// How many, counted up to 100,000 for each set of required capabilities.
    pub ready: i64,
}

/// A key under which nobody begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PausedKey {
    /// The key.
    pub key: String,
    /// Until when.
    pub until: Timestamp,
    /// Why.
    pub because: String,
}

/// The queue of the caller's tenant.
pub fn show(
    database: &Database,
    scheduling: &Scheduling,
    request: &Authorised<QueueRead>,
    now: Timestamp,
) -> Result<QueueView, RequestError> {
    let own = &request.caller().scope;
    let rules = &scheduling.rules;
    let view = database.read_now::<_, StoreError, _>(|tx| {
        let mut depths: BTreeMap<String, BTreeMap<i64, i64>> = BTreeMap::new();
        let named = rules.lanes.keys().map(String::as_str);
        for lane in named.chain([DEFAULT_LANE]) {
            depths.entry(lane.to_owned()).or_default();
        }
        let flows = queue::flows(tx, "", FLOWS_MAX)?;
        for flow in flows.into_iter().filter(|flow| flow.scope() == *own) {
            let ready = queue::depth(tx, &flow, DEPTH_MAX)?;
            let lane = depths.entry(flow.lane).or_default();
            *lane.entry(flow.priority).or_default() += ready;
        }
        let mut running: BTreeMap<String, i64> = BTreeMap::new();
        for (flow, count) in queue::running_by_flow(tx)? {
            let is_shown = flow.scope() == *own || depths.contains_key(&flow.lane);
            if is_shown {
                depths.entry(flow.lane.clone()).or_default();
                *running.entry(flow.lane).or_default() += count;
            }
        }
        let lanes = depths.into_iter().map(|(lane, depths)| {
            let slot = Slot::Lane(lane.clone());
            let holders = queue::holders(tx, &slot, HOLDERS_MAX)?;
            Ok(LaneView {
                concurrency: rules.limit(&slot).concurrency,
                running: running.get(&lane).copied().unwrap_or(0),
                holders: mine(holders, own),
                ready: depths.values().sum(),
                depths: depths
                    .into_iter()
                    .rev()
                    .map(|(priority, ready)| Depth { priority, ready })
                    .collect(),
                lane,
            })
        });
        let lanes = lanes.collect::<Result<_, StoreError>>()?;
        let paused = throttles::paused(tx, own, now, PAUSED_MAX)?;
        let paused = paused.into_iter().filter_map(|known| match known.slot {
            Slot::Key(_, _, key) => Some(PausedKey {
                key,
                until: known.paused_until,
                because: known.because,
            }),
            Slot::Lane(_) | Slot::Tenant(..) => None,
        });
        let paused = paused.collect();
        Ok(QueueView { lanes, paused })
    })?;
    Ok(view)
}

fn mine(holders: Vec<(RunId, Scope)>, own: &Scope) -> Vec<RunId> {
    let mine = holders.into_iter().filter(|(_, scope)| scope == own);
    mine.map(|(run, _)| run).collect()
}
