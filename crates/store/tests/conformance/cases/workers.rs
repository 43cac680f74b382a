//! Heartbeats.

use matrix_store::tables::workers;

use super::Row;
use crate::site::Site;

pub(super) const CASES: &[Row] = &[
    ("workers::beat", beats, |s| {
        s.engine_only(|tx| workers::beat(tx, "a"));
    }),
    ("workers::list", beats, |s| {
        s.engine_only(workers::list);
    }),
    ("workers::remove", removes, |s| {
        s.engine_only(|tx| workers::remove(tx, "a"));
    }),
];

fn list(site: &Site) -> Vec<(String, i64)> {
    let mut list = site.look(workers::list);
    list.sort();
    list
}

fn beats(site: &Site) {
    assert_eq!(list(site), []);
    for worker in ["a", "b", "a"] {
        site.engine(move |tx| workers::beat(tx, worker));
    }
    assert_eq!(list(site), [("a".to_owned(), 2), ("b".to_owned(), 1)]);
}

fn removes(site: &Site) {
    beats(site);
    site.engine(|tx| workers::remove(tx, "a"));
    site.engine(|tx| workers::remove(tx, "nobody"));
    assert_eq!(list(site), [("b".to_owned(), 1)]);
}
