//! Hosts that come and go.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use matrix_engine::schedule::ScheduleFunction;
use matrix_engine::{DurableFunction, Engine, EngineOptions, Journal, OnFullDisk};

use super::limits;
use super::link::Link;
use super::program::Program;
use super::site::{LEASE, SeededEntropy, SimulatedClock, Site};
use super::world::Outside;

/// A host that lives.
#[derive(Debug)]
pub(super) struct Host {
    pub(super) link: Arc<Link>,
    pub(super) clock: Arc<SimulatedClock>,
    pub(super) engine: Engine,
}

/// Every host that lives.
#[derive(Debug)]
pub(super) struct Hosts {
    site: Arc<Site>,
    living: Mutex<Vec<Arc<Host>>>,
    started: AtomicU64,
}

impl Hosts {
    pub(super) fn new(site: &Arc<Site>) -> Arc<Self> {
        Arc::new(Self {
            site: Arc::clone(site),
            living: Mutex::default(),
            started: AtomicU64::new(0),
        })
    }

    pub(super) fn count(&self) -> usize {
        self.living.lock().unwrap().len()
    }

    pub(super) fn any(&self) -> Option<Arc<Host>> {
        let living = self.living.lock().unwrap();
        let chosen = self.site.below(u64::try_from(living.len()).unwrap());
        living.get(usize::try_from(chosen).unwrap()).cloned()
    }

    /// Starts a host under a name that nobody had.
    pub(super) fn start(self: &Arc<Self>) {
        let site = &self.site;
        let number = self.started.fetch_add(1, Ordering::SeqCst);
        let link = Link::new(site, format!("host-{number}"));
        let clock = Arc::new(SimulatedClock::new(site));
        let journal = Journal::new(
            site.database.clone(),
            site.blobs.clone(),
            Arc::clone(&clock) as _,
            Arc::new(SeededEntropy::new(site)),
        );
        let journal = journal.carried(Arc::clone(&link) as _);
        let options = EngineOptions {
            worker: link.name.clone(),
            concurrency: 1 + usize::try_from(site.below(8)).unwrap(),
            lease: LEASE,
            on_full_disk: OnFullDisk::Retry,
            scheduling: matrix_engine::Scheduling {
                rules: limits::rules(site.defect),
                ..Default::default()
            },
        };
        let outside = Outside {
            site: Arc::clone(site),
            link: Arc::clone(&link),
        };
        let schedules = ScheduleFunction::new(site.database.clone(), Vec::new());
        let functions: Vec<Arc<dyn DurableFunction>> =
            vec![Arc::new(Program(outside)), Arc::new(schedules)];
        let engine = if site.alone {
            Engine::new(journal, functions, options)
        } else {
            Engine::beside_others(journal, functions, options)
        };
        site.event(format_args!("{} starts", link.name));
        let host = Arc::new(Host {
            link,
            clock,
            engine,
        });
        self.living.lock().unwrap().push(Arc::clone(&host));
        tokio::spawn(Arc::clone(self).watch(host));
    }

    /// Stays with a host until it dies, or ends by itself.
    async fn watch(self: Arc<Self>, host: Arc<Host>) {
        let engine = host.engine.clone();
        let mut work = tokio::spawn(async move { engine.work().await });
        tokio::select! {
            biased;
            () = host.link.died.notified() => {
                work.abort();
                // What it did is dropped wherever it stands.
                drop(work.await);
            }
            _ = &mut work => {}
        }
        let why = host.engine.failure().unwrap_or_default();
        self.site
            .event(format_args!("{} is gone {why}", host.link.name));
        self.living
            .lock()
            .unwrap()
            .retain(|other| !Arc::ptr_eq(other, &host));
    }

    /// Lets every host go in peace.
    pub(super) async fn stop(&self) {
        let living = self.living.lock().unwrap().clone();
        for host in living.iter().filter(|host| !host.link.is_dead()) {
            host.engine.drain();
            host.engine.stopped().await;
        }
    }
}
