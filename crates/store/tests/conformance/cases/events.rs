//! The journal as events.

use matrix_store::tables::events::{self, Window};
use matrix_store::tables::journal;

use super::Row;
use crate::site::{Site, entry, ours, refused, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("events::shards", gives_newest_positions, |s| {
        // Positions are everybody's; what stands at them is not.
        with_entries(s);
        assert_eq!(s.spy(events::shards), [(0, 4)]);
    }),
    ("events::list", lists, |s| {
        with_entries(s);
        let seen = s.spy(|tx| events::list(tx, &theirs(), &window(0, 4), 9));
        assert_eq!(seen.len(), 1, "another tenant sees {seen:?}");
        assert_eq!(seen[0].run, run_id(3));
        refused(s.try_theirs(|tx| events::list(tx, &ours(), &window(0, 4), 9)));
        let one = Window {
            run: Some(run_id(1)),
            ..window(0, 4)
        };
        assert_eq!(s.spy(|tx| events::list(tx, &theirs(), &one, 9)), []);
    }),
];

fn window(after: i64, until: i64) -> Window {
    Window {
        shard: 0,
        after,
        until,
        run: None,
        kind: String::new(),
    }
}

/// Ours at 1, 2 and 4, theirs at 3.
fn with_entries(site: &Site) {
    site.with_runs(&[1, 2]);
    site.theirs(|tx| matrix_store::tables::runs::insert(tx, &crate::site::run_row(3, &theirs())));
    site.engine(|tx| {
        journal::insert(tx, &entry(1, 0))?;
        journal::insert(tx, &entry(2, 0))?;
        journal::insert(tx, &entry(3, 0))?;
        journal::insert(tx, &entry(1, 1))
    });
}

fn gives_newest_positions(site: &Site) {
    assert_eq!(site.see(events::shards), [(0, 0)]);
    with_entries(site);
    assert_eq!(site.see(events::shards), [(0, 4)]);
    assert_eq!(site.look(events::shards), [(0, 4)]);
}

fn lists(site: &Site) {
    with_entries(site);
    let seen = |window: &Window, limit| {
        let rows = site.see(|tx| events::list(tx, &ours(), window, limit));
        let places = rows.into_iter().map(|row| (row.lsn, row.run, row.seq));
        places.collect::<Vec<_>>()
    };
    let all = [(1, run_id(1), 0), (2, run_id(2), 0), (4, run_id(1), 1)];
    assert_eq!(seen(&window(0, 4), 9), all);
    assert_eq!(seen(&window(0, 3), 9), all[..2]);
    assert_eq!(seen(&window(1, 4), 1), all[1..2]);
    let of_run = Window {
        run: Some(run_id(1)),
        ..window(0, 4)
    };
    assert_eq!(seen(&of_run, 9), [all[0], all[2]]);
    let of_kind = |kind: &str| Window {
        kind: kind.into(),
        ..window(0, 4)
    };
    assert_eq!(seen(&of_kind("test"), 9), all);
    assert_eq!(seen(&of_kind("other"), 9), []);
    let row = &site.look(|tx| events::list(tx, &ours(), &window(0, 1), 1))[0];
    let kept = entry(1, 0);
    assert_eq!((&*row.kind, &*row.path), (&*kept.kind, &*kept.path));
    assert_eq!((row.hash, &row.payload), (kept.hash, &kept.payload));
    assert_eq!((&*row.run_kind, row.shard), ("test", 0));
}
