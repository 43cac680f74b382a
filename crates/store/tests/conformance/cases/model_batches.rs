//! Files and batches of the model gateway.

use matrix_core::Scope;
use matrix_store::tables::model_batches::{self, BatchRow, Done, FileRow, NewBatchRow};
use matrix_store::tables::runs;

use super::Row;
use crate::site::{Site, at, ours, refused, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("model_batches::put_file", files, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| model_batches::put_file(tx, &ours(), &file(1))));
        assert_eq!(listed(s), []);
    }),
    ("model_batches::file", files, |s| {
        with_file(s);
        assert_eq!(
            s.spy(|tx| model_batches::file(tx, &theirs(), run_id(1))),
            None
        );
        refused(s.try_theirs(|tx| model_batches::file(tx, &ours(), run_id(1))));
    }),
    ("model_batches::files", files, |s| {
        with_file(s);
        let seen = s.spy(|tx| model_batches::files(tx, &theirs(), "user:ada", None, 9));
        assert_eq!(seen, []);
        refused(s.try_theirs(|tx| model_batches::files(tx, &ours(), "user:ada", None, 9)));
    }),
    ("model_batches::remove_file", files, |s| {
        with_file(s);
        assert!(!s.theirs(|tx| model_batches::remove_file(tx, &theirs(), run_id(1))));
        refused(s.try_theirs(|tx| model_batches::remove_file(tx, &ours(), run_id(1))));
        assert_eq!(listed(s), [file(1)]);
    }),
    ("model_batches::put", batches, |s| {
        with_file(s);
        refused(s.try_theirs(|tx| model_batches::put(tx, &ours(), &batch(1, 1))));
        assert_eq!(get(s, 1), None);
    }),
    ("model_batches::get", batches, |s| {
        with_batch(s);
        assert_eq!(
            s.spy(|tx| model_batches::get(tx, &theirs(), run_id(2))),
            None
        );
        refused(s.try_theirs(|tx| model_batches::get(tx, &ours(), run_id(2))));
    }),
    ("model_batches::list", batches, |s| {
        with_batch(s);
        let seen = s.spy(|tx| model_batches::list(tx, &theirs(), "user:ada", None, 9));
        assert_eq!(seen, []);
        refused(s.try_theirs(|tx| model_batches::list(tx, &ours(), "user:ada", None, 9)));
    }),
    ("model_batches::count", counts, |s| {
        with_batch(s);
        s.theirs(|tx| model_batches::count(tx, &theirs(), run_id(2), done(1)));
        refused(s.try_theirs(|tx| model_batches::count(tx, &ours(), run_id(2), done(1))));
        assert_eq!(get(s, 2).unwrap().done, Done::default());
    }),
    ("model_batches::cancel", counts, |s| {
        with_batch(s);
        assert!(!s.theirs(|tx| model_batches::cancel(tx, &theirs(), run_id(2), at(1))));
        refused(s.try_theirs(|tx| model_batches::cancel(tx, &ours(), run_id(2), at(1))));
        assert_eq!(get(s, 2).unwrap().cancelled_at, None);
    }),
    ("model_batches::bytes", holds, |s| {
        with_file(s);
        assert_eq!(s.spy(|tx| model_batches::bytes(tx, &theirs())), 0);
        refused(s.try_theirs(|tx| model_batches::bytes(tx, &ours())));
    }),
    ("model_batches::open", holds, |s| {
        with_batch(s);
        assert_eq!(s.spy(|tx| model_batches::open(tx, &theirs())), 0);
        refused(s.try_theirs(|tx| model_batches::open(tx, &ours())));
    }),
];

pub(crate) fn file(run: u8) -> FileRow {
    FileRow {
        run: run_id(run),
        owner: "user:ada".into(),
        filename: "ask.jsonl".into(),
        bytes: 100 * i64::from(run),
    }
}

pub(crate) fn batch(run: u8, file: u8) -> NewBatchRow {
    NewBatchRow {
        run: run_id(run),
        owner: "user:ada".into(),
        file: run_id(file),
        endpoint: "/v1/chat/completions".into(),
        metadata: "{}".into(),
        total: 7,
    }
}

