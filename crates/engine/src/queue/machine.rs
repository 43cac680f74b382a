//! The decision who is next.
//!
//! A [`Queue`] is asked in passes. A pass begins with the flows that have a run ready and the time,
//! and goes on by questions and answers until it says [`Next::Done`]. What is known of the first
//! runs of a flow is kept between passes; who runs and what is throttled is asked for anew.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use matrix_core::Timestamp;
use matrix_store::tables::queue::{Flow, Queued, Slot};

use super::line::{Line, Seen};
use super::rules::Rules;

/// How many first runs of a flow are looked at, at once.
const LOOK: usize = 128;

/// When to try again after another process was faster, or busy with limits itself.
const CONTENDED: Duration = Duration::from_millis(10);

/// When to look at further keys of a flow whose first ones are all taken.
const FURTHER: Duration = Duration::from_millis(100);

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Say who holds a slot, with [`Queue::saw`].
    Look(Slot),
    /// Say which runs of a flow come first, with [`Queue::fill`].
    Fill(Fill),
    /// Take a run, and say whether that worked, with [`Queue::took`].
    Take(Queued),
    /// Nobody more may begin now; at this time, that may be another matter.
    Done(Option<Timestamp>),
}

/// Which runs of a flow are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fill {
    /// The first ones.
    Head {
        /// The flow.
        flow: Flow,
        /// How many.
        limit: usize,
    },
    /// The first of each key behind one, and the first that have no key.
    Keys {
        /// The flow.
        flow: Flow,
        /// The key.
        after: String,
        /// How many of either sort.
        limit: usize,
    },
}

/// What is known of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// How many runs hold it.
    pub running: u32,
    /// When its bucket is full again.
    pub full_at: Timestamp,
    /// Until when nobody is to begin.
    pub paused_until: Timestamp,
}

/// Whether a run was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Took {
    /// It runs now.
    Yes,
    /// It was not ready any more, or another process has it.
    Gone,
}

/// Whether a slot lets somebody begin.
enum Door {
    Open,
    Shut,
    /// Nobody knows yet.
    Unknown(Slot),
}

/// The first run of a line that may begin.
enum First {
    Run(Queued),
    Ask(Next),
    Nothing,
}

/// What a line of a tenant has to offer.
enum Offer {
    Ask(Next),
    Take(Flow),
    Nothing,
}

#[derive(Debug, Default)]
struct Tenant {
    lines: BTreeMap<Flow, Line>,
    /// How many turns it has left.
    deficit: u32,
    /// Whether it had nothing to offer since anyone was taken.
    is_dry: bool,
}

type TenantName = (String, String);

/// What holds in one pass.
#[derive(Debug, Default)]
struct Pass {
    now: Timestamp,
    standings: BTreeMap<Slot, Option<Standing>>,
    spent: BTreeSet<Slot>,
    again: Option<Timestamp>,
    taking: Option<(Flow, Queued)>,
}

/// Who is next; see the module.
#[derive(Debug)]
pub struct Queue {
    rules: Rules,
    capabilities: BTreeSet<String>,
    tenants: BTreeMap<TenantName, Tenant>,
    /// Whose turn it is.
    turn: TenantName,
    pass: Pass,
}

impl Queue {
    /// An empty queue of a worker that has these capabilities.
    pub fn new(rules: Rules, capabilities: BTreeSet<String>) -> Self {
        Self {
            rules,
            capabilities,
            tenants: BTreeMap::new(),
            turn: TenantName::default(),
            pass: Pass::default(),
        }
    }

    /// The rules it goes by.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Forgets what it knew of the runs, because nobody knows whether it is so.
    pub fn forget(&mut self) {
        self.tenants.clear();
        self.pass = Pass::default();
    }

    /// Begins a pass over the flows that have a run ready; nothing stands for those of the pass
    /// before.
    pub fn begin(&mut self, now: Timestamp, flows: Option<Vec<Flow>>) {
        self.pass = Pass {
            now,
            ..Pass::default()
        };
        for tenant in self.tenants.values_mut() {
            tenant.is_dry = false;
            tenant.lines.values_mut().for_each(Line::begin);
            if flows.is_some() {
                tenant.lines.retain(|_, line| !line.is_empty());
            }
        }
        for flow in flows
            .into_iter()
            .flatten()
            .filter(|flow| is_able(&self.capabilities, flow))
        {
            let name = (flow.organisation.clone(), flow.workspace.clone());
            let tenant = self.tenants.entry(name).or_default();
            tenant.lines.entry(flow).or_default().begin();
        }
        self.tenants.retain(|_, tenant| !tenant.lines.is_empty());
    }

