//! The journal.

use matrix_core::Digest;
use matrix_store::tables::journal::{self, EntryRow};
use matrix_store::tables::runs::{self, Head, HeadMove};
use matrix_store::{StoreError, Tx};

use super::Row;
use crate::site::{Site, conflicts, entry, refused, run_id};

pub(super) const CASES: &[Row] = &[
    ("journal::insert", inserts, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| journal::insert(tx, &entry(1, 0))));
        assert_eq!(s.look(|tx| journal::list(tx, run_id(1), -1, 9)), []);
    }),
    ("journal::list", lists, |s| {
        with_entries(s);
        assert_eq!(s.spy(|tx| journal::list(tx, run_id(1), -1, 9)), []);
        assert_eq!(s.theirs(|tx| journal::list(tx, run_id(1), -1, 9)), []);
    }),
    ("journal::since", gives_the_order_of_commits, |s| {
        s.engine_only(|tx| journal::since(tx, 0, 0, 9));
    }),
    ("journal::erase", erases, |s| {
        with_entries(s);
        assert!(!s.theirs(|tx| journal::erase(tx, run_id(1), 0)));
        let kept = s.look(|tx| journal::list(tx, run_id(1), -1, 1));
        assert!(kept[0].payload.is_some());
    }),
];

/// Entries 0 to 2 of our run 1 and entry 0 of our run 2.
fn with_entries(site: &Site) {
    site.with_runs(&[1, 2]);
    site.engine(|tx| {
        append(tx, &entry(1, 0))?;
        append(tx, &entry(2, 0))
    });
    site.ours(|tx| {
        append(tx, &entry(1, 1))?;
        append(tx, &entry(1, 2))
    });
}

/// Inserts an entry as an owner does: the run's head moves with it.
fn append(tx: &Tx<'_>, entry: &EntryRow) -> Result<(), StoreError> {
    let from = runs::head(tx, entry.run)?.unwrap();
    let (seq, hash) = (entry.seq, entry.hash);
    let to = Head { seq, hash, ..from };
    assert!(runs::move_head(
        tx,
        entry.run,
        &HeadMove { from, to },
        entry.at
    )?);
    journal::insert(tx, entry)
}

fn inserts(site: &Site) {
    site.with_runs(&[1]);
    let large = EntryRow {
        payload: None,
        payload_blob: Some(Digest::of("blob")),
        ..entry(1, 1)
    };
    let second = large.clone();
    site.engine(move |tx| {
        append(tx, &entry(1, 0))?;
        append(tx, &second)
    });
    let rows = site.see(|tx| journal::list(tx, run_id(1), -1, 9));
    let expected = [
        EntryRow {
            lsn: 1,
            ..entry(1, 0)
        },
        EntryRow { lsn: 2, ..large },
    ];
    assert_eq!(rows, expected);
    conflicts(site.try_engine(|tx| journal::insert(tx, &entry(1, 1))));
    conflicts(site.try_engine(|tx| journal::insert(tx, &entry(9, 0))));
    // What was refused has taken no position.
    site.engine(|tx| append(tx, &entry(1, 2)));
    let rows = site.see(|tx| journal::list(tx, run_id(1), 1, 9));
    assert_eq!(rows[0].lsn, 3);
}

fn lists(site: &Site) {
    with_entries(site);
    let seqs = |after, limit| {
        let rows = site.see(|tx| journal::list(tx, run_id(1), after, limit));
        rows.into_iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    assert_eq!(seqs(-1, 9), [0, 1, 2]);
    assert_eq!(seqs(0, 1), [1]);
    assert_eq!(seqs(2, 9), [0_i64; 0]);
}

fn gives_the_order_of_commits(site: &Site) {
    with_entries(site);
    let order = |after, limit| {
        let rows = site.look(|tx| journal::since(tx, 0, after, limit));
        let order = rows.into_iter().map(|row| (row.lsn, row.run, row.seq));
        order.collect::<Vec<_>>()
    };
    let all = [
        (1, run_id(1), 0),
        (2, run_id(2), 0),
        (3, run_id(1), 1),
        (4, run_id(1), 2),
    ];
    assert_eq!(order(0, 9), all);
    assert_eq!(order(1, 2), all[1..3]);
    assert_eq!(order(4, 9), []);
    assert_eq!(site.look(|tx| journal::since(tx, 77, 0, 9)), []);
}

fn erases(site: &Site) {
    with_entries(site);
    assert!(!site.ours(|tx| journal::erase(tx, run_id(1), 7)));
    assert!(site.ours(|tx| journal::erase(tx, run_id(1), 1)));
    assert!(site.engine(|tx| journal::erase(tx, run_id(2), 0)));
    let rows = site.see(|tx| journal::list(tx, run_id(1), -1, 9));
    let erased = EntryRow {
        lsn: 3,
        salt: None,
        payload: None,
        ..entry(1, 1)
    };
    assert_eq!(rows[1], erased);
    assert!(rows[0].payload.is_some() && rows[2].salt.is_some());
}
