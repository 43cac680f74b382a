//! A data directory, a clock in our hands, and hosts that come and go.

use std::future::Future;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use matrix_core::system::SystemEntropy;
use matrix_core::{
    Action, Authorised, Authorizer, Caller, Clock, Denied, Principal, PrincipalKind, RunId, Scope,
    Timestamp,
};
use matrix_engine::error::RequestError;
use matrix_engine::queue::Placing;
use matrix_engine::retention::RetentionFunction;
use matrix_engine::runs::{self, Replay, ReplayVerdict, RunRead, RunSignal, RunView};
use matrix_engine::schedule::{Prepared, ScheduleFunction, Starter};
use matrix_engine::{
    DurableFunction, Engine, EngineOptions, Journal, NewRun, OnFullDisk, Run, RunError, Step,
    StepError,
};
use matrix_store::tables::runs::{self as table, RunRow};
use matrix_store::{Blobs, Database, OpenMode, StoreError};
use serde_json::{Value, json};
use tokio::sync::Notify;

/// How long something may take before we say that it does not happen.
const PATIENCE: Duration = Duration::from_secs(20);

/// Where the clock stands at first.
const START: i64 = 1_700_000_000_000_000;

/// A clock that moves only when it is told to.
#[derive(Debug)]
pub(crate) struct HandClock {
    wall: AtomicI64,
    monotonic: AtomicU64,
}

impl HandClock {
    pub(crate) fn advance(&self, by: Duration) {
        let micros = u64::try_from(by.as_micros()).unwrap();
        self.wall
            .fetch_add(i64::try_from(micros).unwrap(), Ordering::SeqCst);
        self.monotonic.fetch_add(micros, Ordering::SeqCst);
    }

    /// The wall clock is set, and no time has passed.
    pub(crate) fn set_forward(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.wall.fetch_add(micros, Ordering::SeqCst);
    }

    /// Only the wall clock can be set back.
    pub(crate) fn set_back(&self, by: Duration) {
        let micros = i64::try_from(by.as_micros()).unwrap();
        self.wall.fetch_sub(micros, Ordering::SeqCst);
    }
}

impl Clock for HandClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.wall.load(Ordering::SeqCst))
    }
    fn monotonic(&self) -> Duration {
        Duration::from_micros(self.monotonic.load(Ordering::SeqCst))
    }
}

pub(crate) struct Anyone;

impl Authorizer for Anyone {
    fn decide(&self, _: &Caller, _: &'static str, _: &Value) -> Result<(), Denied> {
        Ok(())
    }
}

pub(crate) fn ada() -> Caller {
    Caller {
        principal: Principal {
            kind: PrincipalKind::User,
            name: "ada".into(),
        },
        scope: Scope::local(),
        on_behalf_of: Vec::new(),
    }
}

pub(crate) fn may<A: Action>(action: A) -> Authorised<A> {
    Authorised::obtain(&Anyone, ada(), action).unwrap()
}

pub(crate) type Body =
    Arc<dyn Fn(Run, Value) -> BoxFuture<'static, Result<Value, RunError>> + Send + Sync>;

/// A durable function from a closure.
pub(crate) fn body<F, Fut>(function: F) -> Body
where
    F: Fn(Run, Value) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Value, RunError>> + Send + 'static,
{
    Arc::new(move |run, input| Box::pin(function(run, input)))
}

struct Function {
    kind: &'static str,
    version: &'static str,
    body: Body,
    takes: bool,
}

#[async_trait]
impl DurableFunction for Function {
    fn kind(&self) -> &'static str {
        self.kind
    }
    fn version(&self) -> &'static str {
        self.version
    }
    async fn execute(&self, run: Run, input: Value) -> Result<Value, RunError> {
        (self.body)(run, input).await
    }
    fn takes(&self, _: &Value) -> bool {
        self.takes
    }
}

/// Starts runs of the kind `picky`, but for a request `no`.
pub(crate) struct Picky;

