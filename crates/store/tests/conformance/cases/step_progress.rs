//! How far steps are.

use matrix_store::tables::step_progress;

use super::Row;
use crate::site::{Site, at, progress, refused, run_id};

pub(super) const CASES: &[Row] = &[
    ("step_progress::say", says, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| step_progress::say(tx, &progress(1, "a#1"))));
        assert_eq!(s.look(|tx| step_progress::list(tx, run_id(1), 9)), []);
    }),
    ("step_progress::list", says, |s| {
        says(s);
        assert_eq!(s.spy(|tx| step_progress::list(tx, run_id(1), 9)), []);
    }),
    ("step_progress::remove", forgets, |s| {
        says(s);
        assert!(!s.theirs(|tx| step_progress::remove(tx, run_id(1), "a#1")));
        assert_eq!(s.look(|tx| step_progress::list(tx, run_id(1), 9)).len(), 2);
    }),
    ("step_progress::clear", forgets, |s| {
        says(s);
        assert!(!s.theirs(|tx| step_progress::clear(tx, run_id(1))));
        assert_eq!(s.look(|tx| step_progress::list(tx, run_id(1), 9)).len(), 2);
    }),
];

fn says(site: &Site) {
    site.with_runs(&[1, 2]);
    site.engine(|tx| step_progress::say(tx, &progress(1, "b#1")));
    site.ours(|tx| step_progress::say(tx, &progress(1, "a#1")));
    site.ours(|tx| step_progress::say(tx, &progress(2, "a#1")));
    let newer = step_progress::ProgressRow {
        epoch: 2,
        at: at(9),
        progress: "{\"done\":2}".into(),
        ..progress(1, "a#1")
    };
    let said = newer.clone();
    site.engine(move |tx| step_progress::say(tx, &said));
    let rows = site.see(|tx| step_progress::list(tx, run_id(1), 9));
    assert_eq!(rows, [newer.clone(), progress(1, "b#1")]);
    let rows = site.look(|tx| step_progress::list(tx, run_id(1), 1));
    assert_eq!(rows, [newer]);
}

fn forgets(site: &Site) {
    says(site);
    assert!(site.engine(|tx| step_progress::remove(tx, run_id(1), "a#1")));
    assert!(!site.engine(|tx| step_progress::remove(tx, run_id(1), "a#1")));
    let rows = site.see(|tx| step_progress::list(tx, run_id(1), 9));
    assert_eq!(rows, [progress(1, "b#1")]);
    assert!(site.engine(|tx| step_progress::clear(tx, run_id(1))));
    assert!(!site.engine(|tx| step_progress::clear(tx, run_id(1))));
    assert_eq!(site.see(|tx| step_progress::list(tx, run_id(1), 9)), []);
    let others = site.see(|tx| step_progress::list(tx, run_id(2), 9));
    assert_eq!(others, [progress(2, "a#1")]);
}
