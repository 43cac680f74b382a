//! One suite for every adapter of blobs: files, the protocol of S3, and that of Google Cloud
//! Storage. The servers are real programs that a test starts; none of them is a cloud's own.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test stops at the first surprise"
)]

mod bucket;

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::scope;
use std::time::Duration;

use matrix_core::system::{SystemClock, SystemEntropy};
use matrix_core::{Clock, Digest, Timestamp};
use matrix_store::blobs::RemoteOptions;
use matrix_store::{Blobs, StoreError};

use crate::bucket::{BUCKET, Bucket, Link};

const END: Timestamp = Timestamp::from_micros(i64::MAX);
const BEGINNING: Timestamp = Timestamp::from_micros(0);

/// A token that the server, which knows no tokens, takes for a signature.
const TOKEN: &str = "Credential=test/20200101/us-east-1/s3/aws4_request, Signature=0";

/// A clock that is ahead.
#[derive(Debug)]
struct Ahead(SystemClock, Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        self.0.now().plus(self.1)
    }

    fn monotonic(&self) -> Duration {
        self.0.monotonic()
    }
}

/// A store, and what happens to it behind its back.
struct Site {
    directory: tempfile::TempDir,
    bucket: Option<(Bucket, &'static str)>,
}

impl Site {
    fn files() -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            bucket: None,
        }
    }

    fn remote(scheme: &'static str) -> Self {
        Self {
            bucket: Some((Bucket::start(), scheme)),
            ..Self::files()
        }
    }

    fn root(&self) -> PathBuf {
        self.directory.path().join("blobs")
    }

    fn blobs(&self) -> Blobs {
        self.blobs_ahead(Duration::ZERO)
    }

    /// The same store as somebody sees it whose clock is ahead.
    fn blobs_ahead(&self, ahead: Duration) -> Blobs {
        match &self.bucket {
            None => Blobs::open(self.root()).unwrap(),
            Some((bucket, scheme)) => {
                let address = format!(
                    "{scheme}://{BUCKET}/some/where?endpoint=http://{}",
                    bucket.place()
                );
                connect(self.root(), &address, ahead)
            }
        }
    }

    fn damage(&self, digest: &Digest, bytes: &[u8]) {
        let text = digest.to_string();
        let (first, rest) = text.split_at(2);
        match &self.bucket {
            None => fs::write(self.root().join(first).join(format!("{rest}.zst")), bytes).unwrap(),
            Some((bucket, _)) => {
                let names = bucket.names(&format!("some/where/blobs/{first}/{rest}/"));
                assert_eq!(names.len(), 1, "{names:?}");
                bucket.overwrite(&names[0], bytes);
            }
        }
    }
}

fn connect(staging: PathBuf, address: &str, ahead: Duration) -> Blobs {
    let variables = [
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "hunter2"),
        ("GOOGLE_BEARER_TOKEN", TOKEN),
    ];
    Blobs::connect(RemoteOptions {
        address: address.parse().unwrap(),
        variables: variables
            .map(|(name, value)| (name.into(), value.into()))
            .into(),
        staging,
        clock: Arc::new(Ahead(SystemClock::start(), ahead)),
        entropy: Arc::new(SystemEntropy),
    })
    .unwrap()
}

