//! Who is told of events.

use matrix_core::Scope;
use matrix_core::id::SubscriptionId;
use matrix_store::tables::subscriptions::{self, SubscriptionRow};

use super::Row;
use crate::site::{Site, at, ours, refused, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("subscriptions::insert", inserts, |s| {
        refused(s.try_theirs(|tx| subscriptions::insert(tx, &row(1, &ours(), "a"))));
        // A name is unique within a scope only.
        s.ours(|tx| subscriptions::insert(tx, &row(1, &ours(), "a")));
        assert!(s.theirs(|tx| subscriptions::insert(tx, &row(2, &theirs(), "a"))));
    }),
    ("subscriptions::get", inserts, |s| {
        with_one(s);
        assert_eq!(s.spy(|tx| subscriptions::get(tx, &theirs(), "a")), None);
        refused(s.try_theirs(|tx| subscriptions::get(tx, &ours(), "a")));
    }),
    ("subscriptions::list", lists, |s| {
        with_one(s);
        assert_eq!(s.spy(|tx| subscriptions::list(tx, &theirs(), 9)), []);
        refused(s.try_theirs(|tx| subscriptions::list(tx, &ours(), 9)));
    }),
    ("subscriptions::all", lists, |s| {
        s.engine_only(|tx| subscriptions::all(tx, 9));
    }),
    ("subscriptions::remove", removes, |s| {
        with_one(s);
        assert!(!s.theirs(|tx| subscriptions::remove(tx, &theirs(), "a")));
        refused(s.try_theirs(|tx| subscriptions::remove(tx, &ours(), "a")));
        assert!(one(s).is_some());
    }),
    ("subscriptions::reset", resets, |s| {
        with_one(s);
        assert!(!s.theirs(|tx| subscriptions::reset(tx, &theirs(), "a", "0:9")));
        refused(s.try_theirs(|tx| subscriptions::reset(tx, &ours(), "a", "0:9")));
        assert_eq!(one(s).unwrap().generation, 0);
    }),
    ("subscriptions::claim", is_fenced, |s| {
        s.engine_only(|tx| subscriptions::claim(tx, id(1), "w", 0));
    }),
    ("subscriptions::beat", beats, |s| {
        s.engine_only(|tx| subscriptions::beat(tx, "w"));
    }),
    ("subscriptions::release", beats, |s| {
        s.engine_only(|tx| subscriptions::release(tx, "w"));
    }),
    ("subscriptions::advance", is_fenced, |s| {
        s.engine_only(|tx| subscriptions::advance(tx, (id(1), 0), "0:1", 1, at(1)));
    }),
    ("subscriptions::fail", is_fenced, |s| {
        s.engine_only(|tx| subscriptions::fail(tx, (id(1), 0), "no", at(1)));
    }),
];

fn id(number: u8) -> SubscriptionId {
    SubscriptionId::from_bytes([number; 16])
}

pub(crate) fn row(number: u8, scope: &Scope, name: &str) -> SubscriptionRow {
    SubscriptionRow {
        subscription: id(number),
        scope: scope.clone(),
        name: name.into(),
        topics: r#"["run.*"]"#.into(),
        kind: "change".into(),
        run: Some(run_id(1)),
        payloads: true,
        destination: "nats://localhost/events".into(),
        caller: "{}".into(),
        cursor: "0:5".into(),
        generation: 0,
        delivered: 0,
        delivered_at: None,
        failures: 0,
        error: None,
        failed_at: None,
        owner: None,
        epoch: 0,
        beat: 0,
        created_at: at(3),
    }
}

fn with_one(site: &Site) {
    assert!(site.ours(|tx| subscriptions::insert(tx, &row(1, &ours(), "a"))));
}

fn one(site: &Site) -> Option<SubscriptionRow> {
    site.see(|tx| subscriptions::get(tx, &ours(), "a"))
}

fn inserts(site: &Site) {
    assert_eq!(one(site), None);
    with_one(site);
    assert_eq!(one(site), Some(row(1, &ours(), "a")));
    assert!(!site.ours(|tx| subscriptions::insert(tx, &row(2, &ours(), "a"))));
    assert_eq!(one(site).unwrap().subscription, id(1));
}

