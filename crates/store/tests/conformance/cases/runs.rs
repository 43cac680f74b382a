//! Runs.

use matrix_core::Digest;
use matrix_store::StoreError;
use matrix_store::tables::runs::{self, Filter, Head, HeadMove, Lineage, Release, WakePaused};

use super::Row;
use crate::site::{Site, at, conflicts, ours, refused, run_id, run_row, theirs};

pub(super) const CASES: &[Row] = &[
    ("runs::insert", inserts, keeps_inserts),
    ("runs::get", gets, keeps_rows),
    ("runs::list", lists, keeps_lists),
    ("runs::list", lists_the_stopped, keeps_lists),
    ("runs::schedule", finds_schedules, |s| {
        s.with_runs(&[1]);
        let seen = s.spy(|tx| runs::schedule(tx, &theirs(), "test 1"));
        assert_eq!(seen, None);
        refused(s.try_theirs(|tx| runs::schedule(tx, &ours(), "test 1")));
    }),
    ("runs::unfinished", finds_unfinished, |s| {
        s.engine_only(|tx| runs::unfinished(tx, 9));
    }),
    ("runs::live_children", finds_live_children, |s| {
        family(s);
        assert_eq!(s.spy(|tx| runs::live_children(tx, run_id(1))), []);
        assert_eq!(s.theirs(|tx| runs::live_children(tx, run_id(1))), []);
    }),
    ("runs::claim", claims, |s| {
        s.with_runs(&[1]);
        s.engine_only(|tx| runs::claim(tx, run_id(1), "w", at(2)));
    }),
    ("runs::head", reads_the_head, |s| {
        s.with_runs(&[1]);
        assert_eq!(s.spy(|tx| runs::head(tx, run_id(1))), None);
        assert_eq!(s.theirs(|tx| runs::head(tx, run_id(1))), None);
    }),
    ("runs::move_head", moves_the_head, keeps_the_head),
    ("runs::release", releases, keeps_the_owner),
    ("runs::wake", wakes, keeps_sleep),
    ("runs::wake_due", wakes_what_is_due, |s| {
        s.engine_only(|tx| runs::wake_due(tx, at(9)));
    }),
    ("runs::next_wake", knows_the_next_timer, |s| {
        s.engine_only(runs::next_wake);
    }),
    ("runs::orphan", orphans, |s| {
        s.engine_only(|tx| runs::orphan(tx, "w", at(9)));
    }),
    ("runs::requeue", requeues, |s| {
        s.engine_only(|tx| runs::requeue(tx, run_id(1), 1, at(9)));
    }),
    ("runs::continue_as_new", continues_as_new, |s| {
        s.with_runs(&[1]);
        let lost = |tx: &matrix_store::Tx<'_>| runs::continue_as_new(tx, run_id(1), "2", 0);
        assert!(!s.theirs(lost));
    }),
    ("runs::stands", stands, |s| {
        s.with_runs(&[1]);
        assert!(!s.theirs(|tx| runs::stands(tx, run_id(1))));
    }),
    ("runs::hold", stands, |s| {
        s.with_runs(&[1]);
        assert!(!s.theirs(|tx| runs::hold(tx, run_id(1), "mine")));
    }),
    ("runs::owners", knows_owners, |s| {
        s.engine_only(runs::owners);
    }),
    ("runs::ready", counts, |s| {
        s.engine_only(|tx| runs::ready(tx, 9));
    }),
];

fn stands(site: &Site) {
    site.with_runs(&[1]);
    assert!(site.see(|tx| runs::stands(tx, run_id(1))));
    assert!(site.ours(|tx| runs::stands(tx, run_id(1))));
    assert!(!site.see(|tx| runs::stands(tx, run_id(2))));
    let held = || site.see(|tx| runs::get(tx, run_id(1))).unwrap().hold;
    assert_eq!(held(), "");
    assert!(site.ours(|tx| runs::hold(tx, run_id(1), "an audit")));
    assert_eq!(held(), "an audit");
    assert!(site.ours(|tx| runs::hold(tx, run_id(1), "")));
    site.engine(|tx| matrix_store::tables::removal::mark(tx, run_id(1), run_id(9), at(2)));
    assert!(!site.see(|tx| runs::stands(tx, run_id(1))));
    assert!(!site.ours(|tx| runs::stands(tx, run_id(1))));
    assert!(!site.ours(|tx| runs::hold(tx, run_id(1), "too late")));
}

