//! Retention over a real store: what goes, what stays, and a crash between the halves.

use std::collections::BTreeSet;

use matrix_core::Scope;
use matrix_core::id::{DeploymentId, ReleaseId};
use matrix_store::OpenMode;
use matrix_store::tables::journal::EntryRow;
use matrix_store::tables::releases::{ArtifactRow, DeploymentRow, ReleaseRow};
use matrix_store::tables::runs::{self, RunRow};
use proptest::prelude::*;

use super::*;

const DAY: Duration = Duration::from_secs(DAY_SECONDS);

fn day(number: i64) -> Timestamp {
    Timestamp::from_micros(number * 86_400_000_000)
}

/// A store on the thousandth day.
struct Site {
    directory: tempfile::TempDir,
    work: Work,
}

impl Site {
    fn new(retention: Retention) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        let database = Database::open(&root.join("matrix.db"), OpenMode::Host).unwrap();
        let work = Work {
            database,
            blobs: Blobs::open(root.join("blobs")).unwrap(),
            layout: Layout::new(root, None),
            terms: retention.terms(day(1_000)),
            since: back(day(1_000), GRACE),
        };
        Self { directory, work }
    }

    /// A blob that was put on a day.
    fn blob(&self, text: &str, put_on: i64) -> Digest {
        let digest = self.work.blobs.put(text.as_bytes()).unwrap();
        self.age(&digest, put_on);
        digest
    }

    fn age(&self, digest: &Digest, put_on: i64) {
        let name = digest.to_string();
        let place = self.directory.path().join("blobs").join(&name[..2]);
        let place = place.join(format!("{}.zst", &name[2..]));
        let file = std::fs::File::options().write(true).open(place).unwrap();
        let time = std::time::UNIX_EPOCH + DAY * u32::try_from(put_on).unwrap();
        file.set_modified(time).unwrap();
    }

    fn has(&self, digest: &Digest) -> bool {
        self.work.blobs.contains(digest).unwrap()
    }

    async fn write(
        &self,
        work: impl FnOnce(&matrix_store::Tx<'_>) -> Result<(), StoreError> + Send + 'static,
    ) {
        self.work.database.write(work).await.unwrap();
    }

    /// A change that ended on a day, with what its journal says in a row or a blob.
    async fn change(&self, number: u8, state: &str, ended_on: i64, says: &[Digest]) -> RunId {
        let run = RunId::from_bytes([number; 16]);
        let row = RunRow {
            run,
            scope: Scope::local(),
            kind: "change".into(),
            version: "1".into(),
            title: "a change".into(),
            trace: "0".repeat(32),
            state: state.into(),
            waiting: None,
            wake_at: None,
            owner: None,
            epoch: 1,
            crashes: 0,
            head_seq: 0,
            head_hash: Digest::of("head"),
            created_at: day(ended_on),
            updated_at: day(ended_on),
            placement: matrix_store::tables::queue::Placement::default(),
            lineage: matrix_store::tables::runs::Lineage::default(),
            removed_at: None,
            hold: String::new(),
        };
        self.write(move |tx| runs::insert(tx, &row)).await;
        let names: Vec<String> = says.iter().map(ToString::to_string).collect();
        let payload = serde_json::json!({ "files": names }).to_string();
        let large = self.blob(&format!("{payload} of {run}"), ended_on);
        let payloads = [(Some(payload), None), (None, Some(large))];
        for (seq, (inline, blob)) in (0..).zip(payloads) {
            let entry = EntryRow {
                lsn: 0,
                run,
                seq,
                kind: "step_completed".into(),
                path: String::new(),
                fingerprint: String::new(),
                actor: "worker:w".into(),
                epoch: 1,
                at: day(ended_on),
                payload_digest: Digest::of("payload"),
                hash: Digest::of("hash"),
                salt: None,
                payload: inline.map(String::into_bytes),
                payload_blob: blob,
            };
            self.write(move |tx| journal::insert(tx, &entry)).await;
        }
        assert!(self.has(&large));
        run
    }

    async fn artifact(&self, run: RunId, name: &str, digest: Digest) {
        let row = ArtifactRow {
            run,
            name: name.into(),
            digest,
            media_type: "text/plain".into(),
            size: 1,
            created_at: day(1),
        };
        self.write(move |tx| releases::put_artifact(tx, &row)).await;
    }

    async fn release(&self, number: u8, run: RunId) {
        let row = ReleaseRow {
            release: ReleaseId::from_bytes([number; 16]),
            run,
            scope: Scope::local(),
            title: "a release".into(),
            detail: "{}".into(),
            created_at: day(1),
        };
        self.write(move |tx| releases::put_release(tx, &row)).await;
    }

    async fn deployment(&self, number: u8, run: RunId, state: &str) {
        let row = DeploymentRow {
            deployment: DeploymentId::from_bytes([number; 16]),
            run,
            scope: Scope::local(),
            target: "local".into(),
            state: state.into(),
            detail: "{}".into(),
            created_at: day(1),
            updated_at: day(1),
        };
        self.write(move |tx| releases::put_deployment(tx, &row))
            .await;
    }

    fn names(&self, run: RunId) -> BTreeSet<String> {
        let rows = self.work.artifacts(run).unwrap();
        rows.into_iter().map(|(name, _)| name).collect()
    }

    async fn prune(&self) -> Pruned {
        let told = self.work.clone().rehearse().await.unwrap();
        let done = self.work.clone().perform().await.unwrap();
        assert_eq!(told, done, "a rehearsal tells what is done");
        let again = self.work.clone().perform().await.unwrap();
        assert_eq!(
            again,
            Pruned::default(),
            "the second time nothing is left to do"
        );
        done
    }
}