fn lists(site: &Site) {
    for (number, name) in [(1, "b"), (2, "a"), (3, "c")] {
        site.ours(move |tx| subscriptions::insert(tx, &row(number, &ours(), name)));
    }
    site.theirs(|tx| subscriptions::insert(tx, &row(4, &theirs(), "d")));
    let names = |rows: Vec<SubscriptionRow>| -> Vec<String> {
        rows.into_iter().map(|row| row.name).collect()
    };
    let listed = |limit| names(site.see(|tx| subscriptions::list(tx, &ours(), limit)));
    assert_eq!(listed(9), ["a", "b", "c"]);
    assert_eq!(listed(2), ["a", "b"]);
    let all = names(site.look(|tx| subscriptions::all(tx, 9)));
    assert_eq!(all, ["b", "a", "c", "d"]);
}

fn removes(site: &Site) {
    with_one(site);
    assert!(!site.ours(|tx| subscriptions::remove(tx, &ours(), "b")));
    assert!(site.ours(|tx| subscriptions::remove(tx, &ours(), "a")));
    assert_eq!(one(site), None);
}

fn resets(site: &Site) {
    with_one(site);
    assert!(site.engine(|tx| subscriptions::claim(tx, id(1), "w", 0)));
    assert!(site.engine(|tx| subscriptions::fail(tx, (id(1), 1), "no", at(4))));
    assert!(!site.ours(|tx| subscriptions::reset(tx, &ours(), "b", "0:1")));
    assert!(site.ours(|tx| subscriptions::reset(tx, &ours(), "a", "0:1")));
    let now = one(site).unwrap();
    assert_eq!((&*now.cursor, now.generation, now.epoch), ("0:1", 1, 2));
    assert_eq!((now.owner, now.error, now.failures), (None, None, 0));
}

fn is_fenced(site: &Site) {
    with_one(site);
    let claim = |epoch| site.engine(move |tx| subscriptions::claim(tx, id(1), "w", epoch));
    assert!(!claim(7));
    assert!(claim(0));
    assert!(!claim(0), "claimed twice");
    let advance = |epoch, lsn: i64, count| {
        let cursor = format!("0:{lsn}");
        site.engine(move |tx| subscriptions::advance(tx, (id(1), epoch), &cursor, count, at(9)))
    };
    let fail = |epoch| site.engine(move |tx| subscriptions::fail(tx, (id(1), epoch), "no", at(8)));
    assert!(!fail(0) && !advance(0, 6, 1));
    assert!(fail(1) && fail(1));
    let failed = one(site).unwrap();
    assert_eq!((failed.failures, failed.error.as_deref()), (2, Some("no")));
    assert_eq!((failed.failed_at, &*failed.cursor), (Some(at(8)), "0:5"));
    assert!(advance(1, 7, 0));
    assert_eq!(
        one(site).unwrap().delivered_at,
        None,
        "nothing was delivered"
    );
    assert!(advance(1, 9, 2));
    let now = one(site).unwrap();
    assert_eq!((&*now.cursor, now.delivered), ("0:9", 2));
    assert_eq!(
        (now.delivered_at, now.failures, now.error),
        (Some(at(9)), 0, None)
    );
    assert!(claim(1));
    assert!(!advance(1, 99, 1), "an owner of before moves the cursor");
}

fn beats(site: &Site) {
    with_one(site);
    site.engine(|tx| subscriptions::claim(tx, id(1), "w", 0));
    let before = one(site).unwrap();
    site.engine(|tx| subscriptions::beat(tx, "another"));
    assert_eq!(one(site).unwrap(), before);
    site.engine(|tx| subscriptions::beat(tx, "w"));
    assert_eq!(one(site).unwrap().beat, before.beat + 1);
    site.engine(|tx| subscriptions::release(tx, "another"));
    assert_eq!(one(site).unwrap().owner.as_deref(), Some("w"));
    site.engine(|tx| subscriptions::release(tx, "w"));
    let free = one(site).unwrap();
    assert_eq!((free.owner, free.epoch), (None, before.epoch + 1));
}
