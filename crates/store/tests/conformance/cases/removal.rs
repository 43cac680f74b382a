//! Runs whose journals are removed.

use matrix_core::{Digest, RunId};
use matrix_store::StoreError;
use matrix_store::tables::events::{self, Window};
use matrix_store::tables::removal::{self, EndRow, Parted, Swapped};
use matrix_store::tables::retention::Terms;
use matrix_store::tables::runs::{self, Release, RunRow};
use matrix_store::tables::{checkpoints, journal, releases, task_logs};

use super::Row;
use crate::site::{
    Site, at, deployment, entry, log, ours, refused, release, run_id, run_row, theirs,
};

pub(super) const CASES: &[Row] = &[
    ("removal::lock", locks, |s| {
        s.engine_only(removal::lock);
    }),
    ("removal::candidates", finds_candidates, |s| {
        with_ended(s);
        refused(s.try_theirs(|tx| removal::candidates(tx, last(), at(100), 9)));
    }),
    ("removal::facts", knows_facts, |s| {
        with_ended(s);
        s.engine_only(|tx| removal::facts(tx, run_id(1), TERMS));
    }),
    ("removal::places", knows_places, |s| {
        with_ended(s);
        s.engine_only(|tx| removal::places(tx, run_id(1), -1, 9));
    }),
    ("removal::mark", marks, |s| {
        with_ended(s);
        s.engine_only(|tx| removal::mark(tx, run_id(1), run_id(9), at(50)));
    }),
    ("removal::removed", marks, |s| {
        s.engine_only(|tx| removal::removed(tx, run_id(9), run_id(1), last()));
    }),
    ("removal::removals", marks, |s| {
        s.engine_only(removal::removals);
    }),
    ("removal::recorded", marks, |s| {
        s.engine_only(|tx| removal::recorded(tx, run_id(9), run_id(1), last()));
    }),
    ("removal::to_empty", empties, |s| {
        s.engine_only(|tx| removal::to_empty(tx, 9));
    }),
    ("removal::empty", empties, |s| {
        s.engine_only(|tx| removal::empty(tx, run_id(1), 0, 9));
    }),
    ("removal::emptied", empties, |s| {
        s.engine_only(|tx| removal::emptied(tx, run_id(1)));
    }),
    ("removal::months", months_stay, |s| {
        s.engine_only(|tx| removal::months(tx, 9));
    }),
    ("removal::part", months_stay, |s| {
        s.engine_only(|tx| removal::part(tx, run_id(1), TERMS, 9));
    }),
    ("removal::swap", months_stay, |s| {
        s.engine_only(|tx| removal::swap(tx, run_id(1), TERMS));
    }),
];

fn last() -> RunId {
    RunId::from_bytes([0xff; 16])
}

const TERMS: Terms = Terms {
    ended_before: at(100),
    releases: 1,
};

/// Ours: 1, 2 and 3 ended at 10 × their number, with two entries each, side by side; 4 goes on.
/// Theirs: 5, which ended at 50.
fn with_ended(site: &Site) {
    site.with_runs(&[1, 2, 3, 4]);
    site.theirs(|tx| runs::insert(tx, &run_row(5, &theirs())));
    site.engine(|tx| {
        for seq in [0, 1] {
            for number in [1, 2, 3] {
                journal::insert(tx, &entry(number, seq))?;
            }
        }
        for number in [1, 2, 3, 5] {
            end(tx, number)?;
        }
        Ok(())
    });
}

fn end(tx: &matrix_store::Tx<'_>, number: u8) -> Result<(), StoreError> {
    let run = run_id(number);
    runs::claim(tx, run, "w", at(2))?;
    let hash = Digest::of(format!("{number}/1"));
    let from = runs::head(tx, run)?.unwrap();
    let to = runs::Head {
        epoch: 1,
        seq: 1,
        hash,
    };
    assert!(runs::move_head(
        tx,
        run,
        &runs::HeadMove { from, to },
        at(3)
    )?);
    let release = Release {
        state: "succeeded",
        waiting: None,
        wake_at: None,
        stopped: "",
    };
    runs::release(tx, run, 1, &release, at(i64::from(number) * 10)).map(drop)
}

fn locks(site: &Site) {
    site.engine(|tx| {
        removal::lock(tx)?;
        removal::lock(tx)
    });
}