/// Numbers that are all different.
fn done(times: i64) -> Done {
    Done {
        completed: times,
        output_bytes: 2 * times,
        failed: 3 * times,
        error_bytes: 4 * times,
    }
}

fn with_file(site: &Site) {
    site.with_runs(&[1, 2, 3]);
    site.ours(|tx| model_batches::put_file(tx, &ours(), &file(1)));
}

fn with_batch(site: &Site) {
    with_file(site);
    site.ours(|tx| model_batches::put(tx, &ours(), &batch(2, 1)));
}

fn get(site: &Site, run: u8) -> Option<BatchRow> {
    site.see(|tx| model_batches::get(tx, &ours(), run_id(run)))
}

fn listed(site: &Site) -> Vec<FileRow> {
    site.see(|tx| model_batches::files(tx, &ours(), "user:ada", None, 9))
}

fn files(site: &Site) {
    with_file(site);
    let other = FileRow {
        owner: "user:bob".into(),
        ..file(2)
    };
    let beside = other.clone();
    site.ours(move |tx| model_batches::put_file(tx, &ours(), &beside));
    site.ours(|tx| model_batches::put_file(tx, &ours(), &file(3)));
    assert_eq!(
        listed(site),
        [file(3), file(1)],
        "the newest first, each its own"
    );
    let older = |limit: i64| {
        let of = Some(run_id(3));
        site.see(|tx| model_batches::files(tx, &ours(), "user:ada", of, limit))
    };
    assert_eq!((older(9), older(0)), (vec![file(1)], vec![]));
    let seen = site.see(|tx| model_batches::file(tx, &ours(), run_id(2)));
    assert_eq!(seen, Some(other));
    let remove = || site.ours(|tx| model_batches::remove_file(tx, &ours(), run_id(1)));
    assert_eq!((remove(), remove()), (true, false));
    assert_eq!(listed(site), [file(3)]);
}

fn batches(site: &Site) {
    with_batch(site);
    site.ours(|tx| model_batches::put(tx, &ours(), &batch(3, 1)));
    let found = get(site, 2).unwrap();
    assert_eq!(found.new, batch(2, 1));
    assert_eq!((found.done, found.cancelled_at), (Done::default(), None));
    assert_eq!((&*found.state, &*found.stopped), ("ready", ""));
    let list = |older: Option<u8>, limit: i64| -> Vec<NewBatchRow> {
        let older = older.map(run_id);
        let of =
            |scope: &Scope| site.see(|tx| model_batches::list(tx, scope, "user:ada", older, limit));
        of(&ours()).into_iter().map(|row| row.new).collect()
    };
    assert_eq!(list(None, 9), [batch(3, 1), batch(2, 1)]);
    assert_eq!(list(None, 1), [batch(3, 1)]);
    assert_eq!(list(Some(3), 9), [batch(2, 1)]);
    assert_eq!(get(site, 1), None, "a file is no batch");
}

fn counts(site: &Site) {
    with_batch(site);
    for times in [1, 4] {
        site.ours(move |tx| model_batches::count(tx, &ours(), run_id(2), done(times)));
    }
    assert_eq!(get(site, 2).unwrap().done, done(5));
    let cancel =
        |when: i64| site.ours(move |tx| model_batches::cancel(tx, &ours(), run_id(2), at(when)));
    assert_eq!((cancel(5), cancel(6)), (true, false));
    assert_eq!(get(site, 2).unwrap().cancelled_at, Some(at(5)));
}

fn holds(site: &Site) {
    let bytes = || site.see(|tx| model_batches::bytes(tx, &ours()));
    let open = || site.see(|tx| model_batches::open(tx, &ours()));
    assert_eq!((bytes(), open()), (0, 0));
    with_batch(site);
    site.ours(|tx| model_batches::put_file(tx, &ours(), &file(3)));
    assert_eq!((bytes(), open()), (400, 1));
    site.engine(|tx| {
        runs::claim(tx, run_id(2), "w", at(2))?;
        Ok(())
    });
    assert_eq!(open(), 1, "one that runs has not ended");
    let release = runs::Release {
        state: "succeeded",
        waiting: None,
        wake_at: None,
        stopped: "",
    };
    assert!(site.engine(move |tx| runs::release(tx, run_id(2), 1, &release, at(3))));
    assert_eq!((bytes(), open()), (400, 0));
}