fn terms(artifacts: Keep, releases: Option<u32>) -> Retention {
    Retention {
        artifacts,
        releases,
        ..Retention::default()
    }
}

#[tokio::test]
async fn by_default_only_what_nobody_refers_to_goes() {
    let site = Site::new(Retention::default());
    let [named, orphan, row, young] = ["named", "orphan", "row", "young"].map(|t| site.blob(t, 10));
    site.age(&young, 1_000);
    let run = site.change(1, "succeeded", 10, &[named]).await;
    site.artifact(run, "source.tar", row).await;
    let pruned = site.prune().await;
    assert_eq!((pruned.blobs, pruned.artifacts, pruned.changes), (1, 0, 0));
    assert!(pruned.bytes > 0);
    assert!(!site.has(&orphan), "nothing refers to it");
    assert!(site.has(&named) && site.has(&row) && site.has(&young));
}

#[tokio::test]
async fn what_ended_long_ago_goes_and_its_proof_stays() {
    let site = Site::new(terms(Keep::For(DAY * 90), Some(0)));
    let texts = ["archive", "bundle", "evidence", "shared"];
    let [archive, bundle, evidence, shared] = texts.map(|text| site.blob(text, 10));
    let old = site.change(1, "succeeded", 10, &[evidence, shared]).await;
    site.artifact(old, "source.tar", archive).await;
    site.artifact(old, BUNDLE, bundle).await;
    site.release(1, old).await;
    std::fs::create_dir_all(site.work.layout.logs(old)).unwrap();
    let fresh = site.change(2, "failed", 950, &[shared]).await;
    let payloads = site
        .work
        .database
        .read_now(|tx| retention::payload_blobs(tx, old));

    let pruned = site.prune().await;
    assert_eq!((pruned.changes, pruned.artifacts, pruned.blobs), (1, 1, 2));
    assert_eq!(site.names(old), BTreeSet::from([BUNDLE.to_owned()]));
    assert!(!site.has(&archive) && !site.has(&evidence));
    assert!(site.has(&bundle), "the proof of a release stays");
    assert!(site.has(&shared), "{fresh} refers to it");
    let payloads: Vec<Digest> = payloads.map_err(|e: StoreError| e).unwrap();
    assert!(
        payloads.iter().all(|payload| site.has(payload)),
        "journals stay whole"
    );
    assert!(!site.work.layout.logs(old).exists());
}