fn finds_candidates(site: &Site) {
    with_ended(site);
    let found =
        |before, ended, limit| site.look(|tx| removal::candidates(tx, before, at(ended), limit));
    assert_eq!(found(last(), 100, 9), [5, 3, 2, 1].map(run_id));
    assert_eq!(found(last(), 30, 9), [2, 1].map(run_id));
    assert_eq!(found(run_id(3), 100, 1), [run_id(2)]);
    site.engine(|tx| removal::mark(tx, run_id(2), run_id(9), at(50)));
    assert_eq!(found(last(), 100, 9), [5, 3, 1].map(run_id));
}

fn knows_facts(site: &Site) {
    with_ended(site);
    let facts = |number| site.look(|tx| removal::facts(tx, run_id(number), TERMS));
    let plain = facts(1).unwrap();
    assert_eq!(
        (&*plain.kind, &*plain.state, plain.updated_at, &*plain.hold),
        ("test", "succeeded", at(10), "")
    );
    let needed = |number| {
        let row = facts(number).unwrap();
        (
            !row.forks.is_empty(),
            row.has_child,
            row.is_deployed,
            row.is_released,
        )
    };
    assert_eq!(needed(1), (false, false, false, false));
    assert_eq!((plain.end.head_seq, plain.end.fork_seq), (1, -1));
    site.engine(|tx| {
        runs::insert(tx, &of(6, |row| row.lineage.forked_from = Some(run_id(1))))?;
        runs::insert(tx, &of(7, |row| row.lineage.parent = Some(run_id(2))))?;
        releases::put_deployment(tx, &deployment(1, 3, &ours(), "active"))?;
        releases::put_release(tx, &release(1, 3, &ours()))?;
        runs::hold(tx, run_id(3), "audit").map(drop)
    });
    assert_eq!(needed(1), (true, false, false, false));
    assert_eq!(needed(2), (false, true, false, false));
    assert_eq!(needed(3), (false, false, true, true));
    assert_eq!(facts(3).unwrap().hold, "audit");
    // With one release newer, the other is not kept any more.
    site.engine(|tx| releases::put_release(tx, &release(2, 2, &ours())));
    assert_eq!(needed(3), (false, false, true, false));
    // In a transaction that writes they are the same.
    let locked = site.engine(|tx| removal::facts(tx, run_id(1), TERMS));
    assert_eq!(locked, facts(1));
    site.engine(|tx| removal::mark(tx, run_id(6), run_id(9), at(50)));
    assert_eq!(needed(1), (false, false, false, false));
    assert_eq!(facts(6), None);
    assert_eq!(facts(8), None);
}

fn of(number: u8, change: impl FnOnce(&mut RunRow)) -> RunRow {
    let mut row = run_row(number, &ours());
    change(&mut row);
    row
}

fn knows_places(site: &Site) {
    with_ended(site);
    let places = |after, limit| site.look(|tx| removal::places(tx, run_id(2), after, limit));
    assert_eq!(places(-1, 9), [(0, 0, 2), (1, 0, 5)]);
    assert_eq!(places(0, 9), [(1, 0, 5)]);
    assert_eq!(places(-1, 1), [(0, 0, 2)]);
}

fn ended_at(number: u8) -> EndRow {
    EndRow {
        run: run_id(number),
        head_seq: 1,
        fork_seq: -1,
        head_hash: Digest::of(format!("{number}/1")),
    }
}

