//! Steps that workers outside do.

use matrix_core::id::TaskId;
use matrix_store::tables::tasks::{self, Held, Lease, TaskRow};

use super::Row;
use crate::site::{Site, at, ours, refused, run_id, task, theirs};

pub(super) const CASES: &[Row] = &[
    ("tasks::offer", offers, |s| {
        s.with_runs(&[1]);
        s.engine_only(|tx| tasks::offer(tx, &task(1, 1, "a#1")));
    }),
    ("tasks::get", offers, |s| {
        with_offers(s);
        assert_eq!(s.spy(|tx| tasks::get(tx, id(1))), None);
    }),
    ("tasks::of_step", offers, |s| {
        with_offers(s);
        assert_eq!(s.spy(|tx| tasks::of_step(tx, run_id(1), "a#1")), None);
    }),
    ("tasks::of_run", are_of_a_run, |s| {
        with_offers(s);
        assert_eq!(s.spy(|tx| tasks::of_run(tx, run_id(1))), []);
    }),
    ("tasks::offered", are_offered, |s| {
        with_offers(s);
        assert_eq!(s.spy(|tx| tasks::offered(tx, &theirs(), "q", "", 9)), []);
        refused(s.try_theirs(|tx| tasks::offered(tx, &ours(), "q", "", 9)));
    }),
    ("tasks::lease", leases, |s| {
        with_offers(s);
        assert!(!s.theirs(|tx| tasks::lease(tx, &theirs(), id(1), &lease("t"), at(9))));
        refused(s.try_theirs(|tx| tasks::lease(tx, &ours(), id(1), &lease("t"), at(9))));
    }),
    ("tasks::beat", beats, |s| {
        with_leases(s);
        assert!(!s.theirs(|tx| tasks::beat(tx, &theirs(), id(1), "t", None)));
        refused(s.try_theirs(|tx| tasks::beat(tx, &ours(), id(1), "t", None)));
    }),
    ("tasks::report", reports, |s| {
        with_leases(s);
        assert!(!s.theirs(|tx| tasks::report(tx, &theirs(), id(1), "t", b"{}", at(9))));
        refused(s.try_theirs(|tx| tasks::report(tx, &ours(), id(1), "t", b"{}", at(9))));
    }),
    ("tasks::held", beats, |s| {
        s.engine_only(|tx| tasks::held(tx, 9));
    }),
    ("tasks::loads", are_counted, |s| {
        with_leases(s);
        assert_eq!(s.spy(|tx| tasks::loads(tx, &theirs())), []);
        refused(s.try_theirs(|tx| tasks::loads(tx, &ours())));
    }),
    ("tasks::lose", loses, |s| {
        with_leases(s);
        let held = held(s);
        s.engine_only(move |tx| tasks::lose(tx, &held, at(9)));
    }),
    ("tasks::expire", expires, |s| {
        with_leases(s);
        let held = held(s);
        s.engine_only(move |tx| tasks::expire(tx, &held, b"{}", at(9)));
    }),
    ("tasks::cancel", cancels, |s| {
        s.engine_only(|tx| tasks::cancel(tx, id(1)));
    }),
    ("tasks::remove", removes, |s| {
        s.engine_only(|tx| tasks::remove(tx, id(1)));
    }),
    ("tasks::withdraw", withdraws, |s| {
        s.engine_only(|tx| tasks::withdraw(tx, run_id(1)));
    }),
];

fn id(number: u8) -> TaskId {
    TaskId::from_bytes([number; 16])
}

fn are_counted(site: &Site) {
    with_offers(site);
    assert_eq!(site.see(|tx| tasks::loads(tx, &ours())), []);
    for number in [1, 3] {
        site.ours(move |tx| tasks::lease(tx, &ours(), id(number), &lease("t"), at(9)));
    }
    let loads = site.see(|tx| tasks::loads(tx, &ours()));
    assert_eq!(loads, [("service:w".to_owned(), 2)]);
}

fn lease(token: &str) -> Lease<'_> {
    Lease {
        worker: "service:w",
        token,
        due_at: Some(at(20)),
    }
}

/// Tasks 1 and 2 of run 1, task 3 of run 2.
fn with_offers(site: &Site) {
    site.with_runs(&[1, 2]);
    site.engine(|tx| {
        tasks::offer(tx, &task(1, 1, "a#1"))?;
        tasks::offer(tx, &task(2, 1, "b#1"))?;
        tasks::offer(tx, &task(3, 2, "a#1"))
    });
}

/// The same, and task 1 is leased.
fn with_leases(site: &Site) {
    with_offers(site);
    assert!(site.ours(|tx| tasks::lease(tx, &ours(), id(1), &lease("t"), at(9))));
}

fn held(site: &Site) -> Held {
    site.look(|tx| tasks::held(tx, 9)).remove(0)
}

fn one(site: &Site) -> TaskRow {
    site.look(|tx| tasks::get(tx, id(1))).unwrap()
}

fn offers(site: &Site) {
    with_leases(site);
    assert_eq!(
        site.see(|tx| tasks::get(tx, id(2))),
        Some(task(2, 1, "b#1"))
    );
    assert_eq!(site.see(|tx| tasks::get(tx, id(9))), None);
    // An offer of the same step takes the place of the one before, whatever had become of it.
    site.engine(|tx| tasks::offer(tx, &task(4, 1, "a#1")));
    assert_eq!(site.see(|tx| tasks::get(tx, id(1))), None);
    let step = site.see(|tx| tasks::of_step(tx, run_id(1), "a#1"));
    assert_eq!(step, Some(task(4, 1, "a#1")));
    assert_eq!(site.see(|tx| tasks::of_step(tx, run_id(1), "c#1")), None);
}

