//! One host's way to the store and to the outside world, and everything bad that happens on it.

use std::future::Future;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use async_trait::async_trait;
use matrix_core::RunId;
use matrix_engine::StepContext;
use matrix_engine::journal::Fence;
use matrix_engine::storage::{Carrier, Purpose, Work};
use matrix_store::tables::runs;
use matrix_store::{Statement, StoreError, Tx};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};

use super::limits;
use super::site::{Defect, LEASE, Site};
use super::torn::{self, Torn};

#[derive(Debug)]
struct State {
    dead: bool,
    /// Places passed at which a host may die.
    passed: u64,
    /// The place at which it will.
    dies_at: Option<u64>,
    hangs_until: Option<Instant>,
    cut_until: Option<Instant>,
    /// When the last beat was asked for that this host knows to stand.
    beaten: Option<Instant>,
}

/// One life of one host.
#[derive(Debug)]
pub(super) struct Link {
    site: Arc<Site>,
    pub(super) name: String,
    began: Instant,
    state: Mutex<State>,
    pub(super) died: Notify,
}

impl Link {
    pub(super) fn new(site: &Arc<Site>, name: String) -> Arc<Self> {
        let state = State {
            dead: false,
            passed: 0,
            dies_at: None,
            hangs_until: None,
            cut_until: None,
            beaten: None,
        };
        Arc::new(Self {
            site: Arc::clone(site),
            name,
            began: Instant::now(),
            state: Mutex::new(state),
            died: Notify::new(),
        })
    }

    pub(super) fn is_dead(&self) -> bool {
        self.state.lock().unwrap().dead
    }

    pub(super) fn die(&self) {
        self.state.lock().unwrap().dead = true;
        self.died.notify_one();
    }

    pub(super) fn dies_in(&self, places: u64) {
        let mut state = self.state.lock().unwrap();
        state.dies_at = Some(state.passed + places);
    }

    pub(super) fn hangs_for(&self, time: Duration) {
        self.state.lock().unwrap().hangs_until = Some(Instant::now() + time);
    }

    pub(super) fn is_cut_for(&self, time: Duration) {
        self.state.lock().unwrap().cut_until = Some(Instant::now() + time);
    }

    /// A place between two things that a host does: it may be slow here, hang, or die.
    pub(super) async fn place(&self) {
        let (dies, hangs) = {
            let mut state = self.state.lock().unwrap();
            state.passed += 1;
            let fated = !self.site.calm.load(Ordering::SeqCst);
            let fated = fated && state.dies_at.is_some_and(|at| state.passed >= at);
            let dies = state.dead || fated;
            (dies, state.hangs_until)
        };
        if dies {
            if !self.is_dead() {
                self.site.event(format_args!("{} dies here", self.name));
                self.die();
            }
            std::future::pending::<()>().await;
        }
        if let Some(until) = hangs.filter(|until| *until > Instant::now()) {
            self.site.event(format_args!("{} hangs", self.name));
            sleep_until(until).await;
        }
        match self.site.below(20) {
            0..8 => {}
            8..14 => tokio::task::yield_now().await,
            14..19 => sleep(Duration::from_millis(1 + self.site.below(30))).await,
            _ => sleep(Duration::from_millis(self.site.below(1_500))).await,
        }
        // It may have died while it was slow.
        if self.is_dead() {
            std::future::pending::<()>().await;
        }
    }

    fn is_cut(&self) -> bool {
        let cut = self.state.lock().unwrap().cut_until;
        cut.is_some_and(|until| until > Instant::now())
    }

    /// Something that reaches the outside world begins: is the owner sure that it still is one?
    pub(super) fn begins(&self, context: &StepContext) {
        let StepContext {
            run, path, epoch, ..
        } = context;
        let head = self
            .site
            .database
            .read_now::<_, StoreError, _>(|tx| runs::head(tx, *run))
            .unwrap();
        // Without a fence nobody is told that somebody else has the run.
        if self.site.defect != Defect::NoFence && head.is_none_or(|head| head.epoch != *epoch) {
            let what = format!("{} began {path} of {run}, which it has lost", self.name);
            self.site.breaks(what);
        }
        let beaten = self.state.lock().unwrap().beaten;
        let now = Instant::now();
        if beaten.is_none_or(|beaten| now - beaten >= LEASE * 2 / 3) {
            let what = format!("{} began {path} in the last third of its lease", self.name);
            self.site.breaks(what);
        }
    }

    fn fails_before(&self, purpose: Purpose) -> Option<StoreError> {
        let lost = || Some(StoreError::Unavailable("the request was lost".into()));
        let rare = if self.site.alone { 3 } else { 15 };
        if self.is_cut() || self.site.mishap(rare) {
            return lost();
        }
        let late = self.began.elapsed() > LEASE * 2;
        if self.site.defect == Defect::SweepAtStart && purpose == Purpose::Sweep && late {
            return lost();
        }
        self.site
            .mishap(3)
            .then(|| StoreError::Full("the simulated disk".into()))
    }

    fn fails_after(&self) -> bool {
        let rare = if self.site.alone { 3 } else { 15 };
        self.is_cut() || self.site.mishap(rare)
    }