fn inserts(site: &Site) {
    let mut row = run_row(1, &ours());
    row.title = "Ünïcödé ✓ and \u{1F600}".into();
    let new = row.clone();
    site.ours(move |tx| runs::insert(tx, &new));
    assert_eq!(site.see(|tx| runs::get(tx, run_id(1))), Some(row.clone()));
    conflicts(site.try_ours(move |tx| runs::insert(tx, &row)));
    let zero = runs::RunRow {
        title: "a\0b".into(),
        ..run_row(2, &ours())
    };
    conflicts(site.try_ours(move |tx| runs::insert(tx, &zero)));
    site.engine(|tx| runs::insert(tx, &run_row(3, &theirs())));
}

fn finds_schedules(site: &Site) {
    let schedule = |number| runs::RunRow {
        kind: "schedule".into(),
        title: "nightly".into(),
        ..run_row(number, &ours())
    };
    let find = || site.see(|tx| runs::schedule(tx, &ours(), "nightly"));
    assert_eq!(find(), None);
    site.ours(move |tx| runs::insert(tx, &schedule(1)));
    assert_eq!(find(), Some(schedule(1)));
    conflicts(site.try_ours(move |tx| runs::insert(tx, &schedule(2))));
    site.engine(move |tx| {
        let theirs = runs::RunRow {
            scope: theirs(),
            ..schedule(3)
        };
        runs::insert(tx, &theirs)
    });
    let ended = Release {
        state: "cancelled",
        waiting: None,
        wake_at: None,
        stopped: "",
    };
    site.engine(move |tx| runs::release(tx, run_id(1), 0, &ended, at(2)));
    assert_eq!(find(), None);
    site.ours(move |tx| runs::insert(tx, &schedule(4)));
    assert_eq!(find(), Some(schedule(4)));
}

/// A run with a child that lives, one that has ended, one of its own child's and somebody else's.
fn family(site: &Site) {
    site.with_runs(&[1]);
    for (number, parent) in [(2, 1), (3, 1), (4, 2), (5, 9)] {
        let mut child = run_row(number, &ours());
        child.lineage.parent = Some(run_id(parent));
        site.ours(move |tx| runs::insert(tx, &child));
    }
    let ended = Release {
        state: "succeeded",
        waiting: None,
        wake_at: None,
        stopped: "",
    };
    site.engine(move |tx| runs::release(tx, run_id(3), 0, &ended, at(2)));
}

fn finds_live_children(site: &Site) {
    family(site);
    let live = |number| site.look(move |tx| runs::live_children(tx, run_id(number)));
    assert_eq!(live(1), [run_id(2)]);
    assert_eq!(live(2), [run_id(4)]);
    assert_eq!(live(3), []);
    assert!(site.engine(|tx| runs::release(tx, run_id(2), 0, &WAITS, at(3))));
    assert_eq!(live(1), [run_id(2)], "it waits");
}

fn continues_as_new(site: &Site) {
    let mut row = run_row(1, &ours());
    row.lineage = Lineage {
        parent: Some(run_id(7)),
        forked_from: Some(run_id(8)),
        fork_seq: 4,
        base_seq: 2,
    };
    row.head_seq = 9;
    let new = row.clone();
    site.ours(move |tx| runs::insert(tx, &new));
    assert!(!site.engine(|tx| runs::continue_as_new(tx, run_id(1), "2", 5)));
    assert_eq!(site.see(|tx| runs::get(tx, run_id(1))), Some(row.clone()));
    assert!(site.engine(|tx| runs::continue_as_new(tx, run_id(1), "2", 0)));
    row.lineage.base_seq = 8;
    row.version = "2".into();
    assert_eq!(site.see(|tx| runs::get(tx, run_id(1))), Some(row));
}

fn keeps_inserts(site: &Site) {
    refused(site.try_theirs(|tx| runs::insert(tx, &run_row(1, &ours()))));
    assert_eq!(site.look(|tx| runs::get(tx, run_id(1))), None);
}

fn gets(site: &Site) {
    assert_eq!(site.look(|tx| runs::get(tx, run_id(1))), None);
    site.with_runs(&[1]);
    let row = Some(run_row(1, &ours()));
    assert_eq!(site.look(|tx| runs::get(tx, run_id(1))), row);
    assert_eq!(site.see(|tx| runs::get(tx, run_id(1))), row);
}

