//! The audit, and requests that are carried out once.

use matrix_core::{Digest, Timestamp};
use matrix_store::tables::audit;
use matrix_store::tables::idempotency::{self, KeyRow};

use super::Row;
use crate::site::{Site, at, caller, ours, refused, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("audit::insert", audits, |s| {
        refused(s.try_theirs(|tx| act(tx, "x")));
        assert_eq!(s.see(|tx| audit::list(tx, &caller(&ours()), 9)), []);
    }),
    ("audit::list", audits, |s| {
        s.ours(|tx| act(tx, "x"));
        assert_eq!(s.spy(|tx| audit::list(tx, &caller(&theirs()), 9)), []);
        refused(s.try_theirs(|tx| audit::list(tx, &caller(&ours()), 9)));
    }),
    ("idempotency::record", records, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| record(tx, "k", 1, at(5))));
        // Nor does their key name our run.
        refused(s.try_theirs(|tx| {
            idempotency::record(tx, &caller(&theirs()), "k", &key(1, at(5)), at(0))
        }));
        assert_eq!(
            s.see(|tx| idempotency::get(tx, &caller(&ours()), "k")),
            None
        );
    }),
    ("idempotency::get", records, |s| {
        s.with_runs(&[1]);
        s.ours(|tx| record(tx, "k", 1, at(5)));
        assert_eq!(
            s.spy(|tx| idempotency::get(tx, &caller(&theirs()), "k")),
            None
        );
        refused(s.try_theirs(|tx| idempotency::get(tx, &caller(&ours()), "k")));
    }),
    ("idempotency::prune", prunes, |s| {
        s.with_runs(&[1]);
        s.ours(|tx| record(tx, "k", 1, at(5)));
        assert_eq!(
            s.theirs(|tx| idempotency::prune(tx, &theirs(), at(9), 9)),
            0
        );
        refused(s.try_theirs(|tx| idempotency::prune(tx, &ours(), at(9), 9)));
        let kept = s.see(|tx| idempotency::get(tx, &caller(&ours()), "k"));
        assert!(kept.is_some());
    }),
];

fn act(tx: &matrix_store::Tx<'_>, subject: &str) -> Result<(), matrix_store::StoreError> {
    audit::insert(tx, &caller(&ours()), at(1), "run_create", subject, "{}")
}

fn audits(site: &Site) {
    site.ours(|tx| act(tx, "first"));
    site.engine(|tx| act(tx, "second"));
    let acts = site.see(|tx| audit::list(tx, &caller(&ours()), 9));
    let subjects: Vec<_> = acts.iter().map(|act| act.subject.as_str()).collect();
    assert_eq!(subjects, ["second", "first"]);
    let first = &acts[1];
    assert_eq!((first.actor.as_str(), first.at), ("user:ada", at(1)));
    assert_eq!((&*first.action, &*first.detail), ("run_create", "{}"));
    assert_eq!(site.see(|tx| audit::list(tx, &caller(&ours()), 1)).len(), 1);
}

fn key(run: u8, created_at: Timestamp) -> KeyRow {
    KeyRow {
        request: Digest::of("request"),
        worker: "w".into(),
        run: Some(run_id(run)),
        created_at,
    }
}

/// Records our use of a key; those used before 3 are forgotten.
fn record(
    tx: &matrix_store::Tx<'_>,
    name: &str,
    run: u8,
    when: Timestamp,
) -> Result<bool, matrix_store::StoreError> {
    idempotency::record(tx, &caller(&ours()), name, &key(run, when), at(3))
}

fn records(site: &Site) {
    site.with_runs(&[1, 2]);
    assert!(site.ours(|tx| record(tx, "k", 1, at(2))));
    let get = || site.see(|tx| idempotency::get(tx, &caller(&ours()), "k"));
    assert_eq!(get(), Some(key(1, at(2))));
    assert!(
        site.engine(|tx| record(tx, "k", 2, at(5))),
        "the first use is forgotten"
    );
    assert!(
        !site.ours(|tx| record(tx, "k", 1, at(6))),
        "the second is not"
    );
    assert_eq!(get(), Some(key(2, at(5))));
    let other = site.see(|tx| idempotency::get(tx, &caller(&ours()), "other"));
    assert_eq!(other, None);
}

fn prunes(site: &Site) {
    site.with_runs(&[1]);
    site.ours(|tx| {
        for (name, when) in [("c", 5), ("a", 3), ("b", 4)] {
            record(tx, name, 1, at(when))?;
        }
        Ok(())
    });
    assert_eq!(site.ours(|tx| idempotency::prune(tx, &ours(), at(5), 1)), 1);
    let known = |name: &'static str| {
        site.see(|tx| idempotency::get(tx, &caller(&ours()), name))
            .is_some()
    };
    assert_eq!(
        ["a", "b", "c"].map(known),
        [false, true, true],
        "the oldest goes first"
    );
    assert_eq!(
        site.engine(|tx| idempotency::prune(tx, &ours(), at(5), 9)),
        1
    );
    assert_eq!(["a", "b", "c"].map(known), [false, false, true]);
}
