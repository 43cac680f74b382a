//! Names that only one run may have at a time.

use matrix_store::tables::singletons;

use super::Row;
use crate::site::{Site, ours, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("singletons::lock", remembers, |s| {
        s.engine_only(|tx| singletons::lock(tx, &ours(), "n"));
    }),
    ("singletons::set", remembers, |s| {
        s.engine_only(|tx| singletons::set(tx, &ours(), "n", run_id(1)));
    }),
];

fn remembers(site: &Site) {
    let last = || site.engine(|tx| singletons::lock(tx, &ours(), "n"));
    assert_eq!(last(), None);
    for number in [1, 2] {
        site.engine(move |tx| singletons::set(tx, &ours(), "n", run_id(number)));
        assert_eq!(last(), Some(run_id(number)));
    }
    let other = site.engine(|tx| singletons::lock(tx, &ours(), "m"));
    assert_eq!(other, None);
    let foreign = site.engine(|tx| singletons::lock(tx, &theirs(), "n"));
    assert_eq!(foreign, None);
}