fn keeps_rows(site: &Site) {
    site.with_runs(&[1]);
    assert_eq!(site.spy(|tx| runs::get(tx, run_id(1))), None);
    assert_eq!(site.theirs(|tx| runs::get(tx, run_id(1))), None);
}

fn lists(site: &Site) {
    site.with_runs(&[1, 2, 3]);
    let ids = |change: fn(&mut Filter), limit| {
        let mut filter = Filter::default();
        change(&mut filter);
        let rows = site.see(|tx| runs::list(tx, &ours(), &filter, limit));
        rows.into_iter().map(|row| row.run).collect::<Vec<_>>()
    };
    assert_eq!(ids(|_| (), 9), [run_id(3), run_id(2), run_id(1)]);
    assert_eq!(ids(|f| f.before = Some(run_id(3)), 1), [run_id(2)]);
    assert_eq!(ids(|f| f.kind = "test".into(), 1), [run_id(3)]);
    assert_eq!(ids(|f| f.kind = "other".into(), 9), []);
    site.engine(|tx| runs::claim(tx, run_id(2), "w", at(2)));
    assert_eq!(ids(|f| f.state = "running".into(), 9), [run_id(2)]);
    let in_state = |f: &mut Filter| {
        f.state = "ready".into();
        f.before = Some(run_id(3));
    };
    assert_eq!(ids(in_state, 9), [run_id(1)]);
    assert_eq!(ids(|f| f.state = "failed".into(), 9), []);
    let mut titled = run_row(4, &ours());
    titled.title = "50% of Ünïcödé_x".into();
    site.ours(move |tx| runs::insert(tx, &titled));
    assert_eq!(ids(|f| f.title = "% OF Ü".into(), 9), [run_id(4)]);
    assert_eq!(ids(|f| f.title = "%x".into(), 9), []);
    let far = |f: &mut Filter| f.since = Some(matrix_core::Timestamp::from_micros(1 << 55));
    assert_eq!(ids(far, 9), []);
    assert_eq!(ids(|f| f.until = Some(at(0)), 9), []);
    let mut slow = run_row(5, &ours());
    slow.placement.lane = "slow".into();
    slow.placement.key = "k".into();
    site.ours(move |tx| runs::insert(tx, &slow));
    assert_eq!(ids(|f| f.lane = "slow".into(), 9), [run_id(5)]);
    assert_eq!(ids(|f| f.lane = "slo".into(), 9), []);
    assert_eq!(ids(|f| f.key = "k".into(), 9), [run_id(5)]);
}

/// Whoever rests because it stopped by itself is found, for its cause or for any.
fn lists_the_stopped(site: &Site) {
    site.with_runs(&[1, 2, 3]);
    let list = |filter: &Filter| {
        let rows = site.see(|tx| runs::list(tx, &ours(), filter, 9));
        rows.into_iter().map(|row| row.run).collect::<Vec<_>>()
    };
    for (number, stopped) in [(1, ""), (2, "crashes"), (3, "doubt")] {
        let release = Release {
            state: "paused",
            waiting: None,
            wake_at: None,
            stopped,
        };
        site.engine(move |tx| runs::release(tx, run_id(number), 0, &release, at(2)));
    }
    let of = |cause: &str| Filter {
        stopped: Some(cause.into()),
        ..Filter::default()
    };
    assert_eq!(list(&of("")), [run_id(3), run_id(2)]);
    assert_eq!(list(&of("crashes")), [run_id(2)]);
    let elsewhere = Filter {
        state: "ready".into(),
        ..of("")
    };
    assert_eq!(list(&elsewhere), []);
    // Whoever goes on is no dead letter any more, though nobody cleared the word.
    site.engine(|tx| runs::wake(tx, run_id(2), WakePaused::Yes, at(3)));
    assert_eq!(list(&of("")), [run_id(3)]);
}

fn keeps_lists(site: &Site) {
    site.with_runs(&[1]);
    let seen = site.spy(|tx| runs::list(tx, &theirs(), &Filter::default(), 9));
    assert_eq!(seen, []);
    refused(site.try_theirs(|tx| runs::list(tx, &ours(), &Filter::default(), 9)));
    let engine = site.look(|tx| runs::list(tx, &ours(), &Filter::default(), 9));
    assert_eq!(engine.len(), 1);
}

