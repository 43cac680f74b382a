//! The queue.

use matrix_core::RunId;
use matrix_store::tables::queue::{self, Flow, Placement, Queued, Slot};
use matrix_store::tables::runs::{self, Release};

use super::Row;
use crate::site::{Site, at, ours, run_id, run_row, theirs};

pub(super) const CASES: &[Row] = &[
    ("queue::flows", finds_flows, |s| {
        s.engine_only(|tx| queue::flows(tx, "", 9));
    }),
    ("queue::head", gives_the_first, |s| {
        s.engine_only(|tx| queue::head(tx, &flow("default", 5), 9));
    }),
    ("queue::heads_by_key", gives_the_first_of_each_key, |s| {
        s.engine_only(|tx| queue::heads_by_key(tx, &flow("default", 5), "", 9));
    }),
    ("queue::keyless", gives_those_without_a_key, |s| {
        s.engine_only(|tx| queue::keyless(tx, &flow("default", 5), 9));
    }),
    ("queue::take", takes, |s| {
        s.with_runs(&[1]);
        s.engine_only(|tx| queue::take(tx, run_id(1), "w", at(2)));
    }),
    ("queue::exempt", exempts, |s| {
        s.with_runs(&[1]);
        s.engine_only(|tx| queue::exempt(tx, run_id(1), &flow("default", 9)));
    }),
    ("queue::gate", opens_the_gate, |s| {
        s.engine_only(queue::gate);
    }),
    ("queue::running", counts_who_runs, |s| {
        s.engine_only(|tx| queue::running(tx, &lane("default")));
    }),
    ("queue::holders", names_holders, |s| {
        s.engine_only(|tx| queue::holders(tx, &lane("default"), 9));
    }),
    ("queue::depth", counts_who_queues, |s| {
        s.engine_only(|tx| queue::depth(tx, &flow("default", 5), 9));
    }),
    ("queue::ahead", counts_who_is_ahead, |s| {
        s.engine_only(|tx| queue::ahead(tx, &flow("default", 5), at(9), run_id(9), 9));
    }),
    ("queue::running_by_flow", counts_flows, |s| {
        s.engine_only(queue::running_by_flow);
    }),
];

fn flow(lane: &str, priority: i64) -> Flow {
    let placement = Placement {
        lane: lane.into(),
        priority,
        ..Placement::default()
    };
    placement.flow(&ours())
}

fn lane(name: &str) -> Slot {
    Slot::Lane(name.into())
}

fn key(name: &str) -> Slot {
    Slot::Key("acme".into(), "main".into(), name.into())
}

fn place(site: &Site, number: u8, queued_at: i64, change: fn(&mut Placement)) {
    let mut row = run_row(number, &ours());
    row.placement.queued_at = at(queued_at);
    change(&mut row.placement);
    site.ours(move |tx| runs::insert(tx, &row));
}

fn ids(queued: Vec<Queued>) -> Vec<RunId> {
    queued.into_iter().map(|one| one.run).collect()
}

/// Runs 1 to 4 in the default flow, of which 2 and 4 have key `k` and 3 has key `l`; 5 is urgent;
/// 6 is in another lane; 7 requires a capability; 8 is another tenant's. The later, the earlier
/// they queued.
fn many(site: &Site) {
    place(site, 1, 90, |_| ());
    place(site, 2, 80, |p| p.key = "k".into());
    place(site, 3, 70, |p| p.key = "l".into());
    place(site, 4, 60, |p| p.key = "k".into());
    place(site, 5, 50, |p| p.priority = 9);
    place(site, 6, 40, |p| p.lane = "default2".into());
    place(site, 7, 30, |p| p.capabilities = "gpu".into());
    site.engine(|tx| runs::insert(tx, &run_row(8, &theirs())));
}

fn finds_flows(site: &Site) {
    assert_eq!(site.look(|tx| queue::flows(tx, "", 9)), []);
    many(site);
    let gpu = Flow {
        capabilities: "gpu".into(),
        ..flow("default", 5)
    };
    let all = [
        flow("default", 5),
        flow("default", 9),
        gpu,
        Placement::default().flow(&theirs()),
        flow("default2", 5),
    ];
    assert_eq!(site.look(|tx| queue::flows(tx, "", 9)), all);
    assert_eq!(site.look(|tx| queue::flows(tx, "", 2)), all[..2]);
    assert_eq!(
        site.look(|tx| queue::flows(tx, &all[1].name(), 9)),
        all[2..]
    );
    site.engine(|tx| queue::take(tx, run_id(5), "w", at(2)));
    let left = site.look(|tx| queue::flows(tx, "", 9));
    assert!(!left.contains(&all[1]), "nobody queues there any more");
    assert!(Flow::parse("no flow").is_err());
}

fn gives_the_first(site: &Site) {
    many(site);
    let head = site.look(|tx| queue::head(tx, &flow("default", 5), 3));
    assert_eq!((head[0].key.as_str(), head[0].queued_at), ("k", at(60)));
    assert_eq!(ids(head), [4, 3, 2].map(run_id));
}