#[tokio::test]
async fn what_is_needed_stays_however_old_it_is() {
    let site = Site::new(terms(Keep::For(DAY), Some(1)));
    let held = [
        ("running", None, None),
        ("waiting", None, None),
        ("paused", None, None),
        ("succeeded", Some("active"), None),
        ("succeeded", Some("superseded"), None),
        ("succeeded", None, Some(9)),
    ];
    let gone = [
        ("succeeded", Some("superseded"), Some(2)),
        ("failed", Some("rolled_back"), None),
        ("cancelled", None, None),
        ("failed", Some("stopped"), None),
    ];
    let mut digests = Vec::new();
    // Those that go come first: deployments are ordered by id, and only the newest superseded one
    // can be gone back to.
    for (number, (state, deployed, released)) in (1_u8..).zip(gone.iter().chain(&held)) {
        let digest = site.blob(&format!("of {number}"), 10);
        let run = site.change(number, state, 10, &[digest]).await;
        site.artifact(run, "file", digest).await;
        if let Some(deployed) = deployed {
            site.deployment(number, run, deployed).await;
        }
        if let Some(released) = released {
            site.release(*released, run).await;
        }
        digests.push((digest, run));
    }
    site.prune().await;
    let (lost, kept) = digests.split_at(gone.len());
    for (case, (digest, run)) in gone.iter().zip(lost) {
        assert!(!site.has(digest) && site.names(*run).is_empty(), "{case:?}");
    }
    for (case, (digest, run)) in held.iter().zip(kept) {
        assert!(site.has(digest) && site.names(*run).len() == 1, "{case:?}");
    }
}

#[tokio::test]
async fn a_crash_between_the_halves_leaves_no_row_without_its_blob() {
    let site = Site::new(terms(Keep::For(DAY), Some(0)));
    let archive = site.blob("archive", 10);
    let run = site.change(1, "succeeded", 10, &[]).await;
    site.artifact(run, "source.tar", archive).await;
    site.work.forget().await.unwrap();
    assert!(site.names(run).is_empty() && site.has(&archive));
    let pruned = site.prune().await;
    assert_eq!((pruned.artifacts, pruned.blobs), (0, 1));
    assert!(!site.has(&archive));
}

#[tokio::test]
async fn a_blob_that_is_put_again_meanwhile_stays() {
    let site = Site::new(Retention::default());
    let again = site.blob("again", 10);
    let candidates = site.work.candidates().unwrap();
    assert!(candidates.contains_key(&again));
    // A step puts it between the look and the removal; it will be named later.
    site.work.blobs.put(b"again").unwrap();
    let removed = site.work.blobs.remove_unused(&again, site.work.since);
    assert_eq!(removed.unwrap(), None);
    assert!(site.has(&again));
}

#[test]
fn times_to_keep_are_read_and_written() {
    for (text, seconds) in [("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600)] {
        let keep: Keep = text.parse().unwrap();
        assert_eq!(keep, Keep::For(Duration::from_secs(seconds)));
        assert_eq!(keep.to_string().parse(), Ok(keep));
    }
    assert_eq!("forever".parse(), Ok(Keep::Forever));
    let wrong = [
        "",
        "d",
        "0d",
        "-1d",
        "+1d",
        "1.5d",
        "1y",
        "90",
        "99999999999d",
        "é",
    ];
    for text in wrong {
        assert!(text.parse::<Keep>().is_err(), "{text}");
    }
}

#[test]
fn digests_are_found_wherever_they_stand() {
    let (a, b) = (Digest::of("a"), Digest::of("b"));
    let text = format!("{{\"x\":\"{a}\",\"y\":\"sha256:{b}.json\",\"z\":\"deadbeef\"}}");
    let mut seen = Vec::new();
    digests(text.as_bytes(), |digest| seen.push(digest));
    assert_eq!(seen, [a, b]);
    // Next to another digit the word is longer; it is found all the same.
    let mut seen = Vec::new();
    digests(format!("f{a}0").as_bytes(), |digest| seen.push(digest));
    assert!(seen.contains(&a));
}

proptest! {
    #[test]
    fn any_bytes_are_searched_without_panic(bytes: Vec<u8>) {
        digests(&bytes, |_| {});
    }

    #[test]
    fn any_text_is_a_time_or_not(text in ".*") {
        if let Ok(keep) = text.parse::<Keep>() {
            prop_assert_eq!(keep.to_string().parse(), Ok(keep));
        }
    }
}