    /// One transaction of the real store, while nobody else does anything.
    fn commit(&self, purpose: Purpose, work: Work) -> Result<(), StoreError> {
        let fate = self.fate(purpose);
        let run = run_of(purpose);
        let torn = self.torn(purpose);
        let was_torn = Arc::new(AtomicBool::new(false));
        let is_torn = Arc::clone(&was_torn);
        // Set when the work itself was done.
        let done = Arc::new(Mutex::new(None));
        let (found, site) = (Arc::clone(&done), Arc::clone(&self.site));
        let write = self.site.database.write::<_, StoreError, _>(move |tx| {
            let unfence = match (fate, purpose) {
                (Fate::Unfenced, Purpose::Append(fence) | Purpose::Mail(fence)) => {
                    Some(unfence(tx, fence)?)
                }
                _ => None,
            };
            let before = torn.map(|_| torn::children(tx, run)).transpose()?;
            work(tx)?;
            if let (Some(torn), Some(before), Some(run)) = (torn, before, run) {
                is_torn.store(torn.tear(tx, run, &before)?, Ordering::SeqCst);
            }
            if purpose == Purpose::Claim {
                limits::look(tx, &site)?;
            }
            if let (Some(run), Some(epoch)) = (run, unfence) {
                tx.execute(&SET_EPOCH, &[(&run).into(), epoch.into()])?;
            }
            let head = match run {
                Some(run) => runs::head(tx, run)?.map(|head| (run, head.seq, head.hash)),
                None => None,
            };
            *found.lock().unwrap() = Some(head);
            match fate {
                Fate::Undone => Err(StoreError::Conflict("never committed".into())),
                Fate::Stands | Fate::Unfenced => Ok(()),
            }
        });
        let mut outcome = block_on(tokio::task::unconstrained(write));
        let done = done.lock().unwrap().take();
        if fate == Fate::Undone && done.is_some() {
            if purpose != Purpose::Beat {
                self.dies_in(1 + self.site.below(4));
            }
            outcome = Ok(());
        }
        if was_torn.load(Ordering::SeqCst) {
            self.dies_in(1);
        }
        if outcome.is_ok() {
            self.site.durable.lock().unwrap().extend(done.flatten());
        }
        outcome
    }

    fn fate(&self, purpose: Purpose) -> Fate {
        match (self.site.defect, purpose) {
            (Defect::NoFence, Purpose::Append(_) | Purpose::Mail(_)) => Fate::Unfenced,
            (Defect::EarlyAnswer, Purpose::Append(_)) if self.site.mishap(40) => Fate::Undone,
            (Defect::FalseBeat, Purpose::Beat) => Fate::Undone,
            _ => Fate::Stands,
        }
    }

    /// Whether a transaction is to be torn in two.
    fn torn(&self, purpose: Purpose) -> Option<Torn> {
        let torn = match (self.site.defect, purpose) {
            (Defect::LostChild, Purpose::Append(_)) => Torn::Start,
            (Defect::LostLetter, Purpose::Append(_)) => Torn::End,
            _ => return None,
        };
        self.site.mishap(300).then_some(torn)
    }

    async fn carry(&self, purpose: Purpose, work: Work) -> Result<(), StoreError> {
        self.place().await;
        if let Some(error) = self.fails_before(purpose) {
            return Err(error);
        }
        let outcome = self.commit(purpose, work);
        self.place().await;
        if outcome.is_ok() && self.fails_after() {
            return Err(StoreError::Unavailable("the answer was lost".into()));
        }
        outcome
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    Stands,
    Unfenced,
    Undone,
}

fn run_of(purpose: Purpose) -> Option<RunId> {
    match purpose {
        Purpose::Create(run) => Some(run),
        Purpose::Append(fence) | Purpose::Mail(fence) => Some(fence.run),
        _ => None,
    }
}

const SET_EPOCH: Statement = Statement::new(
    "simulation.set_epoch",
    "UPDATE runs SET epoch = $2 WHERE run = $1",
);
const SET_OWNED: Statement = Statement::new(
    "simulation.set_owned",
    "UPDATE runs SET epoch = $2, state = 'running' WHERE run = $1",
);

/// Makes the store believe whoever writes; gives the epoch that it should have asked for.
fn unfence(tx: &Tx<'_>, fence: Fence) -> Result<i64, StoreError> {
    let head = runs::head(tx, fence.run)?;
    let epoch = head.map_or(fence.epoch, |head| head.epoch);
    if epoch != fence.epoch {
        tx.execute(&SET_OWNED, &[(&fence.run).into(), fence.epoch.into()])?;
    }
    Ok(epoch)
}

#[async_trait]
impl Carrier for Link {
    async fn write(&self, purpose: Purpose, work: Work) -> Result<(), StoreError> {
        let asked = Instant::now();
        let outcome = self.carry(purpose, work).await;
        let short = match &outcome {
            Ok(()) => "stands".to_owned(),
            Err(error) => error.to_string(),
        };
        self.site
            .event(format_args!("{} {purpose:?}: {short}", self.name));
        let beats = matches!(purpose, Purpose::Beat | Purpose::Claim);
        if beats && outcome.is_ok() && self.site.defect != Defect::FalseBeat {
            let mut state = self.state.lock().unwrap();
            state.beaten = state.beaten.max(Some(asked));
        }
        outcome
    }

    fn read(&self) -> Result<(), StoreError> {
        if self.is_dead() || self.is_cut() || self.site.mishap(2) {
            return Err(StoreError::Unavailable("nobody answers".into()));
        }
        Ok(())
    }
}

struct Unpark(std::thread::Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(value) => return value,
            Poll::Pending => std::thread::park(),
        }
    }
}
