//! Questions to people.

use matrix_core::id::ApprovalId;
use matrix_store::tables::approvals::{self, ApprovalRow};

use super::Row;
use crate::site::{Site, approval, at, conflicts, ours, refused, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("approvals::open", opens, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| approvals::open(tx, &approval(1, 1))));
        assert_eq!(s.look(|tx| approvals::of_run(tx, run_id(1))), []);
    }),
    ("approvals::close_others", closes, |s| {
        with_questions(s);
        let close =
            s.try_theirs(|tx| approvals::close_others(tx, run_id(1), None, "closed", at(9)));
        assert!(close.is_ok() || matches!(close, Err(matrix_store::StoreError::Forbidden(_))));
        let rows = s.look(|tx| approvals::of_run(tx, run_id(1)));
        assert!(rows.iter().all(|row| row.state == "open"));
    }),
    ("approvals::get", gets, |s| {
        with_questions(s);
        assert_eq!(s.spy(|tx| approvals::get(tx, id(1))), None);
    }),
    ("approvals::of_run", are_of_a_run, |s| {
        with_questions(s);
        assert_eq!(s.spy(|tx| approvals::of_run(tx, run_id(1))), []);
    }),
    ("approvals::list", lists, |s| {
        with_questions(s);
        assert_eq!(s.spy(|tx| approvals::list(tx, &theirs(), None, "", 9)), []);
        refused(s.try_theirs(|tx| approvals::list(tx, &ours(), None, "", 9)));
    }),
];

fn id(number: u8) -> ApprovalId {
    ApprovalId::from_bytes([number; 16])
}

/// Questions 1 and 2 of run 1, question 3 of run 2.
fn with_questions(site: &Site) {
    site.with_runs(&[1, 2]);
    site.engine(|tx| {
        approvals::open(tx, &approval(1, 1))?;
        approvals::open(tx, &approval(2, 1))?;
        approvals::open(tx, &approval(3, 2))
    });
}

fn opens(site: &Site) {
    with_questions(site);
    assert_eq!(
        site.see(|tx| approvals::get(tx, id(1))),
        Some(approval(1, 1))
    );
    site.engine(|tx| approvals::close_others(tx, run_id(1), None, "stale", at(9)));
    site.ours(|tx| approvals::open(tx, &approval(1, 1)));
    assert_eq!(
        site.see(|tx| approvals::get(tx, id(1))),
        Some(approval(1, 1))
    );
    conflicts(site.try_engine(|tx| approvals::open(tx, &approval(4, 9))));
}

fn closes(site: &Site) {
    with_questions(site);
    site.engine(|tx| approvals::close_others(tx, run_id(1), Some(id(2)), "stale", at(9)));
    let stale = ApprovalRow {
        state: "stale".into(),
        closed_at: Some(at(9)),
        ..approval(1, 1)
    };
    let rows = site.look(|tx| approvals::of_run(tx, run_id(1)));
    assert_eq!(rows, [stale, approval(2, 1)]);
    let other = site.look(|tx| approvals::get(tx, id(3))).unwrap();
    assert_eq!(other.state, "open");
}

fn gets(site: &Site) {
    with_questions(site);
    assert_eq!(
        site.look(|tx| approvals::get(tx, id(2))),
        Some(approval(2, 1))
    );
    assert_eq!(site.see(|tx| approvals::get(tx, id(7))), None);
}

fn are_of_a_run(site: &Site) {
    with_questions(site);
    let rows = site.see(|tx| approvals::of_run(tx, run_id(1)));
    assert_eq!(rows, [approval(1, 1), approval(2, 1)]);
}

fn lists(site: &Site) {
    with_questions(site);
    site.engine(|tx| approvals::close_others(tx, run_id(2), None, "closed", at(9)));
    let ids = |before, state: &'static str, limit| {
        let rows = site.see(|tx| approvals::list(tx, &ours(), before, state, limit));
        rows.into_iter().map(|row| row.approval).collect::<Vec<_>>()
    };
    assert_eq!(ids(None, "", 9), [id(3), id(2), id(1)]);
    assert_eq!(ids(None, "open", 1), [id(2)]);
    assert_eq!(ids(Some((at(2), id(2))), "", 9), [id(1)]);
}
