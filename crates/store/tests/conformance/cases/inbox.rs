//! Messages to runs.

use matrix_store::tables::inbox::{self, Message};

use super::Row;
use crate::site::{Site, conflicts, message, refused, run_id};

pub(super) const CASES: &[Row] = &[
    ("inbox::insert", inserts, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| inbox::insert(tx, &message(1, "signal"))));
        assert_eq!(s.look(|tx| inbox::list(tx, run_id(1))), []);
    }),
    ("inbox::list", lists, |s| {
        with_mail(s);
        assert_eq!(s.spy(|tx| inbox::list(tx, run_id(1))), []);
    }),
    ("inbox::delete", deletes, |s| {
        with_mail(s);
        s.engine_only(|tx| inbox::delete(tx, 1));
        assert_eq!(s.look(|tx| inbox::list(tx, run_id(1))).len(), 2);
    }),
    ("inbox::waiting", knows_of_mail, |s| {
        with_mail(s);
        assert!(!s.spy(|tx| inbox::waiting(tx, run_id(1))));
    }),
    ("inbox::steering", knows_of_steering, |s| {
        with_mail(s);
        assert!(!s.spy(|tx| inbox::steering(tx, run_id(1))));
    }),
];

/// A signal and a cancellation for run 1, a signal for run 2.
fn with_mail(site: &Site) {
    site.with_runs(&[1, 2, 3]);
    site.ours(|tx| {
        inbox::insert(tx, &message(1, "signal"))?;
        inbox::insert(tx, &message(2, "signal"))
    });
    site.engine(|tx| inbox::insert(tx, &message(1, "cancel_requested")));
}

fn inserts(site: &Site) {
    site.with_runs(&[1]);
    site.ours(|tx| inbox::insert(tx, &message(1, "signal")));
    let rows = site.see(|tx| inbox::list(tx, run_id(1)));
    let expected = Message {
        id: rows[0].id,
        ..message(1, "signal")
    };
    assert_eq!(rows, [expected]);
    conflicts(site.try_engine(|tx| inbox::insert(tx, &message(9, "signal"))));
}

fn lists(site: &Site) {
    with_mail(site);
    let rows = site.look(|tx| inbox::list(tx, run_id(1)));
    let kinds: Vec<_> = rows.into_iter().map(|row| row.kind).collect();
    assert_eq!(kinds, ["signal", "cancel_requested"]);
    assert_eq!(site.look(|tx| inbox::list(tx, run_id(3))), []);
}

fn deletes(site: &Site) {
    with_mail(site);
    let first = site.look(|tx| inbox::list(tx, run_id(1)))[0].id;
    assert!(site.engine(move |tx| inbox::delete(tx, first)));
    assert!(!site.engine(move |tx| inbox::delete(tx, first)));
    assert_eq!(site.look(|tx| inbox::list(tx, run_id(1))).len(), 1);
}

fn knows_of_mail(site: &Site) {
    with_mail(site);
    assert!(site.look(|tx| inbox::waiting(tx, run_id(1))));
    assert!(site.see(|tx| inbox::waiting(tx, run_id(2))));
    assert!(!site.look(|tx| inbox::waiting(tx, run_id(3))));
}

fn knows_of_steering(site: &Site) {
    with_mail(site);
    assert!(site.look(|tx| inbox::steering(tx, run_id(1))));
    assert!(!site.look(|tx| inbox::steering(tx, run_id(2))));
}
