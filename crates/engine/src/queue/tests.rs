//! The queue against a model of the store that says the plain truth.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use matrix_core::{RunId, Timestamp};
use matrix_store::tables::queue::{Flow, Queued, Slot};
use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// What the store would say.
#[derive(Debug, Default)]
struct Model {
    now: Timestamp,
    born: u64,
    ready: Vec<(Flow, Queued)>,
    running: Vec<(Flow, Queued)>,
    full_at: BTreeMap<Slot, Timestamp>,
    paused: BTreeMap<Slot, Timestamp>,
    /// Who began when, in order.
    begun: Vec<(Timestamp, Flow, Queued)>,
    /// Runs that another process takes at the moment we want them.
    stolen: BTreeSet<RunId>,
}

fn slots(flow: &Flow, run: &Queued) -> Vec<Slot> {
    let (organisation, workspace) = (flow.organisation.clone(), flow.workspace.clone());
    let mut slots = vec![
        Slot::Tenant(organisation.clone(), workspace.clone()),
        Slot::Lane(flow.lane.clone()),
    ];
    if !run.key.is_empty() {
        slots.push(Slot::Key(organisation, workspace, run.key.clone()));
    }
    slots
}

fn flow(tenant: &str, lane: &str, priority: i64) -> Flow {
    Flow {
        lane: lane.into(),
        organisation: tenant.into(),
        workspace: "main".into(),
        capabilities: String::new(),
        priority,
    }
}

impl Model {
    fn arrive(&mut self, flow: Flow, key: &str) -> RunId {
        self.born += 1;
        let mut id = [0; 16];
        id[8..].copy_from_slice(&self.born.to_be_bytes());
        let run = RunId::from_bytes(id);
        let queued = Queued {
            run,
            key: key.into(),
            queued_at: self.now,
        };
        self.ready.push((flow, queued));
        run
    }

    fn count(&self, slot: &Slot) -> u32 {
        let holds = |(flow, run): &&(Flow, Queued)| slots(flow, run).contains(slot);
        u32::try_from(self.running.iter().filter(holds).count()).unwrap()
    }

    fn head(&self, flow: &Flow, keep: impl Fn(&Queued) -> bool) -> Vec<Queued> {
        let of = self.ready.iter().filter(|(other, _)| other == flow);
        let mut of: Vec<Queued> = of.map(|(_, run)| run.clone()).filter(keep).collect();
        of.sort_by_key(|run| (run.queued_at, run.run));
        of
    }

    fn fill(&self, fill: &Fill) -> Vec<Queued> {
        match fill {
            Fill::Head { flow, limit } => {
                let mut head = self.head(flow, |_| true);
                head.truncate(*limit);
                head
            }
            Fill::Keys { flow, after, limit } => {
                let mut keyless = self.head(flow, |run| run.key.is_empty());
                keyless.truncate(*limit);
                let mut keys = BTreeMap::new();
                for run in self.head(flow, |run| run.key > *after) {
                    keys.entry(run.key.clone()).or_insert(run);
                }
                keyless.extend(keys.into_values().take(*limit));
                keyless
            }
        }
    }

    /// One pass of one process; gives when it wants the next one.
    fn pass(&mut self, queue: &mut Queue, free: usize) -> Option<Timestamp> {
        let flows: BTreeSet<Flow> = self.ready.iter().map(|(flow, _)| flow.clone()).collect();
        queue.begin(self.now, Some(flows.into_iter().collect()));
        let mut taken = 0;
        for _ in 0..100_000 {
            if taken == free {
                self.keep(queue);
                return None;
            }
            match queue.decide() {
                Next::Done(again) => {
                    self.keep(queue);
                    return again;
                }
                Next::Fill(fill) => {
                    let found = self.fill(&fill);
                    queue.fill(&fill, found);
                }
                Next::Look(slot) => {
                    let zero = Timestamp::from_micros(0);
                    let standing = Standing {
                        running: self.count(&slot),
                        full_at: self.full_at.get(&slot).copied().unwrap_or(zero),
                        paused_until: self.paused.get(&slot).copied().unwrap_or(zero),
                    };
                    queue.saw(slot, Some(standing));
                }
                Next::Take(run) => {
                    let found = self.ready.iter().position(|(_, one)| one.run == run.run);
                    let Some(found) = found.filter(|_| !self.stolen.contains(&run.run)) else {
                        queue.took(Took::Gone);
                        continue;
                    };
                    let (flow, run) = self.ready.remove(found);
                    queue.took(Took::Yes);
                    taken += 1;
                    self.begun.push((self.now, flow.clone(), run.clone()));
                    self.running.push((flow, run));
                }
            }
        }
        panic!("the pass does not end");
    }