fn are_of_a_run(site: &Site) {
    with_offers(site);
    let rows = site.see(|tx| tasks::of_run(tx, run_id(1)));
    assert_eq!(rows, [task(1, 1, "a#1"), task(2, 1, "b#1")]);
}

fn are_offered(site: &Site) {
    with_offers(site);
    let ids = |queue: &'static str, names: &'static str, limit| {
        let rows = site.see(|tx| tasks::offered(tx, &ours(), queue, names, limit));
        rows.into_iter().map(|row| row.task).collect::<Vec<_>>()
    };
    assert_eq!(ids("q", "", 9), [id(1), id(2), id(3)]);
    assert_eq!(ids("q", "", 2), [id(1), id(2)]);
    assert_eq!(ids("q", ",a,c,", 9), [id(1), id(3)]);
    assert_eq!(ids("q", ",c,", 9), []);
    assert_eq!(ids("other", "", 9), []);
    let writing = site.ours(|tx| tasks::offered(tx, &ours(), "q", ",b,", 9));
    assert_eq!(writing, [task(2, 1, "b#1")]);
}

fn leases(site: &Site) {
    with_leases(site);
    let row = one(site);
    let expected = TaskRow {
        state: "leased".into(),
        worker: Some("service:w".into()),
        token: Some("t".into()),
        beat: 1,
        since: at(9),
        due_at: Some(at(20)),
        ..task(1, 1, "a#1")
    };
    assert_eq!(row, expected);
    assert!(!site.ours(|tx| tasks::lease(tx, &ours(), id(1), &lease("u"), at(10))));
    assert_eq!(
        site.see(|tx| tasks::offered(tx, &ours(), "q", "", 9)).len(),
        2
    );
}

fn beats(site: &Site) {
    with_leases(site);
    assert!(site.ours(|tx| tasks::beat(tx, &ours(), id(1), "t", Some("0.5"))));
    assert!(site.ours(|tx| tasks::beat(tx, &ours(), id(1), "t", None)));
    assert!(!site.ours(|tx| tasks::beat(tx, &ours(), id(1), "u", None)));
    assert!(!site.ours(|tx| tasks::beat(tx, &ours(), id(2), "t", None)));
    let row = one(site);
    assert_eq!((row.beat, row.progress.as_deref()), (3, Some("0.5")));
    let held = site.look(|tx| tasks::held(tx, 9));
    let expected = Held {
        task: id(1),
        run: run_id(1),
        scope: ours(),
        class: "read".into(),
        state: "leased".into(),
        lease_ms: 5_000,
        cancelled: false,
        losses: 0,
        token: "t".into(),
        beat: 3,
        due_at: Some(at(20)),
    };
    assert_eq!(held, [expected]);
}

fn reports(site: &Site) {
    with_leases(site);
    assert!(!site.ours(|tx| tasks::report(tx, &ours(), id(1), "u", b"1", at(9))));
    assert!(site.ours(|tx| tasks::report(tx, &ours(), id(1), "t", b"1", at(11))));
    assert!(!site.ours(|tx| tasks::report(tx, &ours(), id(1), "t", b"2", at(12))));
    assert!(!site.ours(|tx| tasks::beat(tx, &ours(), id(1), "t", None)));
    let row = one(site);
    assert_eq!(
        (&*row.state, row.report.as_deref()),
        ("reported", Some(&b"1"[..]))
    );
}

fn loses(site: &Site) {
    with_leases(site);
    let before = held(site);
    site.ours(|tx| tasks::beat(tx, &ours(), id(1), "t", Some("1")));
    assert!(!site.engine(move |tx| tasks::lose(tx, &before, at(30))));
    let now = held(site);
    assert!(site.engine(move |tx| tasks::lose(tx, &now, at(30))));
    let expected = TaskRow {
        losses: 1,
        since: at(30),
        ..task(1, 1, "a#1")
    };
    assert_eq!(one(site), expected);
}

fn expires(site: &Site) {
    with_leases(site);
    let before = held(site);
    let late = before.clone();
    assert!(site.engine(move |tx| tasks::expire(tx, &before, b"{}", at(30))));
    assert!(!site.engine(move |tx| tasks::expire(tx, &late, b"{}", at(31))));
    let row = one(site);
    assert_eq!((&*row.state, row.losses), ("reported", 1));
    assert!(!site.ours(|tx| tasks::report(tx, &ours(), id(1), "t", b"1", at(32))));
}

fn cancels(site: &Site) {
    with_leases(site);
    assert!(site.engine(|tx| tasks::cancel(tx, id(1))));
    assert!(!site.engine(|tx| tasks::cancel(tx, id(2))));
    assert!(one(site).cancelled);
}

fn removes(site: &Site) {
    with_leases(site);
    assert!(site.engine(|tx| tasks::remove(tx, id(1))));
    assert!(!site.engine(|tx| tasks::remove(tx, id(1))));
    assert_eq!(site.see(|tx| tasks::get(tx, id(1))), None);
}

fn withdraws(site: &Site) {
    with_leases(site);
    site.engine(|tx| tasks::withdraw(tx, run_id(1)));
    assert_eq!(site.look(|tx| tasks::of_run(tx, run_id(1))), []);
    assert_eq!(site.look(|tx| tasks::of_run(tx, run_id(2))).len(), 1);
}
