//! The journal's tree and its signed heads.

use matrix_core::Digest;
use matrix_store::tables::checkpoints::{self, CheckpointRow};
use matrix_store::tables::journal;

use super::Row;
use crate::site::{Site, at, entry, run_id};

pub(super) const CASES: &[Row] = &[
    ("checkpoints::newest", heads, |s| {
        s.engine_only(|tx| checkpoints::newest(tx, 0));
    }),
    ("checkpoints::insert", heads, |s| {
        s.engine_only(|tx| checkpoints::insert(tx, &head(1)));
    }),
    ("checkpoints::keep_node", keeps_nodes, |s| {
        s.engine_only(|tx| checkpoints::keep_node(tx, 0, 1, 0, &Digest::of("x")));
    }),
    ("checkpoints::nodes", keeps_nodes, |s| {
        s.engine_only(|tx| checkpoints::nodes(tx, 0, 1, 0, 9));
    }),
    ("checkpoints::leaves", gives_leaves, |s| {
        s.engine_only(|tx| checkpoints::leaves(tx, 0, 0, 9));
    }),
    ("checkpoints::keep_leaves", keeps_leaves, |s| {
        s.engine_only(|tx| checkpoints::keep_leaves(tx, 0, 1, &[Digest::of("x")]));
    }),
    ("checkpoints::kept_leaves", keeps_leaves, |s| {
        s.engine_only(|tx| checkpoints::kept_leaves(tx, 0, 1, 9));
    }),
    ("checkpoints::shards", gives_shards, |s| {
        s.engine_only(checkpoints::shards);
    }),
    ("checkpoints::length", gives_leaves, |s| {
        s.engine_only(|tx| checkpoints::length(tx, 0));
    }),
    ("checkpoints::position", gives_positions, |s| {
        with_entries(s);
        assert_eq!(s.spy(|tx| checkpoints::position(tx, run_id(1), 0)), None);
    }),
];

fn head(size: i64) -> CheckpointRow {
    CheckpointRow {
        shard: 0,
        size,
        origin: "example.org/log".into(),
        root: Digest::of(size.to_string()),
        note: "a\nnote\n".into(),
        at: at(size),
    }
}

fn gives_shards(site: &Site) {
    assert_eq!(site.look(checkpoints::shards), [0]);
}

fn heads(site: &Site) {
    assert_eq!(site.look(|tx| checkpoints::newest(tx, 0)), None);
    for size in [5, 12, 9] {
        assert!(site.engine(move |tx| checkpoints::insert(tx, &head(size))));
    }
    assert!(!site.engine(|tx| checkpoints::insert(tx, &head(9))));
    assert_eq!(site.look(|tx| checkpoints::newest(tx, 0)), Some(head(12)));
    assert_eq!(site.look(|tx| checkpoints::newest(tx, 1)), None);
}

fn keeps_nodes(site: &Site) {
    site.engine(|tx| {
        for position in [2, 0, 1] {
            let hash = Digest::of(position.to_string());
            checkpoints::keep_node(tx, 0, 1, position, &hash)?;
        }
        checkpoints::keep_node(tx, 0, 1, 1, &Digest::of("another"))?;
        checkpoints::keep_node(tx, 0, 2, 0, &Digest::of("above"))
    });
    let nodes = |first, count| site.look(|tx| checkpoints::nodes(tx, 0, 1, first, count));
    assert_eq!(nodes(0, 9), ["0", "1", "2"].map(Digest::of));
    assert_eq!(nodes(1, 1), [Digest::of("1")]);
}

fn with_entries(site: &Site) {
    site.with_runs(&[1, 2]);
    site.engine(|tx| {
        journal::insert(tx, &entry(1, 0))?;
        journal::insert(tx, &entry(2, 0))?;
        journal::insert(tx, &entry(1, 1))
    });
}

fn gives_leaves(site: &Site) {
    assert_eq!(site.look(|tx| checkpoints::length(tx, 0)), 0);
    with_entries(site);
    assert_eq!(site.look(|tx| checkpoints::length(tx, 0)), 3);
    let leaves = |after, limit| site.look(|tx| checkpoints::leaves(tx, 0, after, limit));
    let all = [(1, "1/0"), (2, "2/0"), (3, "1/1")].map(|(lsn, hash)| (lsn, Digest::of(hash)));
    assert_eq!(leaves(0, 9), all);
    assert_eq!(leaves(1, 1), all[1..2]);
}

fn keeps_leaves(site: &Site) {
    let hashes = |from: i64, to: i64| (from..=to).map(|n| Digest::of(n.to_string())).collect();
    let keep = |first: i64, hashes: Vec<Digest>| {
        site.try_engine(move |tx| checkpoints::keep_leaves(tx, 0, first, &hashes))
    };
    keep(257, hashes(257, 300)).unwrap();
    keep(301, hashes(301, 512)).unwrap();
    crate::site::conflicts(keep(257, hashes(1, 1)));
    let kept = |first, last| site.look(|tx| checkpoints::kept_leaves(tx, 0, first, last));
    assert_eq!(kept(1, 256), []);
    assert_eq!(kept(1, 257), [(257, hashes(257, 300))]);
    assert_eq!(kept(512, 900), [(301, hashes(301, 512))]);
    assert_eq!(site.look(|tx| checkpoints::length(tx, 0)), 512);
    // Entries that are there are read where they stand; kept hashes are read between them.
    with_entries(site);
    let leaves = site.look(|tx| checkpoints::leaves(tx, 0, 1, 257));
    let expected = [
        (2, Digest::of("2/0")),
        (3, Digest::of("1/1")),
        (257, Digest::of("257")),
        (258, Digest::of("258")),
    ];
    assert_eq!(leaves, expected);
    assert_eq!(site.look(|tx| checkpoints::leaves(tx, 1, 0, 900)), []);
}

fn gives_positions(site: &Site) {
    with_entries(site);
    let position = |seq| site.look(|tx| checkpoints::position(tx, run_id(1), seq));
    assert_eq!(position(1), Some((0, 3)));
    assert_eq!(position(2), None);
}
