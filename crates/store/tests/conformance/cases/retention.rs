//! What is past its time.

use matrix_core::{Digest, RunId};
use matrix_store::tables::journal::{self, EntryRow};
use matrix_store::tables::releases;
use matrix_store::tables::retention::{self, Judged, Terms};
use matrix_store::tables::runs::{self, Release};

use super::Row;
use crate::site::{Site, artifact, at, deployment, entry, ours, refused, release, run_id, theirs};

pub(super) const CASES: &[Row] = &[
    ("retention::scopes", knows_scopes, |s| {
        with_ended(s);
        refused(s.try_theirs(retention::scopes));
    }),
    ("retention::runs", judges, |s| {
        with_ended(s);
        assert_eq!(
            s.spy(|tx| retention::runs(tx, &theirs(), terms(100, 0), None, 9)),
            []
        );
        refused(s.try_theirs(|tx| retention::runs(tx, &ours(), terms(100, 0), None, 9)));
    }),
    ("retention::forget", forgets, |s| {
        with_ended(s);
        let forgotten = s.theirs(|tx| retention::forget(tx, terms(100, 0), run_id(1), "keep"));
        assert_eq!(forgotten, 0);
        assert_eq!(s.see(|tx| releases::artifacts(tx, run_id(1))).len(), 2);
    }),
    ("retention::payload_blobs", knows_blobs, |s| {
        with_ended(s);
        assert_eq!(s.spy(|tx| retention::payload_blobs(tx, run_id(1))), []);
    }),
];

fn terms(ended_before: i64, releases: i64) -> Terms {
    Terms {
        ended_before: at(ended_before),
        releases,
    }
}

/// Runs that ended at 10 × their number: 1 with artifacts and a large payload, 2 with an active
/// deployment, 3 with a release; run 4 goes on.
fn with_ended(site: &Site) {
    site.with_runs(&[1, 2, 3, 4]);
    site.engine(|tx| {
        for number in [1_u8, 2, 3] {
            runs::claim(tx, run_id(number), "w", at(2))?;
            let release = Release {
                state: "succeeded",
                waiting: None,
                wake_at: None,
                stopped: "",
            };
            let ended = at(i64::from(number) * 10);
            runs::release(tx, run_id(number), 1, &release, ended)?;
        }
        releases::put_artifact(tx, &artifact(1, "keep"))?;
        releases::put_artifact(tx, &artifact(1, "drop"))?;
        let large = EntryRow {
            payload: None,
            payload_blob: Some(Digest::of("blob")),
            ..entry(1, 1)
        };
        journal::insert(tx, &entry(1, 0))?;
        journal::insert(tx, &large)?;
        releases::put_deployment(tx, &deployment(1, 2, &ours(), "active"))?;
        releases::put_release(tx, &release_of(3))
    });
}

fn release_of(run: u8) -> releases::ReleaseRow {
    release(run, run, &ours())
}

fn knows_scopes(site: &Site) {
    assert_eq!(site.engine(retention::scopes), []);
    site.with_runs(&[1, 2]);
    assert_eq!(site.engine(retention::scopes), [ours()]);
}

fn judges(site: &Site) {
    with_ended(site);
    let past = |terms, after: Option<RunId>| {
        let judged = site.look(|tx| retention::runs(tx, &ours(), terms, after, 9));
        let past = judged.into_iter().filter(|run| run.past);
        past.map(|run| run.run).collect::<Vec<_>>()
    };
    assert_eq!(past(terms(100, 0), None), [run_id(1), run_id(3)]);
    assert_eq!(past(terms(100, 1), None), [run_id(1)]);
    assert_eq!(past(terms(10, 0), None), []);
    assert_eq!(past(terms(100, 0), Some(run_id(1))), [run_id(3)]);
    let first = site.see(|tx| retention::runs(tx, &ours(), terms(100, 0), None, 1));
    let expected = Judged {
        run: run_id(1),
        past: true,
    };
    assert_eq!(first, [expected]);
}

fn forgets(site: &Site) {
    with_ended(site);
    let forget =
        |before| site.engine(move |tx| retention::forget(tx, terms(before, 0), run_id(1), "keep"));
    assert_eq!(forget(10), 0);
    assert_eq!(forget(11), 1);
    let left = site.see(|tx| releases::artifacts(tx, run_id(1)));
    assert_eq!(left, [artifact(1, "keep")]);
}

fn knows_blobs(site: &Site) {
    with_ended(site);
    let blobs = |number| site.look(|tx| retention::payload_blobs(tx, run_id(number)));
    assert_eq!(blobs(1), [Digest::of("blob")]);
    assert_eq!(blobs(2), []);
}