    /// What is to be done next.
    pub fn decide(&mut self) -> Next {
        while let Some(name) = self.whose_turn() {
            match self.offer(&name) {
                Offer::Ask(next) => return next,
                Offer::Nothing => self.pass_on(&name),
                Offer::Take(flow) => {
                    let tenant = self.tenants.get_mut(&name);
                    let line = tenant.and_then(|tenant| tenant.lines.get_mut(&flow));
                    let Some(run) = line.and_then(Line::pop) else {
                        self.pass_on(&name);
                        continue;
                    };
                    self.pass.taking = Some((flow, run.clone()));
                    return Next::Take(run);
                }
            }
        }
        Next::Done(self.pass.again)
    }

    /// The tenant whose turn it is, unless nobody has anything to offer.
    fn whose_turn(&mut self) -> Option<TenantName> {
        let waits = |(_, tenant): &(&TenantName, &Tenant)| !tenant.is_dry;
        let mut behind = self.tenants.range(self.turn.clone()..);
        let name = behind
            .find(waits)
            .or_else(|| self.tenants.iter().find(waits));
        let name = name.map(|(name, _)| name.clone())?;
        if name != self.turn {
            self.turn.clone_from(&name);
        }
        let weight = self.rules.weight(&name.0, &name.1);
        let tenant = self.tenants.get_mut(&name)?;
        if tenant.deficit == 0 {
            tenant.deficit = weight;
        }
        Some(name)
    }

    /// A tenant has nothing to offer in this pass.
    fn pass_on(&mut self, name: &TenantName) {
        if let Some(tenant) = self.tenants.get_mut(name) {
            tenant.is_dry = true;
            tenant.deficit = 0;
        }
    }

    /// The line of a tenant whose first run is to begin, or what must be known to tell.
    fn offer(&mut self, name: &TenantName) -> Offer {
        match self.door(Slot::Tenant(name.0.clone(), name.1.clone())) {
            Door::Open => {}
            Door::Shut => return Offer::Nothing,
            Door::Unknown(slot) => return Offer::Ask(Next::Look(slot)),
        }
        let flows: Vec<Flow> = match self.tenants.get(name) {
            Some(tenant) => tenant.lines.keys().cloned().collect(),
            None => return Offer::Nothing,
        };
        let mut best: Option<(i128, Queued, Flow)> = None;
        for flow in flows {
            match self.door(Slot::Lane(flow.lane.clone())) {
                Door::Open => {}
                Door::Shut => continue,
                Door::Unknown(slot) => return Offer::Ask(Next::Look(slot)),
            }
            let first = match self.first(name, &flow) {
                First::Run(first) => first,
                First::Nothing => continue,
                First::Ask(next) => return Offer::Ask(next),
            };
            let rank = self.rank(&flow, &first);
            let is_better = best.as_ref().is_none_or(|(other, run, _)| {
                (rank, first.queued_at, first.run) < (*other, run.queued_at, run.run)
            });
            if is_better {
                best = Some((rank, first, flow));
            }
        }
        best.map_or(Offer::Nothing, |(_, _, flow)| Offer::Take(flow))
    }

    /// When a run would have come, had it been of the least priority: the smallest is next.
    fn rank(&self, flow: &Flow, run: &Queued) -> i128 {
        let ageing = i128::try_from(self.rules.ageing.as_micros()).unwrap_or(i128::MAX >> 8);
        i128::from(run.queued_at.as_micros()) - i128::from(flow.priority) * ageing
    }

    /// The first run of a line whose key lets it begin, or what must be known to tell.
    fn first(&mut self, name: &TenantName, flow: &Flow) -> First {
        loop {
            let Some(line) = self.line(name, flow) else {
                return First::Nothing;
            };
            let Some(seen) = line.seen() else {
                return First::Nothing;
            };
            let Some(first) = line.first().cloned() else {
                return self.further(name, flow, seen);
            };
            if first.key.is_empty() {
                return First::Run(first);
            }
            let slot = Slot::Key(name.0.clone(), name.1.clone(), first.key.clone());
            match self.door(slot) {
                Door::Open => return First::Run(first),
                Door::Unknown(slot) => return First::Ask(Next::Look(slot)),
                Door::Shut => {
                    if let Some(line) = self.line(name, flow) {
                        line.set_aside();
                    }
                }
            }
        }
    }