    fn keep(&mut self, queue: &Queue) {
        self.full_at.extend(queue.spent());
    }

    /// No limit is exceeded at this moment.
    fn within(&self, rules: &Rules) -> Result<(), TestCaseError> {
        for (flow, run) in &self.running {
            for slot in slots(flow, run) {
                let most = rules.limit(&slot).concurrency.unwrap_or(u32::MAX);
                prop_assert!(self.count(&slot) <= most, "{slot:?} of {most}");
            }
        }
        Ok(())
    }

    /// No rate was exceeded at any time: in no stretch did more begin than burst and time allow.
    fn rated(&self, rules: &Rules) -> Result<(), TestCaseError> {
        let mut begun: BTreeMap<Slot, Vec<Timestamp>> = BTreeMap::new();
        for (at, flow, run) in &self.begun {
            for slot in slots(flow, run) {
                begun.entry(slot).or_default().push(*at);
            }
        }
        for (slot, times) in begun {
            let Some(rate) = rules.limit(&slot).rate else {
                continue;
            };
            for (first, from) in times.iter().enumerate() {
                for (last, to) in times.iter().enumerate().skip(first) {
                    let tokens = to.since(*from).as_micros() / rate.interval.as_micros();
                    let most = u128::from(rate.burst) + tokens;
                    prop_assert!((last - first + 1) as u128 <= most, "{slot:?} of {most}");
                }
            }
        }
        Ok(())
    }

    /// Whether a run could begin, as far as limits go.
    fn may_begin(&self, rules: &Rules, flow: &Flow, run: &Queued) -> bool {
        slots(flow, run).iter().all(|slot| {
            let limit = rules.limit(slot);
            let zero = Timestamp::from_micros(0);
            let full_at = self.full_at.get(slot).copied().unwrap_or(zero);
            let paused = self.paused.get(slot).copied().unwrap_or(zero);
            limit.concurrency.is_none_or(|most| self.count(slot) < most)
                && limit
                    .rate
                    .is_none_or(|rate| rate.next_at(full_at, self.now) <= self.now)
                && paused <= self.now
        })
    }
}

fn at_once(most: u32) -> Limit {
    Limit {
        concurrency: Some(most),
        rate: None,
    }
}

/// Lane `few` of two at once, lane `slow` of two a second, key `k` of two at once, any other key of
/// one, and no tenant has more than four.
fn rules() -> Rules {
    let slow = Limit {
        concurrency: None,
        rate: Some(Rate {
            interval: SECOND / 2,
            burst: 2,
        }),
    };
    Rules {
        lanes: [("few".into(), at_once(2)), ("slow".into(), slow)].into(),
        keys: [("k".into(), at_once(2))].into(),
        tenant: at_once(4),
        ..Rules::default()
    }
}