/// Runs 1 ready, 2 running, 3 waiting until 50, 4 paused, 5 succeeded.
fn in_every_state(site: &Site) {
    site.with_runs(&[1, 2, 3, 4, 5]);
    site.engine(|tx| {
        for number in [2, 3, 4, 5] {
            assert!(runs::claim(tx, run_id(number), "w", at(2))?);
        }
        for (number, state, wake_at) in [
            (3, "waiting", Some(at(50))),
            (4, "paused", None),
            (5, "succeeded", None),
        ] {
            let release = Release {
                state,
                stopped: "",
                waiting: Some("{}"),
                wake_at,
            };
            assert!(runs::release(tx, run_id(number), 1, &release, at(3))?);
        }
        Ok(())
    });
}

fn finds_unfinished(site: &Site) {
    in_every_state(site);
    let found = site.look(|tx| runs::unfinished(tx, 9));
    let ids: Vec<_> = found.into_iter().map(|row| row.run).collect();
    assert_eq!(ids, [1, 2, 3, 4].map(run_id));
    assert_eq!(site.look(|tx| runs::unfinished(tx, 2)).len(), 2);
}

fn claims(site: &Site) {
    site.with_runs(&[1]);
    assert!(site.engine(|tx| runs::claim(tx, run_id(1), "w", at(2))));
    assert!(!site.engine(|tx| runs::claim(tx, run_id(1), "v", at(3))));
    let row = site.look(|tx| runs::get(tx, run_id(1))).unwrap();
    let owned = (row.state.as_str(), row.owner.as_deref(), row.epoch);
    assert_eq!(owned, ("running", Some("w"), 1));
    assert_eq!(row.updated_at, at(2));
}

fn reads_the_head(site: &Site) {
    site.with_runs(&[1]);
    let head = runs::Head {
        epoch: 0,
        seq: -1,
        hash: Digest::of("genesis"),
    };
    assert_eq!(site.see(|tx| runs::head(tx, run_id(1))), Some(head));
    assert_eq!(site.engine(|tx| runs::head(tx, run_id(1))), Some(head));
    assert_eq!(site.engine(|tx| runs::head(tx, run_id(2))), None);
}

fn to(epoch: i64, from_seq: i64) -> HeadMove {
    let hash = Digest::of("next");
    let from = Head {
        epoch,
        seq: from_seq,
        hash: if from_seq < 0 {
            run_row(1, &ours()).head_hash
        } else {
            hash
        },
    };
    HeadMove {
        from,
        to: Head {
            seq: from_seq + 1,
            hash,
            ..from
        },
    }
}

fn moves_the_head(site: &Site) {
    site.with_runs(&[1]);
    assert!(site.engine(|tx| runs::move_head(tx, run_id(1), &to(0, -1), at(2))));
    assert!(!site.engine(|tx| runs::move_head(tx, run_id(1), &to(0, -1), at(2))));
    site.engine(|tx| runs::claim(tx, run_id(1), "w", at(2)));
    assert!(!site.engine(|tx| runs::move_head(tx, run_id(1), &to(0, 0), at(2))));
    let mut elsewhere = to(1, 0);
    elsewhere.from.hash = Digest::of("another journal");
    assert!(!site.engine(move |tx| runs::move_head(tx, run_id(1), &elsewhere, at(2))));
    assert!(site.engine(|tx| runs::move_head(tx, run_id(1), &to(1, 0), at(2))));
    let head = site.look(|tx| runs::head(tx, run_id(1))).unwrap();
    assert_eq!((head.seq, head.hash), (1, Digest::of("next")));
}

fn keeps_the_head(site: &Site) {
    site.with_runs(&[1]);
    assert!(!site.theirs(|tx| runs::move_head(tx, run_id(1), &to(0, -1), at(2))));
    assert_eq!(site.look(|tx| runs::head(tx, run_id(1))).unwrap().seq, -1);
}

const WAITS: Release<'_> = Release {
    state: "waiting",
    stopped: "",
    waiting: Some("{\"what\":\"signal\"}"),
    wake_at: Some(matrix_core::Timestamp::from_micros(40)),
};

fn releases(site: &Site) {
    site.with_runs(&[1]);
    site.engine(|tx| runs::claim(tx, run_id(1), "w", at(2)));
    assert!(!site.engine(|tx| runs::release(tx, run_id(1), 0, &WAITS, at(3))));
    assert!(site.engine(|tx| runs::release(tx, run_id(1), 1, &WAITS, at(3))));
    let row = site.look(|tx| runs::get(tx, run_id(1))).unwrap();
    assert_eq!(row.state, "waiting");
    assert_eq!(row.waiting.as_deref(), WAITS.waiting);
    assert_eq!((row.wake_at, row.owner), (Some(at(40)), None));
}