fn marks(site: &Site) {
    with_ended(site);
    let mark = |number| site.engine(move |tx| removal::mark(tx, run_id(number), run_id(9), at(50)));
    assert!(mark(1));
    assert!(!mark(1));
    assert!(mark(3));
    let removed_at = |number| {
        site.see(|tx| runs::get(tx, run_id(number)))
            .unwrap()
            .removed_at
    };
    assert_eq!(
        [1, 2, 3].map(removed_at),
        [Some(at(50)), None, Some(at(50))]
    );
    assert_eq!(site.look(removal::removals), [run_id(9)]);
    let recorded = |by, oldest, newest| {
        site.look(|tx| removal::recorded(tx, run_id(by), run_id(oldest), run_id(newest)))
    };
    assert_eq!(recorded(9, 1, 3), [ended_at(3), ended_at(1)]);
    assert_eq!(recorded(9, 1, 2), [ended_at(1)]);
    assert_eq!(recorded(8, 1, 3), []);
    // From then on it has no journal for anyone, and says so.
    let read = |number| {
        let list = |tx: &matrix_store::Tx<'_>| journal::list(tx, run_id(number), -1, 9);
        site.database.within(&ours()).read_now(list)
    };
    assert!(matches!(
        read(1),
        Err(StoreError::Removed { run, at: when }) if run == run_id(1) && when == at(50)
    ));
    assert_eq!(read(2).unwrap().len(), 2);
    assert_eq!(site.spy(|tx| journal::list(tx, run_id(1), -1, 9)), []);
    let window = Window {
        shard: 0,
        after: 0,
        until: 99,
        run: None,
        kind: String::new(),
    };
    let events = site.see(|tx| events::list(tx, &ours(), &window, 99));
    assert!(events.iter().all(|event| event.run == run_id(2)));
    assert_eq!(events.len(), 2);
    let removed =
        |by, from, before| site.look(|tx| removal::removed(tx, run_id(by), run_id(from), before));
    assert_eq!(removed(9, 1, last()), [ended_at(3), ended_at(1)]);
    assert_eq!(removed(9, 1, run_id(3)), [ended_at(1)]);
    assert_eq!(removed(9, 2, last()), [ended_at(3)]);
    assert_eq!(removed(8, 1, last()), []);
}

/// Entries go where they are deleted run by run, and only those whose hashes are kept under a head.
fn empties(site: &Site) {
    with_ended(site);
    site.engine(|tx| {
        task_logs::add(tx, &log(1, 1), 9)?;
        removal::mark(tx, run_id(1), run_id(9), at(50))
    });
    let by_month = site.look(|tx| removal::to_empty(tx, 9)).is_empty();
    assert_eq!(by_month, !site.look(|tx| removal::months(tx, 9)).is_empty());
    let empty = |number, first| {
        site.engine(move |tx| {
            Ok((
                removal::empty(tx, run_id(number), first, 9)?,
                removal::emptied(tx, run_id(number))?,
            ))
        })
    };
    let entries = |number| {
        site.look(|tx| removal::places(tx, run_id(number), -1, 9))
            .len()
    };
    assert_eq!(empty(1, 0), (0, false), "without a head");
    site.engine(|tx| {
        let head = checkpoints::CheckpointRow {
            shard: 0,
            size: 5,
            origin: "o".into(),
            root: Digest::of("root"),
            note: "n".into(),
            at: at(1),
        };
        checkpoints::insert(tx, &head)
    });
    assert_eq!(empty(1, 0), (0, false), "without their hashes");
    site.engine(|tx| {
        let hashes = ["1/0", "2/0", "3/0", "1/1", "2/1"].map(Digest::of);
        checkpoints::keep_leaves(tx, 0, 1, &hashes)
    });
    assert_eq!(empty(2, 0), (0, false), "of a run that stays");
    if by_month {
        assert_eq!((empty(1, 0), entries(1)), ((0, false), 2));
        return;
    }
    assert_eq!(site.look(|tx| removal::to_empty(tx, 9)), [ended_at(1)]);
    assert_eq!((empty(1, 1), entries(1)), ((1, false), 1));
    assert_eq!((empty(1, 0), entries(1)), ((1, true), 0));
    assert_eq!(site.look(|tx| removal::to_empty(tx, 9)), []);
    assert_eq!(site.look(|tx| task_logs::list(tx, run_id(1), 0, 9)), []);
    assert_eq!((entries(2), entries(3)), (2, 2));
    let leaves = site.look(|tx| checkpoints::leaves(tx, 0, 0, 9));
    let all = ["1/0", "2/0", "3/0", "1/1", "2/1", "3/1"].map(Digest::of);
    assert_eq!(leaves, (1..).zip(all).collect::<Vec<_>>());
}

/// Without a removed run no month loses anything.
fn months_stay(site: &Site) {
    with_ended(site);
    assert_eq!(site.look(|tx| removal::months(tx, 9)), []);
    let old = RunId::from_bytes([1; 16]);
    let part = site.engine(move |tx| removal::part(tx, old, TERMS, 9));
    assert!(matches!(part, Parted::Stays(_)), "{part:?}");
    let swapped = site.engine(move |tx| removal::swap(tx, run_id(1), TERMS));
    assert!(matches!(swapped, Swapped::Stays(_)), "{swapped:?}");
    assert_eq!(site.look(|tx| journal::list(tx, run_id(1), -1, 9)).len(), 2);
}
