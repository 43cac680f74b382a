//! Rates that are used up, and keys that are paused.

use matrix_store::tables::queue::Slot;
use matrix_store::tables::throttles;

use super::Row;
use crate::site::{Site, at, ours};

pub(super) const CASES: &[Row] = &[
    ("throttles::get", remembers_throttles, |s| {
        s.engine_only(|tx| throttles::get(tx, &key("k")));
    }),
    ("throttles::paused", lists_what_is_paused, |s| {
        s.engine_only(|tx| throttles::paused(tx, &ours(), at(1), 9));
    }),
    ("throttles::spend", remembers_throttles, |s| {
        s.engine_only(|tx| throttles::spend(tx, &key("k"), at(9)));
    }),
    ("throttles::pause", lists_what_is_paused, |s| {
        s.engine_only(|tx| throttles::pause(tx, &key("k"), at(9), "because"));
    }),
    ("throttles::forget", forgets_what_is_over, |s| {
        s.engine_only(|tx| throttles::forget(tx, at(9)));
    }),
];

fn lane(name: &str) -> Slot {
    Slot::Lane(name.into())
}

fn key(name: &str) -> Slot {
    Slot::Key("acme".into(), "main".into(), name.into())
}

fn remembers_throttles(site: &Site) {
    for slot in [key("k"), lane("k")] {
        assert_eq!(site.look(|tx| throttles::get(tx, &slot)), None);
    }
    site.engine(|tx| throttles::spend(tx, &key("k"), at(9)));
    site.engine(|tx| throttles::spend(tx, &key("k"), at(12)));
    site.engine(|tx| throttles::pause(tx, &key("k"), at(20), "told so"));
    site.engine(|tx| throttles::spend(tx, &key("k"), at(13)));
    let found = site.look(|tx| throttles::get(tx, &key("k"))).unwrap();
    assert_eq!((found.full_at, found.paused_until), (at(13), at(20)));
    assert_eq!((found.slot, found.because.as_str()), (key("k"), "told so"));
    assert_eq!(site.look(|tx| throttles::get(tx, &lane("k"))), None);
}

fn lists_what_is_paused(site: &Site) {
    site.engine(|tx| throttles::pause(tx, &key("k"), at(20), "first"));
    site.engine(|tx| throttles::pause(tx, &key("k"), at(30), "second"));
    site.engine(|tx| throttles::pause(tx, &key("l"), at(10), "short"));
    let foreign = Slot::Key("globex".into(), "main".into(), "k".into());
    site.engine(move |tx| throttles::pause(tx, &foreign, at(50), "theirs"));
    let paused = |now| site.look(|tx| throttles::paused(tx, &ours(), at(now), 9));
    assert_eq!(paused(5).len(), 2);
    let found = paused(10);
    assert_eq!(found.len(), 1);
    assert_eq!(
        (found[0].because.as_str(), found[0].full_at),
        ("second", at(0))
    );
    assert_eq!(paused(30), []);
}

fn forgets_what_is_over(site: &Site) {
    site.engine(|tx| throttles::spend(tx, &key("k"), at(9)));
    site.engine(|tx| throttles::pause(tx, &key("l"), at(20), "paused"));
    assert_eq!(site.engine(|tx| throttles::forget(tx, at(8))), 0);
    assert_eq!(site.engine(|tx| throttles::forget(tx, at(9))), 1);
    assert_eq!(site.look(|tx| throttles::get(tx, &key("k"))), None);
    assert!(site.look(|tx| throttles::get(tx, &key("l"))).is_some());
}