#[async_trait]
impl Starter for Picky {
    fn kind(&self) -> &'static str {
        "picky"
    }
    async fn prepare(&self, caller: &Caller, request: &Value) -> Result<Prepared, StepError> {
        if *request == json!("no") {
            return Err(StepError::permanent("picky", "it does not like that"));
        }
        let input = json!({ "for": caller.principal.to_string(), "asked": request });
        Ok(Prepared { input })
    }
}

/// What a function under test did to the world, and where it is held up.
#[derive(Default)]
pub(crate) struct World {
    effects: AtomicU32,
    notes: Mutex<Vec<String>>,
    pub(crate) reached: Notify,
    pub(crate) open: Notify,
}

impl World {
    pub(crate) fn effects(&self) -> u32 {
        self.effects.load(Ordering::SeqCst)
    }

    pub(crate) fn note(&self, text: &str) {
        self.notes.lock().unwrap().push(text.to_owned());
    }

    pub(crate) fn notes(&self) -> Vec<String> {
        self.notes.lock().unwrap().clone()
    }
}

/// Counts one more effect.
pub(crate) fn add(world: &Arc<World>) -> u32 {
    world.effects.fetch_add(1, Ordering::SeqCst) + 1
}

type Running = BoxFuture<'static, Result<Value, RunError>>;

/// A durable function from a plain one that is given the world.
pub(crate) fn with(world: &Arc<World>, function: fn(Run, Arc<World>, Value) -> Running) -> Body {
    let world = Arc::clone(world);
    Arc::new(move |run, input| function(run, Arc::clone(&world), input))
}

pub(crate) fn two_steps(
    run: Run,
    world: Arc<World>,
    input: Value,
) -> BoxFuture<'static, Result<Value, RunError>> {
    Box::pin(async move {
        let first: u32 = run
            .step(Step::read("first").input(&input), |_| async {
                Ok(add(&world))
            })
            .await?;
        let second: u32 = run
            .step(Step::read("second").input(&first), |_| async {
                world.reached.notify_one();
                world.open.notified().await;
                Ok(add(&world))
            })
            .await?;
        Ok(json!([first, second]))
    })
}