fn keeps_the_owner(site: &Site) {
    site.with_runs(&[1]);
    site.engine(|tx| runs::claim(tx, run_id(1), "w", at(2)));
    assert!(!site.theirs(|tx| runs::release(tx, run_id(1), 1, &WAITS, at(3))));
    let row = site.look(|tx| runs::get(tx, run_id(1))).unwrap();
    assert_eq!(row.owner.as_deref(), Some("w"));
}

fn wakes(site: &Site) {
    in_every_state(site);
    let wake = |number, paused| site.ours(move |tx| runs::wake(tx, run_id(number), paused, at(9)));
    assert!(wake(3, WakePaused::No));
    assert!(!wake(3, WakePaused::No), "it is ready already");
    assert!(!wake(4, WakePaused::No));
    assert!(wake(4, WakePaused::Yes));
    assert!(!wake(2, WakePaused::Yes), "it runs");
    assert!(!wake(5, WakePaused::Yes), "it has ended");
    let row = site.look(|tx| runs::get(tx, run_id(3))).unwrap();
    assert_eq!(
        (row.state.as_str(), row.waiting, row.wake_at),
        ("ready", None, None)
    );
}

fn keeps_sleep(site: &Site) {
    in_every_state(site);
    assert!(!site.theirs(|tx| runs::wake(tx, run_id(3), WakePaused::Yes, at(9))));
    let row = site.look(|tx| runs::get(tx, run_id(3))).unwrap();
    assert_eq!(row.state, "waiting");
}

fn wakes_what_is_due(site: &Site) {
    in_every_state(site);
    assert_eq!(site.engine(|tx| runs::wake_due(tx, at(49))), 0);
    assert_eq!(site.engine(|tx| runs::wake_due(tx, at(50))), 1);
    assert_eq!(site.engine(|tx| runs::wake_due(tx, at(50))), 0);
    let row = site.look(|tx| runs::get(tx, run_id(3))).unwrap();
    assert_eq!((row.state.as_str(), row.updated_at), ("ready", at(50)));
}

fn knows_the_next_timer(site: &Site) {
    assert_eq!(site.look(runs::next_wake), None);
    in_every_state(site);
    assert_eq!(site.look(runs::next_wake), Some(at(50)));
}

fn orphans(site: &Site) {
    in_every_state(site);
    assert_eq!(site.engine(|tx| runs::orphan(tx, "nobody", at(9))), 0);
    assert_eq!(site.engine(|tx| runs::orphan(tx, "w", at(9))), 1);
    let row = site.look(|tx| runs::get(tx, run_id(2))).unwrap();
    let state = (row.state.as_str(), row.owner, row.epoch, row.crashes);
    assert_eq!(state, ("ready", None, 2, 1));
}

fn requeues(site: &Site) {
    in_every_state(site);
    assert!(!site.engine(|tx| runs::requeue(tx, run_id(2), 7, at(9))));
    assert!(site.engine(|tx| runs::requeue(tx, run_id(2), 1, at(9))));
    let row = site.look(|tx| runs::get(tx, run_id(2))).unwrap();
    assert_eq!(
        (row.state.as_str(), row.epoch, row.crashes),
        ("ready", 2, 0)
    );
}

fn knows_owners(site: &Site) {
    assert_eq!(site.look(runs::owners), Vec::<String>::new());
    in_every_state(site);
    assert_eq!(site.look(runs::owners), ["w"]);
}

fn counts(site: &Site) {
    in_every_state(site);
    site.with_runs(&[6]);
    let ready = |limit| site.look(|tx| runs::ready(tx, limit));
    assert_eq!(ready(9), [(5, 2)]);
    assert_eq!((ready(1), ready(0)), (vec![(5, 1)], Vec::new()));
    // A closure that fails leaves nothing, whatever it did before.
    let failed = site.try_engine(|tx| {
        runs::insert(tx, &run_row(7, &ours()))?;
        Err::<(), _>(StoreError::Conflict("on purpose".into()))
    });
    conflicts(failed);
    assert_eq!(site.look(|tx| runs::get(tx, run_id(7))), None);
}