/// Bytes that do not get smaller.
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend(state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

fn bytes_come_back(site: &Site) {
    let blobs = site.blobs();
    blobs.probe().unwrap();
    assert!(blobs.stored().unwrap().is_empty(), "a probe leaves nothing");
    let missing = Digest::of("missing");
    assert_eq!(blobs.get(&missing).unwrap(), None);
    assert!(!blobs.contains(&missing).unwrap());
    assert_eq!(blobs.remove_unused(&missing, END).unwrap(), None);
    for bytes in [&b""[..], b"hello", &vec![0; 300_000]] {
        let digest = blobs.put(bytes).unwrap();
        assert_eq!(digest, Digest::of(bytes));
        assert_eq!(blobs.put(bytes).unwrap(), digest);
        // Another process sees them, too.
        for blobs in [&blobs, &site.blobs()] {
            assert!(blobs.contains(&digest).unwrap());
            assert_eq!(blobs.get(&digest).unwrap().as_deref(), Some(bytes));
        }
    }
    assert_eq!(blobs.stored().unwrap().len(), 3);
}

fn large_files_are_kept_whole(site: &Site) {
    let blobs = site.blobs();
    let file = site.directory.path().join("file");
    for length in [0, 100, 8 * 1024 * 1024, 21_000_001] {
        let bytes = noise(length);
        fs::write(&file, &bytes).unwrap();
        let (digest, size) = blobs.put_file(&file).unwrap();
        assert_eq!((digest, size), (Digest::of(&bytes), length as u64));
        assert!(
            site.blobs().get(&digest).unwrap() == Some(bytes),
            "{length}"
        );
        assert_eq!(blobs.put_file(&file).unwrap(), (digest, size));
    }
    let bytes = noise(9_000_000);
    let digest = blobs.put(&bytes).unwrap();
    assert!(site.blobs().get(&digest).unwrap() == Some(bytes));
}

fn damage_is_seen(site: &Site) {
    let blobs = site.blobs();
    let other = zstd(b"other bytes");
    for damage in [&b"nonsense"[..], b"", &other] {
        let digest = blobs.put(b"hello").unwrap();
        site.damage(&digest, damage);
        let read = blobs.get(&digest);
        assert!(matches!(read, Err(StoreError::Corrupt(_))), "{read:?}");
        assert!(blobs.remove_unused(&digest, END).unwrap().is_some());
        assert_eq!(blobs.get(&digest).unwrap(), None);
    }
}

/// As a blob of these bytes is written.
fn zstd(bytes: &[u8]) -> Vec<u8> {
    let directory = tempfile::tempdir().unwrap();
    let digest = Blobs::open(directory.path()).unwrap().put(bytes).unwrap();
    let text = digest.to_string();
    let (first, rest) = text.split_at(2);
    fs::read(directory.path().join(first).join(format!("{rest}.zst"))).unwrap()
}

fn what_is_old_and_unused_goes(site: &Site) {
    let blobs = site.blobs();
    let digests = [b"once", b"more"].map(|bytes| blobs.put(bytes).unwrap());
    let stored = blobs.stored().unwrap();
    assert_eq!(stored.len(), 2);
    for blob in &stored {
        assert!(digests.contains(&blob.digest) && blob.size > 0, "{blob:?}");
        let left = blobs.remove_unused(&blob.digest, blob.put_at).unwrap();
        assert_eq!(left, None, "it was put then or later");
    }
    let one = stored[0];
    assert_eq!(blobs.remove_unused(&one.digest, BEGINNING).unwrap(), None);
    let later = one.put_at.plus(Duration::from_micros(1));
    assert_eq!(
        blobs.remove_unused(&one.digest, later).unwrap(),
        Some(one.size)
    );
    assert_eq!(blobs.remove_unused(&one.digest, later).unwrap(), None);
    assert_eq!(blobs.get(&one.digest).unwrap(), None);
    assert_eq!(blobs.stored().unwrap(), [stored[1]]);
    // What was removed can be put again.
    let bytes: &[u8] = if one.digest == digests[0] {
        b"once"
    } else {
        b"more"
    };
    let again = site.blobs_ahead(Duration::from_hours(2));
    assert_eq!(again.put(bytes).unwrap(), one.digest);
    assert!(again.contains(&one.digest).unwrap());
}

fn many_put_the_same_at_once(site: &Site) {
    let digest = Digest::of("shared");
    scope(|scope| {
        for _ in 0..8 {
            let blobs = site.blobs();
            scope.spawn(move || assert_eq!(blobs.put(b"shared").unwrap(), digest));
        }
    });
    let blobs = site.blobs();
    assert_eq!(blobs.get(&digest).unwrap().as_deref(), Some(&b"shared"[..]));
    let stored = blobs.stored().unwrap();
    assert_eq!(stored.len(), 1, "{stored:?}");
    assert!(blobs.remove_unused(&digest, END).unwrap().is_some());
    assert!(blobs.stored().unwrap().is_empty());
}

/// Bytes that were put long ago are put again while somebody removes them.
fn what_is_put_while_it_is_removed_stays(site: &Site) {
    let blobs = site.blobs();
    let texts: Vec<String> = (0..24).map(|number| format!("text {number}")).collect();
    let digests: Vec<Digest> = texts
        .iter()
        .map(|text| blobs.put(text.as_bytes()).unwrap())
        .collect();
    let newest = blobs
        .stored()
        .unwrap()
        .iter()
        .map(|blob| blob.put_at)
        .max()
        .unwrap();
    let since = newest.plus(Duration::from_micros(1));
    // Until the store's clock has moved on, what is put now would count as old.
    let mut number = 0;
    loop {
        let digest = blobs.put(format!("tick {number}").as_bytes()).unwrap();
        let stored = blobs.stored().unwrap();
        let tick = stored.iter().find(|blob| blob.digest == digest).unwrap();
        if tick.put_at >= since {
            break;
        }
        number += 1;
    }
    let others = site.blobs_ahead(Duration::from_hours(2));
    scope(|scope| {
        for (text, digest) in texts.iter().zip(&digests) {
            let (blobs, others) = (&blobs, &others);
            scope.spawn(move || blobs.remove_unused(digest, since).unwrap());
            scope.spawn(move || others.put(text.as_bytes()).unwrap());
        }
    });
    for (text, digest) in texts.iter().zip(&digests) {
        let kept = site.blobs().get(digest).unwrap();
        assert_eq!(kept.as_deref(), Some(text.as_bytes()), "{text} is gone");
    }
}

macro_rules! every_adapter {
    ($($case:ident),*) => {$(
        mod $case {
            use super::Site;

            #[test]
            fn files() {
                super::$case(&Site::files());
            }

            #[test]
            fn s3() {
                super::$case(&Site::remote("s3"));
            }

            #[test]
            fn gcs() {
                super::$case(&Site::remote("gs"));
            }
        }
    )*};
}

every_adapter!(
    bytes_come_back,
    large_files_are_kept_whole,
    damage_is_seen,
    what_is_old_and_unused_goes,
    many_put_the_same_at_once,
    what_is_put_while_it_is_removed_stays
);

#[test]
fn bytes_that_are_put_again_much_later_replace_what_there_was() {
    for scheme in ["s3", "gs"] {
        let site = Site::remote(scheme);
        let blobs = site.blobs();
        let digest = blobs.put(b"hello").unwrap();
        assert!(blobs.get(&digest).unwrap().is_some());
        let names = || site.bucket.as_ref().unwrap().0.names("some/where/blobs/");
        let before = names();
        site.blobs_ahead(Duration::from_mins(30))
            .put(b"hello")
            .unwrap();
        assert_eq!(names(), before, "it is young");
        site.blobs_ahead(Duration::from_mins(90))
            .put(b"hello")
            .unwrap();
        let after = names();
        assert_eq!(after.len(), 1, "{after:?}");
        assert_ne!(after, before);
        // A process that knows the older name finds the newer.
        assert_eq!(blobs.get(&digest).unwrap().as_deref(), Some(&b"hello"[..]));
    }
}

#[test]
fn a_store_keeps_the_name_of_its_first_owner() {
    for scheme in ["s3", "gs"] {
        let site = Site::remote(scheme);
        let blobs = site.blobs();
        assert_eq!(blobs.owner().unwrap(), None);
        assert_eq!(blobs.claim("ours").unwrap(), "ours");
        assert_eq!(site.blobs().claim("theirs").unwrap(), "ours");
        assert_eq!(blobs.owner().unwrap().as_deref(), Some("ours"));
        assert!(blobs.stored().unwrap().is_empty());
    }
}

#[test]
fn a_store_that_cannot_be_used_says_so_and_is_used_when_it_is_back() {
    let bucket = Bucket::start();
    let link = Link::to(bucket.place());
    let directory = tempfile::tempdir().unwrap();
    let connect = |bucket: &str| {
        let address = format!("s3://{bucket}?endpoint=http://{}", link.place());
        connect(directory.path().to_owned(), &address, Duration::ZERO)
    };
    let blobs = connect(BUCKET);
    let digest = blobs.put(b"hello").unwrap();
    link.cut();
    let unreachable = |error: StoreError| {
        assert!(matches!(error, StoreError::Unreachable(_)), "{error:?}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
        error.to_string()
    };
    unreachable(blobs.get(&digest).unwrap_err());
    unreachable(blobs.put(b"more").unwrap_err());
    unreachable(blobs.contains(&digest).unwrap_err());
    unreachable(blobs.stored().unwrap_err());
    unreachable(blobs.remove_unused(&digest, END).unwrap_err());
    unreachable(blobs.probe().unwrap_err());
    link.mend();
    assert_eq!(blobs.get(&digest).unwrap().as_deref(), Some(&b"hello"[..]));
    blobs.put(b"more").unwrap();
    let nowhere = connect("no-such-bucket");
    let said = unreachable(nowhere.probe().unwrap_err());
    assert!(said.contains("no such bucket"), "{said}");
    unreachable(nowhere.get(&digest).unwrap_err());
    let far = site_clock(directory.path().to_owned(), &link);
    assert!(unreachable(far.probe().unwrap_err()).contains("apart"));
    assert!(!format!("{blobs:?}").contains("hunter2"));
}

/// The store as a machine sees it whose clock is wrong.
fn site_clock(staging: PathBuf, link: &Link) -> Blobs {
    let address = format!("s3://{BUCKET}?endpoint=http://{}", link.place());
    connect(staging, &address, Duration::from_mins(20))
}

#[test]
fn tasks_of_a_runtime_go_on_while_one_waits() {
    let bucket = Bucket::start();
    let directory = tempfile::tempdir().unwrap();
    let address = format!("s3://{BUCKET}?endpoint=http://{}", bucket.place());
    let blobs = connect(directory.path().to_owned(), &address, Duration::ZERO);
    let mut several = tokio::runtime::Builder::new_multi_thread();
    several.worker_threads(1);
    let one = tokio::runtime::Builder::new_current_thread().build();
    for runtime in [several.build().unwrap(), one.unwrap()] {
        let asked = blobs.clone();
        let digest = runtime.block_on(async move {
            let task = tokio::spawn(async move { asked.put(b"from a task").unwrap() });
            task.await.unwrap()
        });
        assert!(blobs.contains(&digest).unwrap());
        drop(runtime);
    }
    // The last handle may go in a task.
    let runtime = several.build().unwrap();
    runtime.block_on(async move { drop(blobs) });
}