#[derive(Debug, Clone, Copy)]
enum Act {
    Arrive(&'static str, &'static str, i64, &'static str),
    Pass(usize),
    /// Another process with the same rules makes a pass.
    Other(usize),
    End(prop::sample::Index),
    Wait(u64),
    PauseKey(&'static str, &'static str, u64),
    /// Somebody steals the run that comes next, or it is cancelled.
    Vanish(prop::sample::Index),
}

fn act() -> impl Strategy<Value = Act> {
    let tenant = prop::sample::select(vec!["a", "b", "c"]);
    let lane = prop::sample::select(vec!["default", "few", "slow"]);
    let key = prop::sample::select(vec!["", "", "k", "l"]);
    prop_oneof![
        8 => (tenant.clone(), lane, 0..10_i64, key.clone())
            .prop_map(|(tenant, lane, level, key)| Act::Arrive(tenant, lane, level, key)),
        4 => (0..6_usize).prop_map(Act::Pass),
        2 => (0..6_usize).prop_map(Act::Other),
        5 => any::<prop::sample::Index>().prop_map(Act::End),
        3 => (0..2_000_u64).prop_map(Act::Wait),
        1 => (tenant, key, 0..3_000_u64).prop_map(|(t, key, time)| Act::PauseKey(t, key, time)),
        1 => any::<prop::sample::Index>().prop_map(Act::Vanish),
    ]
}

impl Model {
    fn act(&mut self, act: Act, queues: &mut [Queue; 2]) {
        match act {
            Act::Arrive(tenant, lane, priority, key) => {
                self.arrive(flow(tenant, lane, priority), key);
            }
            Act::Pass(free) => drop(self.pass(&mut queues[0], free)),
            Act::Other(free) => drop(self.pass(&mut queues[1], free)),
            Act::End(index) if !self.running.is_empty() => {
                self.running.remove(index.index(self.running.len()));
            }
            Act::Vanish(index) if !self.ready.is_empty() => {
                self.ready.remove(index.index(self.ready.len()));
            }
            Act::End(_) | Act::Vanish(_) => {}
            Act::Wait(millis) => self.now = self.now.plus(Duration::from_millis(millis)),
            Act::PauseKey(tenant, key, millis) => {
                let until = self.now.plus(Duration::from_millis(millis));
                let slot = Slot::Key(tenant.into(), "main".into(), key.into());
                self.paused.insert(slot, until);
            }
        }
    }
}

fn two_queues() -> [Queue; 2] {
    [(); 2].map(|()| Queue::new(rules(), BTreeSet::new()))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn no_limit_is_ever_exceeded_by_two_processes_together(
        acts in prop::collection::vec(act(), 1..120)
    ) {
        let (mut model, mut queues, rules) = (Model::default(), two_queues(), rules());
        for act in acts {
            model.act(act, &mut queues);
            model.within(&rules)?;
        }
        model.rated(&rules)?;
    }

    #[test]
    fn whoever_may_begin_does_while_a_worker_is_free(
        acts in prop::collection::vec(act(), 1..120)
    ) {
        let (mut model, mut queues, rules) = (Model::default(), two_queues(), rules());
        for act in acts {
            model.act(act, &mut queues);
            let again = model.pass(&mut queues[0], usize::MAX);
            let idle = model.ready.iter().find(|(flow, run)| model.may_begin(&rules, flow, run));
            prop_assert!(idle.is_none(), "{idle:?} is left");
            // Whoever waits for a time is looked at then.
            let timed = model.ready.iter().any(|(flow, run)| {
                slots(flow, run).iter().all(|slot| {
                    rules.limit(slot).concurrency.is_none_or(|most| model.count(slot) < most)
                })
            });
            prop_assert!(!timed || again.is_some(), "nobody looks again");
        }
    }

    #[test]
    fn within_a_tenant_waiting_makes_up_for_priority(
        runs in prop::collection::vec((0..10_i64, 0..4_000_u64), 2..40)
    ) {
        let (mut model, rules) = (Model::default(), Rules::default());
        let mut queue = Queue::new(rules.clone(), BTreeSet::new());
        for (priority, pause) in runs {
            model.now = model.now.plus(Duration::from_secs(pause));
            model.arrive(flow("a", "default", priority), "");
        }
        model.pass(&mut queue, usize::MAX);
        prop_assert!(model.ready.is_empty());
        let ageing = i64::try_from(rules.ageing.as_micros()).unwrap();
        let rank = |(_, flow, run): &(Timestamp, Flow, Queued)| {
            (run.queued_at.as_micros() - flow.priority * ageing, run.queued_at)
        };
        prop_assert!(model.begun.is_sorted_by_key(rank));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn everybody_begins_at_last_whoever_else_keeps_coming(
        first in prop::collection::vec(act(), 1..60), free in 1..4_usize
    ) {
        let (mut model, mut queues) = (Model::default(), two_queues());
        for act in first {
            model.act(act, &mut queues);
        }
        let waiting: BTreeSet<RunId> = model.ready.iter().map(|(_, run)| run.run).collect();
        // From now on there is always somebody more urgent of every tenant in every lane. Each
        // round takes a minute; a level of priority is worth ten.
        for _ in 0..150 {
            for tenant in ["a", "b", "c"] {
                for lane in ["default", "few", "slow"] {
                    model.arrive(flow(tenant, lane, 9), "");
                }
            }
            for _ in 0..6 {
                model.now = model.now.plus(Duration::from_secs(10));
                model.running.clear();
                model.pass(&mut queues[0], free);
                model.pass(&mut queues[1], free);
            }
        }
        let starved: Vec<_> = model.ready.iter().filter(|(_, run)| waiting.contains(&run.run)).collect();
        prop_assert!(starved.is_empty(), "{starved:?}");
    }

    #[test]
    fn tenants_that_always_wait_get_turns_by_their_weight(
        weights in prop::collection::vec(1..4_u32, 2..5), frees in prop::collection::vec(1..7_usize, 1..40)
    ) {
        let names = ["a", "b", "c", "d"];
        let tenants = weights.iter().zip(names).map(|(weight, name)| {
            (format!("{name}/main"), (Limit::default(), *weight))
        });
        let rules = Rules { tenants: tenants.collect(), ..Rules::default() };
        let (mut model, mut queue) = (Model::default(), Queue::new(rules, BTreeSet::new()));
        for (name, _) in names.iter().zip(&weights) {
            // However much more one of them has.
            let many = if *name == "a" { 900 } else { 150 };
            for _ in 0..many {
                model.arrive(flow(name, "default", 5), "");
            }
        }
        for free in frees {
            model.pass(&mut queue, free);
            let turns = names.iter().zip(&weights).map(|(name, weight)| {
                let begun = model.begun.iter().filter(|(_, flow, _)| flow.organisation == *name);
                (begun.count(), *weight as usize)
            });
            // Nobody is more than one round behind or ahead of another.
            let rounds: Vec<(usize, usize)> = turns.map(|(begun, weight)| {
                (begun / weight, begun.div_ceil(weight))
            }).collect();
            let least = rounds.iter().map(|(low, _)| *low).min().unwrap();
            let most = rounds.iter().map(|(_, high)| *high).max().unwrap();
            prop_assert!(most - least <= 1, "{rounds:?}");
        }
    }
}

#[test]
fn a_taken_key_lets_those_behind_it_pass_however_many_wait_for_it() {
    let mut model = Model::default();
    let mut queue = Queue::new(Rules::default(), BTreeSet::new());
    for _ in 0..1_000 {
        model.arrive(flow("a", "default", 5), "busy");
    }
    let other = model.arrive(flow("a", "default", 5), "other");
    let free = model.arrive(flow("a", "default", 5), "");
    model.pass(&mut queue, 3);
    let begun: Vec<_> = model.begun.iter().map(|(_, _, run)| run.run).collect();
    assert_eq!(begun.len(), 3);
    assert!(begun.contains(&other) && begun.contains(&free));
    // Those of the busy key go on in the order in which they came.
    let first = model.begun[0].2.queued_at;
    model.running.clear();
    model.pass(&mut queue, 3);
    assert_eq!(model.begun.len(), 4);
    assert!(model.begun[3].2.run > model.begun[0].2.run && model.begun[3].2.queued_at >= first);
}

#[test]
fn a_worker_takes_only_what_it_has_the_capabilities_for() {
    let mut model = Model::default();
    let needs = |capabilities: &str| Flow {
        capabilities: capabilities.into(),
        ..flow("a", "default", 9)
    };
    let gpu = model.arrive(needs("arm,gpu"), "");
    let plain = model.arrive(flow("a", "default", 0), "");
    let mut poor = Queue::new(Rules::default(), ["gpu".to_owned()].into());
    model.pass(&mut poor, 9);
    let begun = |model: &Model| model.begun.last().unwrap().2.run;
    assert_eq!((model.begun.len(), begun(&model)), (1, plain));
    let mut rich = Queue::new(
        Rules::default(),
        ["arm".to_owned(), "gpu".to_owned()].into(),
    );
    model.pass(&mut rich, 9);
    assert_eq!((model.begun.len(), begun(&model)), (2, gpu));
}

#[test]
fn a_run_that_somebody_else_took_costs_nobody_a_turn_and_is_looked_at_again() {
    let mut model = Model::default();
    let mut queue = Queue::new(Rules::default(), BTreeSet::new());
    let stolen = model.arrive(flow("a", "default", 5), "");
    let mine = model.arrive(flow("a", "default", 5), "");
    model.stolen.insert(stolen);
    let again = model.pass(&mut queue, 9);
    assert!(again.is_some_and(|at| at > model.now));
    assert_eq!(model.begun.len(), 1);
    assert_eq!(model.begun[0].2.run, mine);
    // The other process could not go on with it after all.
    model.stolen.clear();
    model.pass(&mut queue, 9);
    assert_eq!(model.begun.len(), 2);
}

#[test]
fn a_full_buckets_worth_begins_at_once_and_then_one_for_each_token() {
    let (mut model, rules) = (Model::default(), rules());
    model.now = Timestamp::from_micros(1_000_000_000);
    let mut queue = Queue::new(rules, BTreeSet::new());
    for _ in 0..4 {
        model.arrive(flow("a", "slow", 5), "");
    }
    let again = model.pass(&mut queue, 9).unwrap();
    assert_eq!((model.begun.len(), again), (2, model.now.plus(SECOND / 2)));
    model.running.clear();
    model.now = again.before(Duration::from_micros(1));
    model.pass(&mut queue, 9);
    assert_eq!(model.begun.len(), 2);
    model.now = again;
    model.pass(&mut queue, 9);
    assert_eq!(model.begun.len(), 3);
    // After a clock was set far back the bucket is empty, and nobody waits for the old time.
    model.now = Timestamp::from_micros(5_000_000);
    let again = model.pass(&mut queue, 9).unwrap();
    assert_eq!(again, model.now.plus(SECOND / 2));
}

#[test]
fn placings_are_looked_at() {
    let rules = rules();
    let checked = |json: serde_json::Value| {
        let placing: Result<Placing, _> = serde_json::from_value(json);
        placing.is_ok_and(|placing| placing.check(&rules).is_ok())
    };
    for good in [
        serde_json::json!({}),
        serde_json::json!({"lane": "default", "priority": 0}),
        serde_json::json!({"lane": "few", "priority": "high", "key": "a b", "capabilities": ["gpu"]}),
    ] {
        assert!(checked(good.clone()), "{good}");
    }
    for bad in [
        serde_json::json!({"lane": "nobody"}),
        serde_json::json!({"priority": 10}),
        serde_json::json!({"priority": "urgent"}),
        serde_json::json!({"key": ""}),
        serde_json::json!({"key": "a\u{1f}b"}),
        serde_json::json!({"key": "x".repeat(201)}),
        serde_json::json!({"capabilities": ["a,b"]}),
        serde_json::json!({"other": 1}),
    ] {
        assert!(!checked(bad.clone()), "{bad}");
    }
    for (text, level) in [("high", 8), ("normal", 5), ("low", 2), ("9", 9), ("0", 0)] {
        assert_eq!(text.parse::<Priority>().unwrap().level(), level);
    }
    assert!("10".parse::<Priority>().is_err());
}