    /// A line at whose end we are: what must be known to go on with it, if anything can help.
    fn further(&mut self, name: &TenantName, flow: &Flow, seen: Seen) -> First {
        let Some(line) = self.line(name, flow) else {
            return First::Nothing;
        };
        match seen {
            Seen::Known => First::Ask(Next::Fill(Fill::Head {
                flow: flow.clone(),
                limit: LOOK,
            })),
            Seen::Head if line.has_more_keys() => First::Ask(Next::Fill(Fill::Keys {
                flow: flow.clone(),
                after: line.key().to_owned(),
                limit: LOOK,
            })),
            Seen::Head | Seen::Keys => {
                let is_cut = line.is_cut();
                line.end();
                if is_cut {
                    self.try_again(self.pass.now.plus(FURTHER));
                }
                First::Nothing
            }
        }
    }

    fn line(&mut self, name: &TenantName, flow: &Flow) -> Option<&mut Line> {
        self.tenants.get_mut(name)?.lines.get_mut(flow)
    }

    /// Says which runs were asked for by [`Next::Fill`].
    pub fn fill(&mut self, fill: &Fill, found: Vec<Queued>) {
        let (Fill::Head { flow, limit } | Fill::Keys { flow, limit, .. }) = fill;
        let name = (flow.organisation.clone(), flow.workspace.clone());
        if let Some(line) = self.line(&name, flow) {
            match fill {
                Fill::Head { .. } => line.fill_head(found, *limit),
                Fill::Keys { .. } => line.fill_keys(found, *limit),
            }
        }
    }

    /// Says who holds a slot; nothing if another process is counting at this moment.
    pub fn saw(&mut self, slot: Slot, standing: Option<Standing>) {
        if standing.is_none() {
            self.try_again(self.pass.now.plus(CONTENDED));
        }
        self.pass.standings.insert(slot, standing);
    }

    /// Says what became of the run that was to be taken.
    pub fn took(&mut self, took: Took) {
        let Some((flow, run)) = self.pass.taking.take() else {
            return;
        };
        let name = (flow.organisation.clone(), flow.workspace.clone());
        if took == Took::Gone {
            self.try_again(self.pass.now.plus(CONTENDED));
            return;
        }
        if let Some(tenant) = self.tenants.get_mut(&name) {
            tenant.deficit = tenant.deficit.saturating_sub(1);
            if tenant.deficit == 0 {
                // The next one, in the order of names.
                self.turn = (name.0.clone(), format!("{}\0", name.1));
            }
        }
        let mut slots = vec![
            Slot::Tenant(name.0.clone(), name.1.clone()),
            Slot::Lane(flow.lane),
        ];
        if !run.key.is_empty() {
            slots.push(Slot::Key(name.0, name.1, run.key));
        }
        for slot in slots {
            let limit = self.rules.limit(&slot);
            if let Some(Some(standing)) = self.pass.standings.get_mut(&slot) {
                standing.running = standing.running.saturating_add(1);
                if let Some(rate) = limit.rate {
                    standing.full_at = rate.spend(standing.full_at, self.pass.now);
                    self.pass.spent.insert(slot);
                }
            }
        }
    }

    /// The buckets that this pass took from, and when they are full again.
    pub fn spent(&self) -> Vec<(Slot, Timestamp)> {
        let full_at = |slot: &Slot| Some(self.pass.standings.get(slot)?.as_ref()?.full_at);
        let spent = self.pass.spent.iter();
        spent
            .filter_map(|slot| Some((slot.clone(), full_at(slot)?)))
            .collect()
    }

    fn try_again(&mut self, at: Timestamp) {
        self.pass.again = Some(self.pass.again.map_or(at, |again| again.min(at)));
    }

    /// Whether a slot lets somebody begin.
    fn door(&mut self, slot: Slot) -> Door {
        let limit = self.rules.limit(&slot);
        let is_pausable = matches!(slot, Slot::Key(..));
        if limit.concurrency.is_none() && limit.rate.is_none() && !is_pausable {
            return Door::Open;
        }
        let Some(standing) = self.pass.standings.get(&slot) else {
            return Door::Unknown(slot);
        };
        let Some(standing) = *standing else {
            return Door::Shut;
        };
        if limit
            .concurrency
            .is_some_and(|most| standing.running >= most)
        {
            return Door::Shut;
        }
        let now = self.pass.now;
        let rated = limit.rate.map(|rate| rate.next_at(standing.full_at, now));
        let opens = rated.map_or(standing.paused_until, |at| at.max(standing.paused_until));
        if opens > now {
            self.try_again(opens);
            return Door::Shut;
        }
        Door::Open
    }
}

/// Whether a worker has what the runs of a flow require.
fn is_able(capabilities: &BTreeSet<String>, flow: &Flow) -> bool {
    let mut required = flow.capabilities.split(',').filter(|name| !name.is_empty());
    required.all(|name| capabilities.contains(name))
}