fn gives_the_first_of_each_key(site: &Site) {
    many(site);
    let heads = |after: &'static str, limit| {
        let heads = site.look(|tx| queue::heads_by_key(tx, &flow("default", 5), after, limit));
        ids(heads)
    };
    assert_eq!(heads("", 9), [4, 3].map(run_id));
    assert_eq!(heads("", 1), [run_id(4)]);
    assert_eq!(heads("k", 9), [run_id(3)]);
    let first = site.look(|tx| queue::heads_by_key(tx, &flow("default", 5), "", 1));
    assert_eq!((first[0].key.as_str(), first[0].queued_at), ("k", at(60)));
}

fn gives_those_without_a_key(site: &Site) {
    many(site);
    let keyless = site.look(|tx| queue::keyless(tx, &flow("default", 5), 9));
    assert_eq!(ids(keyless), [run_id(1)]);
}

fn takes(site: &Site) {
    many(site);
    let row = site.engine(|tx| queue::take(tx, run_id(2), "w", at(2)));
    assert_eq!(row, site.look(|tx| runs::get(tx, run_id(2))));
    let row = row.unwrap();
    let owned = (row.state.as_str(), row.owner.as_deref(), row.epoch);
    assert_eq!(owned, ("running", Some("w"), 1));
    assert_eq!(row.placement.key, "k");
    assert_eq!(
        site.engine(|tx| queue::take(tx, run_id(2), "v", at(3))),
        None
    );
    assert_eq!(
        site.engine(|tx| queue::take(tx, run_id(99), "v", at(3))),
        None
    );
}

fn exempts(site: &Site) {
    many(site);
    assert!(site.engine(|tx| queue::exempt(tx, run_id(2), &flow("default", 9))));
    let placement = site.look(|tx| runs::get(tx, run_id(2))).unwrap().placement;
    assert_eq!((placement.priority, placement.key.as_str()), (9, ""));
    site.engine(|tx| queue::take(tx, run_id(4), "w", at(2)));
    assert!(!site.engine(|tx| queue::exempt(tx, run_id(4), &flow("default", 9))));
    site.engine(|tx| runs::requeue(tx, run_id(4), 1, at(3)));
    assert!(!site.engine(|tx| queue::exempt(tx, run_id(4), &flow("default", 9))));
}

fn opens_the_gate(site: &Site) {
    assert!(site.engine(queue::gate));
    assert!(site.engine(queue::gate), "it was left open");
}

/// Runs 2, 6 and 8 of `many` run.
fn some_run(site: &Site) {
    many(site);
    for number in [2, 6, 8] {
        let taken = site.engine(move |tx| queue::take(tx, run_id(number), "w", at(2)));
        assert!(taken.is_some());
    }
}

fn counts_who_runs(site: &Site) {
    some_run(site);
    let running = |slot: Slot| site.look(|tx| queue::running(tx, &slot));
    assert_eq!(
        running(lane("default")),
        2,
        "the other lane's name begins alike"
    );
    assert_eq!(running(lane("default2")), 1);
    assert_eq!(running(key("k")), 1);
    assert_eq!(running(key("l")), 0);
    assert_eq!(running(Slot::Tenant("acme".into(), "main".into())), 2);
    let release = Release {
        state: "succeeded",
        waiting: None,
        wake_at: None,
        stopped: "",
    };
    site.engine(move |tx| runs::release(tx, run_id(2), 1, &release, at(3)));
    assert_eq!(running(key("k")), 0);
    site.engine(|tx| runs::orphan(tx, "w", at(4)));
    assert_eq!(running(lane("default")), 0);
    assert_eq!(running(lane("default2")), 0);
}

fn names_holders(site: &Site) {
    some_run(site);
    let holders = |slot: Slot| site.look(|tx| queue::holders(tx, &slot, 9));
    let mut in_lane = holders(lane("default"));
    in_lane.sort_by_key(|(run, _)| *run);
    assert_eq!(in_lane, [(run_id(2), ours()), (run_id(8), theirs())]);
    assert_eq!(holders(key("k")), [(run_id(2), ours())]);
    let tenant = holders(Slot::Tenant("globex".into(), "main".into()));
    assert_eq!(tenant, [(run_id(8), theirs())]);
}

fn counts_who_queues(site: &Site) {
    many(site);
    assert_eq!(site.look(|tx| queue::depth(tx, &flow("default", 5), 9)), 4);
    assert_eq!(site.look(|tx| queue::depth(tx, &flow("default", 5), 3)), 3);
    assert_eq!(site.look(|tx| queue::depth(tx, &flow("default", 1), 3)), 0);
}

fn counts_who_is_ahead(site: &Site) {
    many(site);
    let ahead = |queued_at, number, most| {
        let flow = flow("default", 5);
        site.look(|tx| queue::ahead(tx, &flow, at(queued_at), run_id(number), most))
    };
    assert_eq!(ahead(60, 4, 9), 0);
    assert_eq!(ahead(90, 1, 9), 3);
    assert_eq!(ahead(60, 5, 9), 1, "at one time the older run comes first");
    assert_eq!(ahead(90, 1, 2), 2);
}

fn counts_flows(site: &Site) {
    assert_eq!(site.look(queue::running_by_flow), []);
    some_run(site);
    let mut found = site.look(queue::running_by_flow);
    found.sort();
    let theirs = Placement::default().flow(&theirs());
    let all = [
        (flow("default", 5), 1),
        (theirs, 1),
        (flow("default2", 5), 1),
    ];
    assert_eq!(found, all);
}
