//! What workers outside print.

use matrix_store::tables::task_logs;

use super::Row;
use crate::site::{Site, log, refused, run_id};

pub(super) const CASES: &[Row] = &[
    ("task_logs::add", adds, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| task_logs::add(tx, &log(1, 1), 9)));
        assert_eq!(s.look(|tx| task_logs::list(tx, run_id(1), 0, 9)), []);
    }),
    ("task_logs::list", adds, |s| {
        adds(s);
        assert_eq!(s.spy(|tx| task_logs::list(tx, run_id(1), 0, 9)), []);
    }),
];

fn adds(site: &Site) {
    site.with_runs(&[1, 2]);
    assert!(site.engine(|tx| task_logs::add(tx, &log(1, 0), 2)));
    assert!(site.ours(|tx| task_logs::add(tx, &log(1, 0), 2)));
    assert!(!site.ours(|tx| task_logs::add(tx, &log(1, 0), 2)));
    assert!(site.ours(|tx| task_logs::add(tx, &log(2, 0), 2)));
    let rows = site.see(|tx| task_logs::list(tx, run_id(1), 0, 9));
    assert_eq!(rows, [log(1, 1), log(1, 2)]);
    let rows = site.see(|tx| task_logs::list(tx, run_id(1), 1, 9));
    assert_eq!(rows, [log(1, 2)]);
    assert_eq!(
        site.look(|tx| task_logs::list(tx, run_id(1), 0, 1)),
        [log(1, 1)]
    );
}