/// Waits until something is so; a test that waits in vain fails.
pub(crate) async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let wait = async {
        while !so() {
            tokio::task::yield_now().await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    assert!(waited.is_ok(), "never: {what}");
}

/// A data directory and its clock.
pub(crate) struct Place {
    directory: tempfile::TempDir,
    pub(crate) clock: Arc<HandClock>,
    /// The database, if it is not in the directory.
    database: Option<Database>,
}

impl Place {
    pub(crate) fn new() -> Self {
        let clock = HandClock {
            wall: AtomicI64::new(START),
            monotonic: AtomicU64::new(0),
        };
        Self {
            directory: tempfile::tempdir().unwrap(),
            clock: Arc::new(clock),
            database: None,
        }
    }

    /// One whose state is in a database elsewhere, which is told the clock.
    pub(crate) fn over(open: impl FnOnce(Arc<HandClock>) -> Database) -> Self {
        let mut place = Self::new();
        place.database = Some(open(Arc::clone(&place.clock)));
        place
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.directory.path()
    }

    pub(crate) fn journal(&self) -> Journal {
        self.open().1
    }

    fn open(&self) -> (Database, Journal) {
        let inside = || Database::open(&self.path().join("db"), OpenMode::Host).unwrap();
        let database = self.database.clone().unwrap_or_else(inside);
        let blobs = Blobs::open(self.path().join("blobs")).unwrap();
        let clock = Arc::clone(&self.clock);
        let entropy = Arc::new(SystemEntropy);
        let journal = Journal::new(database.clone(), blobs, clock, entropy);
        (database, journal)
    }

    pub(crate) fn options(worker: &str) -> EngineOptions {
        EngineOptions {
            worker: worker.into(),
            concurrency: 16,
            lease: Duration::from_secs(15),
            on_full_disk: OnFullDisk::Stop,
            scheduling: matrix_engine::Scheduling::default(),
        }
    }

    pub(crate) fn host(&self, worker: &str, body: &Body) -> Host {
        self.host_with(Self::options(worker), body)
    }

    pub(crate) fn host_with(&self, options: EngineOptions, body: &Body) -> Host {
        self.start(options, "1", body)
    }

    pub(crate) fn host_of_version(&self, worker: &str, version: &'static str, body: &Body) -> Host {
        self.start(Self::options(worker), version, body)
    }

    /// A host with functions of several kinds.
    pub(crate) fn host_of(&self, worker: &str, functions: &[(&'static str, Body)]) -> Host {
        self.start_all(Self::options(worker), "1", functions, false)
    }

    /// A host with a function whose forks may be given another input.
    pub(crate) fn host_that_takes(&self, worker: &str, kind: &'static str, body: &Body) -> Host {
        let functions = [(kind, Arc::clone(body))];
        self.start_all(Self::options(worker), "1", &functions, true)
    }

    fn start(&self, options: EngineOptions, version: &'static str, body: &Body) -> Host {
        self.start_all(options, version, &[("test", Arc::clone(body))], false)
    }

    fn start_all(
        &self,
        options: EngineOptions,
        version: &'static str,
        functions: &[(&'static str, Body)],
        takes: bool,
    ) -> Host {
        let ping = Function {
            kind: "ping",
            version: "1",
            body: self::body(|_, input| async move { Ok(input) }),
            takes,
        };
        let mut all: Vec<Arc<dyn DurableFunction>> = vec![Arc::new(ping)];
        for (kind, body) in functions {
            all.push(Arc::new(Function {
                kind,
                version,
                body: Arc::clone(body),
                takes,
            }));
        }
        let (database, journal) = self.open();
        let starters: Vec<Arc<dyn Starter>> = vec![Arc::new(Picky)];
        all.push(Arc::new(RetentionFunction::new(database.clone())));
        all.push(Arc::new(ScheduleFunction::new(database, starters)));
        let engine = Engine::new(journal, all.clone(), options);
        let working = engine.clone();
        Host {
            engine,
            functions: all,
            task: tokio::spawn(async move { working.work().await }),
        }
    }
}

pub(crate) fn new_run(input: Value, placing: Placing) -> NewRun {
    NewRun {
        kind: "test".into(),
        title: "a test".into(),
        input,
        caller: ada(),
        placing,
    }
}

/// A host of a data directory.
pub(crate) struct Host {
    pub(crate) engine: Engine,
    functions: Vec<Arc<dyn DurableFunction>>,
    task: tokio::task::JoinHandle<()>,
}

impl Host {
    /// Dies without a word: everything in memory is gone, the data directory stays as it is.
    pub(crate) async fn die(self) {
        self.task.abort();
        drop(self.task.await);
    }

    /// Lets go of everything and ends.
    pub(crate) async fn stop(self) {
        self.engine.drain();
        self.task.await.unwrap();
    }

    pub(crate) async fn create(&self, input: Value) -> RunId {
        self.create_kind("test", input).await
    }

    async fn create_kind(&self, kind: &str, input: Value) -> RunId {
        let mut new = new_run(input, Placing::default());
        new.kind = kind.into();
        self.engine.create_run(new).await.unwrap()
    }

    pub(crate) async fn create_placed(&self, input: Value, placing: Placing) -> RunId {
        let new = new_run(input, placing);
        self.engine.create_run(new).await.unwrap()
    }

    pub(crate) fn row(&self, run: RunId) -> RunRow {
        self.engine
            .database()
            .read_now::<_, StoreError, _>(|tx| table::get(tx, run))
            .unwrap()
            .unwrap()
    }

    pub(crate) fn view(&self, run: RunId) -> RunView {
        let request = may(RunRead { run });
        runs::show(self.engine.database(), self.engine.blobs(), &request).unwrap()
    }

    /// Why a run rests or waits.
    pub(crate) fn why(&self, run: RunId) -> String {
        let waiting = self.view(run).waiting.unwrap_or(Value::Null);
        waiting["because"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) async fn reaches(&self, run: RunId, state: &str) {
        let mut last = String::new();
        let wait = async {
            loop {
                last = self.row(run).state;
                if last == state {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(
            waited.is_ok(),
            "run is `{last}`, not `{state}`: {}",
            self.why(run)
        );
    }

    /// Waits until a run ended, waits or rests.
    pub(crate) async fn settled(&self, run: RunId) -> RunView {
        let settled = self.engine.settled(run);
        let settled = tokio::time::timeout(PATIENCE, settled).await;
        settled.unwrap().unwrap();
        self.view(run)
    }

    /// Replays a run with a function of version 1.
    pub(crate) async fn replay(&self, run: RunId, body: &Body) -> Replay {
        self.try_replay(run, body).await.unwrap()
    }

    pub(crate) async fn try_replay(&self, run: RunId, body: &Body) -> Result<Replay, RequestError> {
        let function = Function {
            kind: "test",
            version: "1",
            body: Arc::clone(body),
            takes: false,
        };
        let function: Arc<dyn DurableFunction> = Arc::new(function);
        let find = |kind: &str, version: &str| {
            (kind == "test" && version == "1").then(|| Arc::clone(&function))
        };
        let request = may(RunRead { run });
        let replay = runs::replay(self.engine.journal(), &request, find);
        tokio::time::timeout(PATIENCE, replay).await.unwrap()
    }

    pub(crate) fn result(&self, run: RunId) -> Value {
        let entries = self.engine.journal().read(run, -1).unwrap();
        entries.last().unwrap().payload.clone().unwrap()
    }

    /// Replays a run with this host's functions; `same`, `so_far`, or how it differs.
    pub(crate) async fn replayed(&self, run: RunId) -> String {
        let find = |kind: &str, version: &str| {
            let mut all = self.functions.iter();
            let found = all.find(|f| f.kind() == kind && f.version() == version);
            found.cloned()
        };
        let request = may(RunRead { run });
        let replay = runs::replay(self.engine.journal(), &request, find);
        let replay = tokio::time::timeout(PATIENCE, replay).await.unwrap();
        match replay.unwrap().verdict {
            ReplayVerdict::Same { .. } => "same".into(),
            ReplayVerdict::SoFar { .. } => "so_far".into(),
            ReplayVerdict::Differs { recorded, now } => format!("{recorded}, now {now}"),
        }
    }

    /// Every run, oldest first.
    pub(crate) fn all(&self) -> Vec<RunRow> {
        let (scope, filter) = (Scope::local(), runs::Filter::default());
        let rows = self
            .engine
            .database()
            .read_now::<_, StoreError, _>(|tx| table::list(tx, &scope, &filter, 500));
        let mut rows = rows.unwrap();
        rows.reverse();
        rows
    }

    pub(crate) fn input(&self, run: RunId) -> Value {
        let entries = self.engine.journal().read(run, -1).unwrap();
        entries[0].payload.clone().unwrap()["input"].clone()
    }

    /// What the newest entry of an address says.
    pub(crate) fn payload(&self, run: RunId, path: &str) -> Value {
        let entries = self.engine.journal().read(run, -1).unwrap();
        let newest = entries.iter().rev().find(|entry| entry.path == path);
        newest.unwrap().payload.clone().unwrap()
    }

    /// Recomputes a run's chain.
    pub(crate) fn verify(&self, run: RunId) {
        matrix_engine::journal::verify(self.engine.database(), self.engine.blobs(), run).unwrap();
    }

    pub(crate) async fn signal(&self, run: RunId, name: &str, value: Value) {
        let signal = RunSignal {
            run,
            submitter: "user:ada".into(),
            name: name.into(),
            value,
        };
        runs::signal(&self.engine, &may(signal)).await.unwrap();
    }

    /// Tells a run to look again, and returns when the engine has looked.
    pub(crate) async fn look_again(&self, run: RunId) {
        self.engine.wake(run);
        // Claims go through one loop, so a later run that has ended means that it went round.
        let ping = self.create_kind("ping", json!({})).await;
        self.reaches(ping, "succeeded").await;
    }
}

/// A seeded generator (splitmix64), so that a failing seed can be kept.
#[derive(Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
