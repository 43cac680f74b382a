//! One life: what all its parts share, and how it goes.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use matrix_core::{Clock, Digest, Entropy, RunId, Timestamp};
use matrix_store::{Blobs, Database, OpenMode};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::super::host::Rng;
use super::hosts::Hosts;
use super::world::World;
use super::{judge, people, weather};

/// A lease as in the product.
pub(super) const LEASE: Duration = Duration::from_secs(15);

/// How long a run may take to end once the weather is good.
const PATIENCE: Duration = Duration::from_mins(20);

/// More happens in no life that goes anywhere.
const EVENTS_MAX: usize = 10_000;

const START: i64 = 1_700_000_000_000_000;

/// What is deliberately wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Defect {
    None,
    /// The store does not compare epochs.
    NoFence,
    /// The store answers before it commits, and its host dies in between.
    EarlyAnswer,
    /// Dead owners' runs are looked for only when a host starts.
    SweepAtStart,
    /// A host believes in a heartbeat that never reached the store.
    FalseBeat,
    /// The outside world cannot tell what happened, but says that nothing did.
    BlindProbe,
    /// A host takes runs whatever runs already.
    NoLimits,
    /// A run that another one starts is not written with the entry that says so, and its host dies in
    /// between.
    LostChild,
    /// A run's end is not written with what those it started are to hear of it, and its host dies in
    /// between.
    LostLetter,
}

/// How a life went.
pub(super) struct Report {
    pub(super) failure: Option<String>,
    pub(super) events: Vec<String>,
}

/// What everyone in one life shares.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) defect: Defect,
    pub(super) database: Database,
    pub(super) blobs: Blobs,
    pub(super) world: Mutex<World>,
    /// Whether hosts are alone with their database, one after the other.
    pub(super) alone: bool,
    /// Set when the weather clears: from then on nothing fails any more.
    pub(super) calm: AtomicBool,
    /// Heads of journals that somebody was told are durable.
    pub(super) durable: Mutex<Vec<(RunId, i64, Digest)>>,
    /// Messages that somebody was told are accepted.
    pub(super) accepted: Mutex<Vec<(RunId, String)>>,
    /// Results of steps that a function was given.
    pub(super) seen: Mutex<Vec<(RunId, String, u64)>>,
    /// The first rule that was broken while everything went on.
    pub(super) broken: Mutex<Option<String>>,
    started: Instant,
    rng: Mutex<Rng>,
    events: Mutex<Vec<String>>,
    busy: Notify,
}

impl Site {
    pub(super) fn below(&self, bound: u64) -> u64 {
        self.rng.lock().unwrap().below(bound.max(1))
    }

    /// Whether something with this chance in a thousand happens.
    pub(super) fn chance(&self, in_thousand: u64) -> bool {
        self.below(1_000) < in_thousand
    }

    /// A misfortune: as [`Self::chance`], but never once the weather is good.
    pub(super) fn mishap(&self, in_thousand: u64) -> bool {
        self.chance(in_thousand) && !self.calm.load(Ordering::SeqCst)
    }

    pub(super) fn event(&self, what: std::fmt::Arguments<'_>) {
        let mut line = format!("{:>9} ", self.started.elapsed().as_millis());
        let _ = line.write_fmt(what);
        let mut events = self.events.lock().unwrap();
        events.push(line);
        if events.len() > EVENTS_MAX {
            self.busy.notify_one();
        }
    }

    pub(super) fn breaks(&self, what: String) {
        self.event(format_args!("BROKEN {what}"));
        self.broken.lock().unwrap().get_or_insert(what);
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// A host's clock: the simulated time, set wrong by some amount.
#[derive(Debug)]
pub(super) struct SimulatedClock {
    started: Instant,
    pub(super) wrong_by: AtomicI64,
}

impl SimulatedClock {
    pub(super) fn new(site: &Site) -> Self {
        let wrong_by = i64::try_from(site.below(2_000_000)).unwrap() - 1_000_000;
        Self {
            started: site.started,
            wrong_by: AtomicI64::new(wrong_by),
        }
    }
}

impl Clock for SimulatedClock {
    fn now(&self) -> Timestamp {
        let passed = i64::try_from(self.started.elapsed().as_micros()).unwrap();
        Timestamp::from_micros(START + passed + self.wrong_by.load(Ordering::SeqCst))
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Chance that repeats with its seed.
#[derive(Debug)]
pub(super) struct SeededEntropy(Mutex<Rng>);

impl SeededEntropy {
    pub(super) fn new(site: &Site) -> Self {
        Self(Mutex::new(Rng(site.below(u64::MAX))))
    }
}

impl Entropy for SeededEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        let mut rng = self.0.lock().unwrap();
        for byte in buffer {
            *byte = u8::try_from(rng.below(256)).unwrap();
        }
    }
}

/// A directory in memory where the machine has one: nothing here is about the disk.
fn directory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// A new database; the tables of the first are copied for all the others.
fn database(place: &std::path::Path) -> Database {
    static EMPTY: OnceLock<tempfile::TempDir> = OnceLock::new();
    let empty = EMPTY.get_or_init(|| {
        let empty = directory();
        drop(Database::open(&empty.path().join("db"), OpenMode::Host).unwrap());
        empty
    });
    let path = place.join("db");
    std::fs::copy(empty.path().join("db"), &path).unwrap();
    Database::open(&path, OpenMode::Host).unwrap()
}

/// Lives one seed from its beginning to the judgement.
pub(super) fn live(seed: u64, defect: Defect) -> Report {
    let place = directory();
    let database = database(place.path());
    let blobs = Blobs::open(place.path().join("blobs")).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    let report = runtime.block_on(async {
        let mut rng = Rng(seed ^ 0x6d61_7472_6978);
        let alone = defect == Defect::None && rng.below(4) == 0;
        let site = Arc::new(Site {
            defect,
            database,
            blobs,
            world: Mutex::default(),
            alone,
            calm: AtomicBool::new(false),
            durable: Mutex::default(),
            accepted: Mutex::default(),
            seen: Mutex::default(),
            broken: Mutex::default(),
            started: Instant::now(),
            rng: Mutex::new(rng),
            events: Mutex::default(),
            busy: Notify::new(),
        });
        let failure = go(&site).await.err();
        let events = std::mem::take(&mut *site.events.lock().unwrap());
        Report { failure, events }
    });
    drop(runtime);
    report
}

async fn go(site: &Arc<Site>) -> Result<(), String> {
    let hosts = Hosts::new(site);
    let people = tokio::spawn(people::live(Arc::clone(site), Arc::clone(&hosts)));
    weather::storm(site, &hosts).await;
    site.calm.store(true, Ordering::SeqCst);
    site.event(format_args!("calm"));
    let ended = tokio::select! {
        biased;
        () = site.busy.notified() => return Err("going round in circles".into()),
        ended = tokio::time::timeout(PATIENCE, weather::until_all_ended(site, &hosts)) => ended,
    };
    people.abort();
    if let Some(broken) = site.broken.lock().unwrap().take() {
        return Err(broken);
    }
    if ended.is_err() {
        return Err(judge::stranded(site));
    }
    if tokio::time::timeout(PATIENCE, hosts.stop()).await.is_err() {
        return Err("a host does not let go of its runs".into());
    }
    judge::judge(site).await
}
