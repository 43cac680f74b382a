//! What changes leave behind.

use matrix_core::id::{DeploymentId, ReleaseId};
use matrix_store::tables::releases::{self, ArtifactRow, DeploymentRow};

use super::Row;
use crate::site::{
    Site, artifact, at, conflicts, deployment, ours, refused, release, run_id, theirs,
};

pub(super) const CASES: &[Row] = &[
    ("releases::put_artifact", publishes, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| releases::put_artifact(tx, &artifact(1, "a"))));
        assert_eq!(s.see(|tx| releases::artifacts(tx, run_id(1))), []);
    }),
    ("releases::artifacts", publishes, |s| {
        s.with_runs(&[1]);
        s.ours(|tx| releases::put_artifact(tx, &artifact(1, "a")));
        assert_eq!(s.spy(|tx| releases::artifacts(tx, run_id(1))), []);
        assert_eq!(s.theirs(|tx| releases::artifacts(tx, run_id(1))), []);
    }),
    ("releases::put_deployment", deploys, |s| {
        s.with_runs(&[1]);
        let row = deployment(1, 1, &ours(), "active");
        refused(s.try_theirs(move |tx| releases::put_deployment(tx, &row)));
        // Nor does a deployment of theirs come from a run of ours.
        let row = deployment(1, 1, &theirs(), "active");
        refused(s.try_theirs(move |tx| releases::put_deployment(tx, &row)));
        assert_eq!(s.see(|tx| get(tx, 1)), None);
    }),
    ("releases::get_deployment", deploys, |s| {
        s.with_runs(&[1]);
        s.ours(|tx| releases::put_deployment(tx, &deployment(1, 1, &ours(), "active")));
        refused(s.try_theirs(|tx| get(tx, 1)));
        let seen =
            s.spy(|tx| releases::get_deployment(tx, &theirs(), DeploymentId::from_bytes([1; 16])));
        assert_eq!(seen, None);
    }),
    ("releases::deployments", lists_deployments, |s| {
        s.with_runs(&[1]);
        s.ours(|tx| releases::put_deployment(tx, &deployment(1, 1, &ours(), "active")));
        assert_eq!(
            s.spy(|tx| releases::deployments(tx, &theirs(), None, "", 9)),
            []
        );
        refused(s.try_theirs(|tx| releases::deployments(tx, &ours(), None, "", 9)));
    }),
    ("releases::put_release", releases_once, |s| {
        s.with_runs(&[1]);
        refused(s.try_theirs(|tx| releases::put_release(tx, &release(1, 1, &ours()))));
        refused(s.try_theirs(|tx| releases::put_release(tx, &release(1, 1, &theirs()))));
        assert_eq!(s.see(|tx| releases::releases(tx, &ours(), 9)), []);
    }),
    ("releases::releases", releases_once, |s| {
        s.with_runs(&[1]);
        s.ours(|tx| releases::put_release(tx, &release(1, 1, &ours())));
        assert_eq!(s.spy(|tx| releases::releases(tx, &theirs(), 9)), []);
        refused(s.try_theirs(|tx| releases::releases(tx, &ours(), 9)));
    }),
];

fn publishes(site: &Site) {
    site.with_runs(&[1, 2]);
    site.ours(|tx| releases::put_artifact(tx, &artifact(1, "b")));
    site.engine(|tx| {
        releases::put_artifact(tx, &artifact(1, "B"))?;
        releases::put_artifact(tx, &artifact(1, "a"))?;
        releases::put_artifact(tx, &artifact(2, "c"))
    });
    let again = ArtifactRow {
        size: 7,
        media_type: "text/html".into(),
        ..artifact(1, "b")
    };
    let put = again.clone();
    site.ours(move |tx| releases::put_artifact(tx, &put));
    let expected = [artifact(1, "B"), artifact(1, "a"), again];
    assert_eq!(site.see(|tx| releases::artifacts(tx, run_id(1))), expected);
    assert_eq!(site.look(|tx| releases::artifacts(tx, run_id(1))), expected);
    assert_eq!(site.look(|tx| releases::artifacts(tx, run_id(9))), []);
}

fn get(
    tx: &matrix_store::Tx<'_>,
    number: u8,
) -> Result<Option<DeploymentRow>, matrix_store::StoreError> {
    releases::get_deployment(tx, &ours(), DeploymentId::from_bytes([number; 16]))
}

fn deploys(site: &Site) {
    site.with_runs(&[1]);
    let first = deployment(1, 1, &ours(), "active");
    let row = first.clone();
    site.engine(move |tx| releases::put_deployment(tx, &row));
    assert_eq!(site.see(|tx| get(tx, 1)), Some(first.clone()));
    let later = DeploymentRow {
        state: "stopped".into(),
        updated_at: at(8),
        ..first
    };
    let row = later.clone();
    site.ours(move |tx| releases::put_deployment(tx, &row));
    assert_eq!(site.look(|tx| get(tx, 1)), Some(later));
    assert_eq!(site.see(|tx| get(tx, 2)), None);
}

fn lists_deployments(site: &Site) {
    site.with_runs(&[1]);
    site.ours(|tx| {
        for number in [1, 2, 3] {
            releases::put_deployment(tx, &deployment(number, 1, &ours(), "active"))?;
        }
        Ok(())
    });
    let ids = |before: Option<u8>, target: &'static str, limit| {
        let before = before.map(|number| DeploymentId::from_bytes([number; 16]));
        let rows = site.see(|tx| releases::deployments(tx, &ours(), before, target, limit));
        let first = rows.into_iter().map(|row| row.deployment.as_bytes()[0]);
        first.collect::<Vec<_>>()
    };
    assert_eq!(ids(None, "", 9), [3, 2, 1]);
    assert_eq!(ids(Some(3), "local", 1), [2]);
    assert_eq!(ids(None, "other", 9), [0_u8; 0]);
}

fn releases_once(site: &Site) {
    site.with_runs(&[1, 2]);
    site.ours(|tx| releases::put_release(tx, &release(1, 1, &ours())));
    site.engine(|tx| releases::put_release(tx, &release(2, 2, &ours())));
    site.engine(|tx| releases::put_release(tx, &release(1, 1, &ours())));
    let rows = site.see(|tx| releases::releases(tx, &ours(), 9));
    assert_eq!(rows, [release(2, 2, &ours()), release(1, 1, &ours())]);
    let rows = site.see(|tx| releases::releases(tx, &ours(), 1));
    assert_eq!(rows[0].release, ReleaseId::from_bytes([2; 16]));
    conflicts(site.try_ours(|tx| releases::put_release(tx, &release(3, 1, &ours()))));
}
